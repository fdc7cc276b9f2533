//! Real peers as children of the test: each with a temporary folder, a free port and an end.
//!
//! A peer that is not installed is no failure of the product, and no success either: [`need!`](crate::need) tells it
//! loudly, and `cargo xtask test` counts the test as skipped.

mod dante;
mod files;
mod microsocks;
mod peer;
mod prometheus;
mod squid;
mod stunnel;
mod tinyproxy;

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use dante::Dante;
pub use files::FileServer;
pub use microsocks::Microsocks;
pub use peer::{Peer, Signal, signal};
pub use prometheus::{Prometheus, check_metrics, check_rules};
pub use squid::Squid;
pub use stunnel::Stunnel;
pub use tinyproxy::Tinyproxy;

/// Why a peer is not there.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unavailable {
    /// A program is not installed: the test cannot show anything here.
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// The machine lacks something else: rights, namespaces.
    Unfit(String),
    /// It was started and does not listen.
    Failed {
        /// The program.
        program: String,
        /// What it said.
        log: String,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { program, package } => {
                write!(f, "{program} is not installed (Debian package {package})")
            }
            Self::Unfit(what) => f.write_str(what),
            Self::Failed { program, log } => write!(f, "{program} does not start; it said:\n{log}"),
        }
    }
}

impl std::error::Error for Unavailable {}

/// Unwraps what a test cannot do without, or skips the test loudly.
///
/// Missing programs and unfit machines skip; a peer that is there and does not start fails the test.
#[macro_export]
macro_rules! need {
    ($peer:expr) => {
        match $peer {
            Ok(peer) => peer,
            Err(reason) => {
                $crate::real::skip(
                    {
                        fn here() {}
                        ::std::any::type_name_of_val(&here)
                    },
                    &reason,
                );
                return;
            }
        }
    };
}

/// Tells that `test` shows nothing here, on standard error and in the file `$PCS_SKIP_LOG`.
///
/// # Panics
///
/// The reason is a peer that is there and does not start: that is a failure.
pub fn skip(test: &str, reason: &Unavailable) {
    assert!(!matches!(reason, Unavailable::Failed { .. }), "{reason}");
    let name = test.trim_end_matches("::here").trim_end_matches("::{{closure}}");
    let line = format!("{name}: {reason}\n");
    eprint!("SKIPPED {line}");
    if let Some(path) = std::env::var_os("PCS_SKIP_LOG")
        && let Ok(mut log) = std::fs::OpenOptions::new().create(true).append(true).open(path)
    {
        let _ = log.write_all(line.as_bytes());
    }
}

/// Finds a program, also where only root looks.
///
/// # Errors
///
/// It is not installed.
pub fn find(program: &'static str, package: &'static str) -> Result<PathBuf, Unavailable> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(extra)
        .map(|folder| folder.join(program));
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(Unavailable::Missing { program, package })
}

/// A Python of the system: other users can run it, which a Python in somebody's home they cannot.
///
/// # Errors
///
/// It is not installed.
pub fn python() -> Result<PathBuf, Unavailable> {
    let system = PathBuf::from("/usr/bin/python3");
    if system.is_file() {
        Ok(system)
    } else {
        find("python3", "python3")
    }
}

/// A port of `ip` that nobody listens on just now, nor is given by the system: it lies below those that sockets get
/// which ask for any, and each process begins elsewhere.
///
/// # Panics
///
/// When all of them are taken.
#[must_use]
pub fn free_address(ip: IpAddr) -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 22_000;
    /// Ports a process takes before it comes to those of the next.
    const STRIDE: u32 = 61;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    let mut free = (0..COUNT).filter_map(|_| {
        let turn = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::new(ip, FIRST + u16::try_from(turn).ok()?);
        TcpListener::bind(address).is_ok().then_some(address)
    });
    free.next().expect("a loopback port can be bound")
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path
}

/// Whether the test runs as root, so that it may make network namespaces and programs change their user.
#[must_use]
pub fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    return false;
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
