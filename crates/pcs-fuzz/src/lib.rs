//! What the fuzz targets do: bytes in, a panic out where a promise is broken.
//!
//! What for: each [`FuzzTarget`] takes any bytes and checks what must hold whatever they are. The workspace under
//! `fuzz/` hands them to libFuzzer, which needs a nightly compiler; the tests of this crate run the same functions
//! over the committed seeds and a fixed series of mutations of them, which needs nothing.
//!
//! What not: inputs. Seeds are files under `fuzz/seeds`, one folder per target.
//!
//! Inputs are what would come over the wire, as it is; where they are cut in pieces follows from their own hash, so
//! that a seed stays readable.

#![expect(
    clippy::panic_in_result_fn,
    reason = "a target panics where something does not hold; results are what it looks at"
)]

mod body;
mod config;
mod connect_answer;
mod dice;
mod http_head;
mod ntlm;
mod pattern;
mod proxy_url;
mod relay;
#[cfg(unix)]
mod relay_sockets;
mod socks;
mod talk;

/// One thing to be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// The name of the target, of its program under `fuzz/fuzz_targets` and of its folder of seeds.
    pub name: &'static str,
    /// Takes any bytes; panics where something does not hold.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "http_head",
        run: http_head::run,
    },
    FuzzTarget {
        name: "body",
        run: body::run,
    },
    FuzzTarget {
        name: "connect_answer",
        run: connect_answer::run,
    },
    FuzzTarget {
        name: "socks",
        run: socks::run,
    },
    FuzzTarget {
        name: "ntlm",
        run: ntlm::run,
    },
    FuzzTarget {
        name: "config",
        run: config::run,
    },
    FuzzTarget {
        name: "config_secrets",
        run: config::run_secrets,
    },
    FuzzTarget {
        name: "proxy_url",
        run: proxy_url::run,
    },
    FuzzTarget {
        name: "relay",
        run: relay::run,
    },
    #[cfg(unix)]
    FuzzTarget {
        name: "relay_sockets",
        run: relay_sockets::run,
    },
];

/// Runs the target of this name; does nothing where there is none on this system.
pub fn run(name: &str, data: &[u8]) {
    if let Some(target) = TARGETS.iter().find(|target| target.name == name) {
        (target.run)(data);
    }
}
