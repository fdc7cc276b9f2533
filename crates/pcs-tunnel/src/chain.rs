//! Chains: hops dialled in order, each asked for the next, the last for the target.
//!
//! ```text
//! TCP to hop 0 ─▶ (TLS) ─▶ ask for hop 1 ─▶ (TLS) ─▶ … ─▶ ask the last hop for the target
//!                                                   └──▶ or hand the stream out for plain requests
//! ```

mod blame;
mod build;
mod drive;
mod fixed;
mod prepared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pcs_models::{SessionId, Target};
use tokio::time::Instant;

use crate::{BoxFuture, ChainStream, DialError, Form, HopTiming, Network, Purpose};

pub use fixed::{Chain, ChainBuildError, ChainBuilder, FixedChain, IntoHop};
pub use prepared::PreparedChain;

/// How long one hop may take. The deadline of a request bounds both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialTimeouts {
    /// TCP connect, and TLS, each (`tunnel.connect_timeout_seconds`). Default 10 s.
    pub connect: Duration,
    /// One hop's answer (`tunnel.read_timeout_seconds`). Default 30 s.
    pub read: Duration,
}

impl Default for DialTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
        }
    }
}

/// What a chain is built for.
#[derive(Debug, Clone, Copy)]
pub struct DialRequest<'a> {
    /// Where to.
    pub target: &'a Target,
    /// What for.
    pub purpose: Purpose,
    /// Fills `{session}` in user names; a fresh random one where not given.
    pub session: Option<&'a SessionId>,
    /// When to give up.
    pub deadline: Instant,
}

/// A chain that stands.
#[derive(Debug)]
pub struct Dialed {
    /// The stream, with whatever came behind the last answer.
    pub stream: ChainStream,
    /// How plain HTTP requests are written on it.
    pub form: Form,
    /// Phase times, the nearest hop first.
    pub timings: Vec<HopTiming>,
}

/// A chain that stands up to its last hop, or to the first one that wants credentials of a session.
#[derive(Debug)]
pub struct WarmStream {
    stream: ChainStream,
    timings: Vec<HopTiming>,
    /// The hop the stream ends at; the last where not said.
    reached: Option<usize>,
    /// That hop speaks SOCKS5 and has been greeted.
    greeted: bool,
}

impl WarmStream {
    /// A warm chain from a stream that ends at the last hop, and what was measured on the way.
    #[must_use]
    pub fn new(stream: ChainStream, timings: Vec<HopTiming>) -> Self {
        Self {
            stream,
            timings,
            reached: None,
            greeted: false,
        }
    }

    /// The stream and what was measured on the way.
    #[must_use]
    pub fn into_parts(self) -> (ChainStream, Vec<HopTiming>) {
        (self.stream, self.timings)
    }

    /// The stream to the last hop, for whoever checks that it is still quiet and open.
    pub fn stream(&mut self) -> &mut ChainStream {
        &mut self.stream
    }
}

/// Builds chains: the one port through which pools, probes and checks reach the network.
pub trait Dial: Send + Sync {
    /// Builds the whole chain.
    ///
    /// # Errors
    ///
    /// [`DialError`] says which hop failed, how, and whose fault it is.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>>;

    /// Builds everything that does not depend on the target or on a session.
    ///
    /// # Errors
    ///
    /// As [`Dial::dial`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    fn warm<'a>(
        &'a self,
        chain: &'a PreparedChain,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<WarmStream, DialError>>;

    /// Asks the last hop of a warm chain for the target.
    ///
    /// # Errors
    ///
    /// As [`Dial::dial`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the stream.
    fn finish<'a>(
        &'a self,
        warm: WarmStream,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>>;
}

/// The production [`Dial`]: a fold over the hops of a chain.
pub struct ChainConnector {
    network: Arc<Network>,
    timeouts: DialTimeouts,
}

impl ChainConnector {
    /// A connector over this network.
    #[must_use]
    pub fn new(network: Arc<Network>, timeouts: DialTimeouts) -> Self {
        Self { network, timeouts }
    }

    /// The network it dials through.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }
}

impl fmt::Debug for ChainConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainConnector")
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
