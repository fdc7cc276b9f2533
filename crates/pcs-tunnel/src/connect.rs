//! The seam between whoever needs a byte stream and whoever can make one.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pcs_models::{Blame, FailureKind, HopName, PoolName, ProxyId, Secret, SessionId, Target, Traffic};
use tokio::time::Instant;

use crate::wire::Said;
use crate::{ChainStream, DialError};

/// A boxed future: one allocation a connection is noise beside a handshake.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// "Give me a byte stream to this target." Direct, chain, warm, pooled, retrying and routed dials are
/// implementations or decorators of it.
pub trait Connect: Send + Sync {
    /// Builds (or finds) a stream to `request.target`, trying as often as the implementation sees fit.
    ///
    /// Each try is written into `request.attempts`; a caller that was handed a stream but got no usable answer
    /// through it calls again with the same request, and the implementation goes on where it left off.
    ///
    /// # Errors
    ///
    /// The last attempt's [`DialError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was dialled so far and gives back every permit.
    fn connect<'a>(&'a self, request: &'a mut ConnectRequest) -> BoxFuture<'a, Result<Connected, DialError>>;
}

/// What the stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Bytes of any protocol: the stream ends at the target.
    Tunnel,
    /// Plain HTTP requests: the stream may end at an HTTP proxy that takes absolute-form requests, and may have
    /// been used before.
    Forward,
}

/// One request for a stream, with the memory of its attempts.
#[derive(Debug, Clone)]
pub struct ConnectRequest {
    /// Where to.
    pub target: Target,
    /// What for.
    pub purpose: Purpose,
    /// The pool the client asked for.
    pub pool: Option<PoolName>,
    /// The client's sticky session.
    pub session: Option<SessionId>,
    /// When the whole budget for building a chain ends, retries included.
    pub deadline: Instant,
    /// Whether another attempt may follow a failure after the stream was handed over (idempotent, or no body
    /// byte sent). Attempts before the hand-over are always safe to repeat.
    pub replayable: bool,
    /// The attempts made so far, the oldest first.
    pub attempts: Vec<Attempt>,
    /// What the implementation remembers of this request from one call to the next. Callers start with `None`
    /// and leave it alone.
    pub memory: Option<Arc<dyn Any + Send + Sync>>,
}

impl ConnectRequest {
    /// A request for a tunnel that ends at `deadline` if the chain does not stand by then.
    #[must_use]
    pub fn tunnel(target: Target, deadline: Instant) -> Self {
        Self {
            target,
            purpose: Purpose::Tunnel,
            pool: None,
            session: None,
            deadline,
            replayable: true,
            attempts: Vec::new(),
            memory: None,
        }
    }
}

/// What one attempt came to.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The way that was tried.
    pub via: Via,
    /// The counters of that way.
    pub traffic: Arc<Traffic>,
    /// How it failed; `None` while the stream is with the caller or went well.
    pub failure: Option<(FailureKind, Blame)>,
}

/// Which way a stream goes, for answers, logs and metric labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// Straight to the target.
    Direct,
    /// Through the corporate proxy only.
    Corporate,
    /// Through this rotating proxy of this pool (and the corporate proxy, where there is one).
    Proxy {
        /// The pool it was picked from.
        pool: PoolName,
        /// The proxy.
        id: ProxyId,
    },
}

impl Via {
    /// The `proxy` field of logs and metrics: an id, `_corporate` or `_direct`.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Direct => "_direct",
            Self::Corporate => "_corporate",
            Self::Proxy { id, .. } => id.as_str(),
        }
    }
}

/// How plain HTTP requests have to be written on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Origin form: the stream ends at the target (or at a tunnel to it).
    Origin,
    /// Absolute form: the stream ends at an HTTP proxy.
    Absolute {
        /// The whole value of `Proxy-Authorization` for the next request on this stream; `None` where the hop
        /// needs none or the connection itself is authenticated already (NTLM).
        authorization: Option<Secret>,
    },
}

/// How long the way to one hop (or to the target) took, by phase. Phases that did not happen are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopTiming {
    /// The hop, or [`HopName::TARGET`].
    pub hop: HopName,
    /// What was dialled.
    pub address: HopAddress,
    /// Name resolution (first hop and direct dials only).
    pub dns: Duration,
    /// TCP connect (first hop and direct dials only).
    pub tcp: Duration,
    /// TLS handshake with the hop.
    pub tls: Duration,
    /// The hop before this one being asked for it (CONNECT, SOCKS, authentication legs included).
    pub handshake: Duration,
    /// What the hop before this one said: a status line or SOCKS reply. Never a secret.
    pub said: Option<Said>,
}

/// What was dialled on the way to a hop. Kept as it is and shown only when somebody asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HopAddress {
    /// The address of the socket.
    Socket(SocketAddr),
    /// The host and port that the hop before was asked for, or that never became a socket.
    Place(Target),
}

impl fmt::Display for HopAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Place(place) => place.fmt(f),
        }
    }
}

/// A stream handed out, and the way back for what becomes of it.
pub struct Connected {
    /// The stream, with any bytes that came behind the last handshake.
    pub stream: ChainStream,
    /// How plain HTTP requests are written on it.
    pub form: Form,
    /// Which way it goes.
    pub via: Via,
    /// The counters of that way.
    pub traffic: Arc<Traffic>,
    /// Whether it carried requests before (a failure before the first response byte may be staleness).
    pub reused: bool,
    /// Phase times of the dial, the nearest hop first; empty for a reused stream.
    pub timings: Vec<HopTiming>,
    /// Told what becomes of the stream; dropping it ends the stream's accounting.
    pub outcome: Box<dyn Outcome>,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("via", &self.via)
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

/// What to do with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it to the client.
    Pass,
    /// Throw it away and ask the connector for the next attempt.
    Retry,
}

/// The maker's side of a stream that was handed out: in-flight count, success, failure, bytes, reuse.
///
/// A guard: dropping it gives back every permit and count however the stream ended.
pub trait Outcome: Send {
    /// A response head arrived over the stream (plain HTTP only). `replayable` says whether the request could be
    /// sent again.
    fn response(&mut self, status: u16, replayable: bool) -> Verdict;

    /// The stream broke, or said nothing in time, before a response head arrived; for a tunnel: its far end
    /// closed or broke it before a single byte came down (not told where the client went away first). Says whether the connector would try again for a replayable request.
    fn failed(&mut self, error: &DialError) -> Verdict;

    /// When to give up waiting for a response head so that another attempt has time left; `None` waits until the
    /// request's own deadline. Heeded only while the request can be sent again.
    fn patience(&self) -> Option<Instant> {
        None
    }

    /// Bytes that went through, to be added to what was told before.
    fn moved(&mut self, up: u64, down: u64);

    /// Takes back a stream on which another request may follow.
    fn park(self: Box<Self>, stream: ChainStream);
}

/// An [`Outcome`] that nobody listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Outcome for Unobserved {
    fn response(&mut self, _status: u16, _replayable: bool) -> Verdict {
        Verdict::Pass
    }

    fn failed(&mut self, _error: &DialError) -> Verdict {
        Verdict::Pass
    }

    fn moved(&mut self, _up: u64, _down: u64) {}

    fn park(self: Box<Self>, _stream: ChainStream) {}
}
