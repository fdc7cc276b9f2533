//! What an operator can set about the front door.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;
use pcs_models::Endpoint;

use crate::Users;

/// The settings of the front door, swapped whole by a reload. Defaults are those of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Client connections at once (`server.max_connections`); over it new ones are told 503.
    pub max_connections: usize,
    /// The whole budget for a client's head, and for building a chain or getting a response head, retries
    /// included (`server.timeout_seconds`).
    pub budget: Duration,
    /// How long a tunnel, a kept client connection or a body may be silent (`server.idle_timeout_seconds`).
    pub idle_timeout: Duration,
    /// The most bytes of a head (`server.max_head_bytes`).
    pub max_head_bytes: usize,
    /// What is spoken on the port (`server.protocols`).
    pub protocols: Protocols,
    /// Who may use the proxy (`server.auth`); `None` is everybody.
    pub users: Option<Users>,
    /// Requests a client address may make (`server.rate_limit`).
    pub rate_limit: Option<RateLimit>,
    /// Clients that are served at all (`server.allow_from`); empty is everybody.
    pub allow_from: Vec<IpNet>,
    /// What `/proxy.pac` calls this proxy where a client does not name it by a `Host` field; the address the
    /// client reached if not given.
    pub advertised: Option<Endpoint>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 1000,
            budget: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            max_head_bytes: 65_536,
            protocols: Protocols::ALL,
            users: None,
            rate_limit: None,
            allow_from: Vec::new(),
            advertised: None,
        }
    }
}

impl Settings {
    /// Whether a client at `address` is served at all.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow_from.is_empty() || self.allow_from.iter().any(|net| net.contains(&address))
    }
}

/// The protocols spoken on the port.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 proxying: CONNECT and absolute form.
    pub http: bool,
    /// SOCKS5 (RFC 1928).
    pub socks5: bool,
}

impl Protocols {
    /// Both.
    pub const ALL: Self = Self {
        http: true,
        socks5: true,
    };
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.http, "http"), (self.socks5, "socks5")];
        f.debug_list()
            .entries(names.iter().filter(|(on, _)| *on).map(|(_, name)| name))
            .finish()
    }
}

/// How many requests one client address may make (IPv6 clients are counted by /64).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimit {
    /// Requests a second in the long run; more than 0.
    pub requests_per_second: f64,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}
