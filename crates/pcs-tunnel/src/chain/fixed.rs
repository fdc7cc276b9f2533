//! One chain for every request: for programs that embed this crate.

use std::sync::Arc;
use std::time::Duration;

use pcs_models::{
    AddressError, ChainError, ChainSpec, Credentials, CredentialsError, Endpoint, Hop, Protocol, Secret,
    Target, Traffic, UnknownProtocol,
};
use thiserror::Error;
use tokio::time::Instant;

use super::{ChainConnector, Dial, DialRequest, DialTimeouts, PreparedChain};
use crate::{
    Attempt, BoxFuture, ChainStream, Connect, ConnectRequest, Connected, DialError, Network, NetworkSettings,
    Purpose, Unobserved, Via,
};

/// A [`Connect`] that always goes the same way and tries once.
pub struct FixedChain {
    dial: Arc<dyn Dial>,
    chain: PreparedChain,
    via: Via,
    traffic: Arc<Traffic>,
}

impl FixedChain {
    /// Everything goes by `chain`; `via` is what logs call it.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, chain: PreparedChain, via: Via) -> Self {
        Self {
            dial,
            chain,
            via,
            traffic: Arc::default(),
        }
    }
}

impl std::fmt::Debug for FixedChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FixedChain")
            .field("via", &self.via)
            .finish_non_exhaustive()
    }
}

impl Connect for FixedChain {
    fn connect<'a>(&'a self, request: &'a mut ConnectRequest) -> BoxFuture<'a, Result<Connected, DialError>> {
        Box::pin(async move {
            let ask = DialRequest {
                target: &request.target,
                purpose: request.purpose,
                session: request.session.as_ref(),
                deadline: request.deadline,
            };
            let dialed = self.dial.dial(&self.chain, ask).await;
            let failure = dialed.as_ref().err().map(|error| (error.kind(), error.blame()));
            request.attempts.push(Attempt {
                via: self.via.clone(),
                traffic: Arc::clone(&self.traffic),
                failure,
            });
            let dialed = dialed?;
            Ok(Connected {
                stream: dialed.stream,
                form: dialed.form,
                via: self.via.clone(),
                traffic: Arc::clone(&self.traffic),
                reused: false,
                timings: dialed.timings,
                outcome: Box::new(Unobserved),
            })
        })
    }
}

/// Why no chain can be built from what was given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChainBuildError {
    /// A URL's scheme is none of the four.
    #[error(transparent)]
    Protocol(#[from] UnknownProtocol),
    /// A URL's host or port is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A URL's user name or password cannot be sent.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No hop, or too many.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// A way through proxies to any target.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use pcs_tunnel::Chain;
///
/// let chain = Chain::builder().hop("http://user:pass@proxy.corp.example:3128").hop("socks5://10.0.0.7:1080").build()?;
/// let stream = chain.connect("example.com:443").await?;
/// # let _ = stream;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Chain {
    connector: Arc<ChainConnector>,
    chain: Arc<PreparedChain>,
    timeout: Duration,
}

impl Chain {
    /// A chain without hops so far.
    #[must_use]
    pub fn builder() -> ChainBuilder {
        ChainBuilder {
            hops: Ok(Vec::new()),
            timeouts: DialTimeouts::default(),
            timeout: Duration::from_secs(30),
            network: None,
        }
    }

    /// A stream to `target` (`host:port`) through every hop.
    ///
    /// # Errors
    ///
    /// [`DialError`] says which hop failed, how, and whose fault it is; also for a target that is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn connect(&self, target: &str) -> Result<ChainStream, DialError> {
        let target: Target = target.parse().map_err(|error: AddressError| {
            let message = format!("{target:?} is no target: {error}");
            DialError::new(
                pcs_models::FailureKind::Denied,
                pcs_models::Blame::Client,
                pcs_models::Retry::Never,
                message,
            )
        })?;
        let deadline = Instant::now() + self.timeout;
        let request = DialRequest {
            target: &target,
            purpose: Purpose::Tunnel,
            session: None,
            deadline,
        };
        Ok(self.connector.dial(&self.chain, request).await?.stream)
    }
}

/// Collects the hops of a [`Chain`], the nearest first.
#[derive(Debug)]
pub struct ChainBuilder {
    hops: Result<Vec<Hop>, ChainBuildError>,
    timeouts: DialTimeouts,
    timeout: Duration,
    network: Option<Arc<Network>>,
}

/// A hop, or the URL of one.
pub trait IntoHop {
    /// The hop.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL.
    fn into_hop(self) -> Result<Hop, ChainBuildError>;
}

impl IntoHop for Hop {
    fn into_hop(self) -> Result<Hop, ChainBuildError> {
        Ok(self)
    }
}

impl IntoHop for &str {
    /// Reads `[scheme://][user:password@]host[:port]`; user and password percent-encoded.
    fn into_hop(self) -> Result<Hop, ChainBuildError> {
        let (scheme, rest) = self.split_once("://").unwrap_or(("http", self));
        let protocol: Protocol = scheme.parse()?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user_info, authority) = match rest.rsplit_once('@') {
            Some((info, authority)) => (Some(info), authority),
            None => (None, rest),
        };
        let endpoint = Endpoint::parse_with_default(authority, protocol.default_port())?;
        let hop = Hop::new(protocol, endpoint);
        let Some(info) = user_info else { return Ok(hop) };
        let (user, password) = info.split_once(':').unwrap_or((info, ""));
        let credentials = Credentials::try_new(&decode(user), Secret::new(decode(password)))?;
        Ok(hop.with_credentials(credentials))
    }
}

/// Percent-decodes (RFC 3986 §2.1); what is no escape stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = |digit: Option<u8>| digit.and_then(|digit| char::from(digit).to_digit(16));
        match (byte, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl ChainBuilder {
    /// Adds a hop, or one from its URL.
    #[must_use]
    pub fn hop(mut self, hop: impl IntoHop) -> Self {
        if let Ok(hops) = &mut self.hops {
            match hop.into_hop() {
                Ok(hop) => hops.push(hop),
                Err(error) => self.hops = Err(error),
            }
        }
        self
    }

    /// How long one hop may take. Default: 10 s to connect, 30 s to answer.
    #[must_use]
    pub fn timeouts(mut self, timeouts: DialTimeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How long the whole chain may take. Default 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Dials through this network rather than one of its own.
    #[must_use]
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.network = Some(network);
        self
    }

    /// The chain.
    ///
    /// # Errors
    ///
    /// The first hop that is none, or no hop at all: a direct dial has to be asked for by name.
    pub fn build(self) -> Result<Chain, ChainBuildError> {
        let spec = ChainSpec::try_new(self.hops?)?;
        let network = self
            .network
            .unwrap_or_else(|| Arc::new(Network::new(NetworkSettings::default())));
        Ok(Chain {
            connector: Arc::new(ChainConnector::new(network, self.timeouts)),
            chain: Arc::new(PreparedChain::new(spec)),
            timeout: self.timeout,
        })
    }
}
