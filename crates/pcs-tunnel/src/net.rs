//! Every outgoing socket: names, TCP, TLS.
//!
//! The only place of PCS that dials. [`Network::connect_tcp`] takes an [`Endpoint`], which only a hop of a chain or
//! a direct dial that was spelled out can give, so nothing reaches a target by a shorter way than configured.

mod dial;
mod error;
mod eyeballs;
mod own;
mod resolver;
mod tls;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use pcs_models::{Endpoint, Host, TlsOptions};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::ChainStream;

pub use error::NetError;
pub use own::OwnListeners;
pub use resolver::{Resolve, SystemResolver};

/// How a [`Network`] behaves.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// How long a resolved name is believed. Zero asks anew each time; lookups under way are still shared. Default 60 s.
    pub dns_cache_ttl: Duration,
    /// How long a failed lookup is believed, at most 1 s. Default 1 s.
    pub dns_negative_ttl: Duration,
    /// The most names kept at once; past it the one that expires first of a few is dropped. Default 4096.
    pub max_cached_names: usize,
    /// How long the next address waits for the one before (RFC 8305 §5, at least 10 ms). Default 250 ms.
    pub attempt_delay: Duration,
}

impl NetworkSettings {
    /// The longest that a failed lookup may be believed.
    pub const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(1);
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            dns_cache_ttl: Duration::from_secs(60),
            dns_negative_ttl: Self::MAX_NEGATIVE_TTL,
            max_cached_names: 4096,
            attempt_delay: Duration::from_millis(250),
        }
    }
}

/// Who speaks first on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// We do, at once: proxies of every protocol wait for that. The acknowledgement that ends the TCP handshake then
    /// goes with our first bytes, which saves a packet and wakes the hop once instead of twice (Linux; what HAProxy
    /// calls a smart connect).
    Ours,
    /// The far end may, or nobody for a while.
    Theirs,
}

/// A TCP connection, and what it took.
#[derive(Debug)]
pub struct TcpDialed {
    /// The connection, with `TCP_NODELAY` set.
    pub stream: TcpStream,
    /// The address that answered.
    pub address: SocketAddr,
    /// Time in name resolution; zero for literal addresses.
    pub dns: Duration,
    /// Time from the first SYN to the connection, lost races included.
    pub tcp: Duration,
    /// When the connection stood: whoever measures the next phase need not read the clock again.
    pub at: Instant,
}

/// Names, TCP and TLS towards the first hop (or the target of a direct dial). Share it by `Arc`.
pub struct Network {
    resolver: resolver::Cache,
    tls: tls::Clients,
    own: OwnListeners,
    attempt_delay: Duration,
}

impl Network {
    /// A network over the system's resolver (`getaddrinfo`).
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        Self::with_resolver(settings, Arc::new(SystemResolver::default()))
    }

    /// A network that resolves names otherwise.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "settings are made to be given away")]
    pub fn with_resolver(settings: NetworkSettings, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver: resolver::Cache::new(&settings, resolver),
            tls: tls::Clients::default(),
            own: OwnListeners::default(),
            attempt_delay: settings.attempt_delay.max(Duration::from_millis(10)),
        }
    }

    /// The same network, which refuses to dial these listeners.
    #[must_use]
    pub fn guarding(mut self, own: OwnListeners) -> Self {
        self.own = own;
        self
    }

    /// The listeners that are never dialled.
    #[must_use]
    pub fn own_listeners(&self) -> &OwnListeners {
        &self.own
    }

    /// Forgets every resolved name and every TLS set-up, so that names, CA files and system roots are read anew.
    pub fn forget(&self) {
        self.resolver.clear();
        self.tls.clear();
    }

    /// Connects to an endpoint: resolves its name, then races its addresses (RFC 8305).
    ///
    /// A literal or a name of one address costs one socket and no timer beside the deadline's.
    ///
    /// # Errors
    ///
    /// [`NetError`]: no address, every address failed (the most telling failure is reported), `deadline` passed,
    /// or the endpoint is one of our own listeners.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes every socket it opened; a shared name lookup goes on for the others.
    pub fn connect_tcp(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> impl Future<Output = Result<TcpDialed, NetError>> {
        self.connect(endpoint, Greeting::Theirs, deadline)
    }

    /// As [`Network::connect_tcp`], to a proxy that waits to be spoken to and is, at once.
    pub(crate) fn connect_hop(
        &self,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> impl Future<Output = Result<TcpDialed, NetError>> {
        self.connect(endpoint, Greeting::Ours, deadline)
    }

    fn connect(
        &self,
        endpoint: &Endpoint,
        greeting: Greeting,
        deadline: Instant,
    ) -> impl Future<Output = Result<TcpDialed, NetError>> {
        within(
            deadline,
            || NetError::timeout(endpoint),
            self.dial(endpoint, greeting),
        )
    }

    /// The addresses of a host, at least one, for callers that need no TCP (a ping).
    ///
    /// # Errors
    ///
    /// [`NetError`]: no address, or `deadline` passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing; a shared lookup goes on for the others.
    pub async fn resolve(&self, host: &Host, deadline: Instant) -> Result<Arc<[IpAddr]>, NetError> {
        let name = match host {
            Host::Ip(ip) => return Ok(Arc::new([*ip])),
            Host::Name(name) => name,
        };
        let overdue = || NetError::Resolve {
            name: host.clone(),
            source: Arc::new(io::ErrorKind::TimedOut.into()),
        };
        let addresses = within(deadline, overdue, self.resolver.lookup(name, Instant::now())).await?;
        Ok(addresses.0)
    }

    async fn dial(&self, endpoint: &Endpoint, greeting: Greeting) -> Result<TcpDialed, NetError> {
        let begun = Instant::now();
        let (addresses, resolved) = match &endpoint.host {
            Host::Ip(_) => (None, begun),
            Host::Name(name) => {
                let (addresses, resolved) = self.resolver.lookup(name, begun).await?;
                (Some(addresses), resolved)
            }
        };
        let (stream, address) = match (endpoint.socket_addr(), addresses.as_deref()) {
            (Some(literal), _) => (dial::connect(literal, greeting, &self.own).await?, literal),
            (None, Some(&[ip])) => {
                let address = SocketAddr::new(ip, endpoint.port);
                (dial::connect(address, greeting, &self.own).await?, address)
            }
            (None, several) => {
                let several = several.unwrap_or_default();
                let dial = |address| dial::connect(address, greeting, &self.own);
                // Boxed: several addresses are rare, and the race is larger than all the rest.
                Box::pin(eyeballs::race(several, endpoint.port, self.attempt_delay, dial)).await?
            }
        };
        let at = Instant::now();
        let (dns, tcp) = (resolved.duration_since(begun), at.duration_since(resolved));
        Ok(TcpDialed {
            stream,
            address,
            dns,
            tcp,
            at,
        })
    }

    /// Speaks TLS (1.2 or 1.3, ALPN `http/1.1`) with whatever `stream` leads to, and proves that it is `host`.
    ///
    /// # Errors
    ///
    /// [`NetError`]: the CA file cannot be used (its path is named), the handshake failed, the certificate is not
    /// proven, or `deadline` passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the stream.
    pub async fn tls(
        &self,
        stream: ChainStream,
        host: &Host,
        options: &TlsOptions,
        deadline: Instant,
    ) -> Result<TlsStream<ChainStream>, NetError> {
        within(
            deadline,
            || NetError::TlsTimeout { host: host.clone() },
            self.tls.connect(stream, host, options),
        )
        .await
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new(NetworkSettings::default())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

/// Waits for `work` until `deadline`, with a timer only if `work` is not ready at once. No `async fn`: that would hold
/// `work` twice, once as its argument and once inside the timeout.
fn within<T>(
    deadline: Instant,
    late: impl FnOnce() -> NetError,
    work: impl Future<Output = Result<T, NetError>>,
) -> impl Future<Output = Result<T, NetError>> {
    timeout_at(deadline, work).map(|done| done.unwrap_or_else(|_| Err(late())))
}
