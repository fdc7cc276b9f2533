//! Bytes both ways between two streams, until both are done.
//!
//! One future per tunnel, without a task, timer or buffer of its own: bytes are read into a buffer that the thread
//! lends for one poll and written at once; only what the destination does not take is kept, and the direction stops
//! reading meanwhile. On Linux a busy direction between two bare sockets goes over to `splice(2)`.
//!
//! An end of stream is passed on as such and the other direction lives on. When an end fails, what was read from it
//! before is still delivered; what the failed end had said before it stopped listening is delivered too.

mod flow;
mod pipe;
mod registry;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use self::flow::{Fault, Flow, Turn};
use self::registry::{Registration, Wish};
use crate::{ByteStream, ChainStream, Io};

pub use registry::TunnelRegistry;

/// What ended a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The client ended its direction first, then the upstream did; every byte was delivered.
    ClientClosed,
    /// The upstream ended its direction first, then the client did; every byte was delivered.
    UpstreamClosed,
    /// Both ended at once; every byte was delivered.
    BothClosed,
    /// No byte went either way for the idle time.
    Idle,
    /// [`TunnelRegistry::drain`] was called.
    Drained,
    /// The client's stream failed.
    ClientError,
    /// The upstream's stream failed.
    UpstreamError,
}

impl EndedBy {
    /// The name in logs, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::UpstreamClosed => "upstream_closed",
            Self::BothClosed => "both_closed",
            Self::Idle => "idle",
            Self::Drained => "drained",
            Self::ClientError => "client_error",
            Self::UpstreamError => "upstream_error",
        }
    }
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a relay came to. The counts are right however it ended.
#[derive(Debug)]
pub struct RelayReport {
    /// Bytes from the client that the upstream took, early ones included.
    pub up: u64,
    /// Bytes from the upstream that the client took, early ones included.
    pub down: u64,
    /// Bytes of both directions that were moved without copying.
    pub spliced: u64,
    /// What ended it.
    pub ended_by: EndedBy,
    /// The failure, for [`EndedBy::ClientError`] and [`EndedBy::UpstreamError`].
    pub error: Option<io::Error>,
}

/// Relays between any two streams until both are done.
///
/// Bare [`TcpStream`]s, and [`ChainStream`]s over one, are spliced where the system can. There is no idle time; use
/// [`Relay`] with a [`TunnelRegistry`] for that.
///
/// # Cancel safety
///
/// Dropping the future closes both streams; bytes on the way are lost.
pub async fn relay<C, U>(client: C, upstream: U) -> RelayReport
where
    C: ByteStream + 'static,
    U: ByteStream + 'static,
{
    Relay::new(into_chain(client), into_chain(upstream)).await
}

/// Unwraps what is known below, so that it is not dispatched twice and can be spliced.
fn into_chain<S: ByteStream + 'static>(stream: S) -> ChainStream {
    let mut slot = Some(stream);
    let known: &mut dyn Any = &mut slot;
    if let Some(stream) = known.downcast_mut::<Option<ChainStream>>().and_then(Option::take) {
        return stream;
    }
    if let Some(stream) = known.downcast_mut::<Option<TcpStream>>().and_then(Option::take) {
        return stream.into();
    }
    let stream = slot.expect("the stream was not taken");
    ChainStream::new(Io::Other(Box::new(stream)))
}

/// A relay in progress: a future that can be asked how far it is.
///
/// # Cancel safety
///
/// Dropping it closes both streams; bytes on the way are lost.
#[must_use = "a relay moves bytes only while it is polled"]
pub struct Relay {
    /// Client and upstream, until the relay is over.
    sides: Option<(Io, Io)>,
    up: Flow,
    down: Flow,
    first_end: Option<EndedBy>,
    fault: Option<(EndedBy, io::Error)>,
    registration: Option<Registration>,
}

impl Relay {
    /// A relay between a client and an upstream. Early bytes of both are delivered first.
    pub fn new(client: impl Into<ChainStream>, upstream: impl Into<ChainStream>) -> Self {
        let (from_client, client) = client.into().into_parts();
        let (from_upstream, upstream) = upstream.into().into_parts();
        Self {
            sides: Some((client, upstream)),
            up: Flow::new(from_client),
            down: Flow::new(from_upstream),
            first_end: None,
            fault: None,
            registration: None,
        }
    }

    /// The same relay, ended by the registry's idle time and drain, and counted there.
    pub fn registered(mut self, registry: &Arc<TunnelRegistry>) -> Self {
        self.registration = Some(registry.register());
        self
    }

    /// Bytes delivered so far, up and down.
    #[must_use]
    pub fn moved(&self) -> (u64, u64) {
        (self.up.moved, self.down.moved)
    }

    /// Moves what can be moved now. Ready when both directions are done.
    fn pump(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (client, upstream) = self.sides.as_mut().expect("a relay is not polled after its end");
        let mut scratch = None;
        let mut budgets = (BUDGET, BUDGET);
        let mut engaged = 0;
        let spliced = self.up.spliced + self.down.spliced;
        loop {
            let mut turn = Turn {
                scratch: &mut scratch,
                budget: budgets.0,
                last: self.down.is_done(),
                engaged: 0,
            };
            let up = self.up.pump(cx, client, upstream, &mut turn);
            budgets.0 = turn.budget;
            engaged += turn.engaged;
            let mut turn = Turn {
                scratch: &mut scratch,
                budget: budgets.1,
                last: self.up.is_done(),
                engaged: 0,
            };
            let down = self.down.pump(cx, upstream, client, &mut turn);
            budgets.1 = turn.budget;
            engaged += turn.engaged;
            let mut again = false;
            if let Poll::Ready(Err(fault)) = up {
                again = true;
                let ends = (EndedBy::ClientError, EndedBy::UpstreamError);
                let fault = settle(fault, &mut self.up, &mut self.down, ends);
                self.fault.get_or_insert(fault);
            }
            if let Poll::Ready(Err(fault)) = down {
                again = true;
                let ends = (EndedBy::UpstreamError, EndedBy::ClientError);
                let fault = settle(fault, &mut self.down, &mut self.up, ends);
                self.fault.get_or_insert(fault);
            }
            if !again {
                break;
            }
        }
        if let Some(registration) = &self.registration {
            let spliced = self.up.spliced + self.down.spliced - spliced;
            if spliced > 0 || engaged > 0 {
                registration.spliced(spliced, engaged);
            }
        }
        if self.up.is_done() && self.down.is_done() {
            return Poll::Ready(());
        }
        if budgets.0 == 0 || budgets.1 == 0 {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn note_ends(&mut self) {
        if self.first_end.is_none() {
            self.first_end = match (self.up.has_ended(), self.down.has_ended()) {
                (true, true) => Some(EndedBy::BothClosed),
                (true, false) => Some(EndedBy::ClientClosed),
                (false, true) => Some(EndedBy::UpstreamClosed),
                (false, false) => None,
            };
        }
    }

    fn finish(&mut self, ended_by: EndedBy, error: Option<io::Error>) -> RelayReport {
        self.sides = None;
        self.registration = None;
        self.up.abandon();
        self.down.abandon();
        RelayReport {
            up: self.up.moved,
            down: self.down.moved,
            spliced: self.up.spliced + self.down.spliced,
            ended_by,
            error,
        }
    }
}

/// Makes both directions follow from a failure of `flow`, whose source and destination are named by `ends`.
fn settle(fault: Fault, flow: &mut Flow, other: &mut Flow, ends: (EndedBy, EndedBy)) -> (EndedBy, io::Error) {
    match fault {
        Fault::Read(error) => {
            flow.end();
            other.abandon();
            (ends.0, error)
        }
        Fault::Write(error) => {
            flow.abandon();
            other.take_last_words();
            (ends.1, error)
        }
    }
}

impl Future for Relay {
    type Output = RelayReport;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayReport> {
        let this = self.get_mut();
        let wish = this
            .registration
            .as_ref()
            .map_or(Wish::GoOn, |registration| registration.wish(cx.waker()));
        if wish == Wish::End {
            return Poll::Ready(this.finish(EndedBy::Drained, None));
        }
        let before = this.up.moved + this.down.moved;
        let over = this.pump(cx).is_ready();
        this.note_ends();
        if over {
            let (ended_by, error) = match this.fault.take() {
                Some((ended_by, error)) => (ended_by, Some(error)),
                None => (this.first_end.unwrap_or(EndedBy::BothClosed), None),
            };
            return Poll::Ready(this.finish(ended_by, error));
        }
        if this.up.moved + this.down.moved > before {
            if let Some(registration) = &this.registration {
                registration.active();
            }
        } else if wish == Wish::EndIfIdle {
            return Poll::Ready(this.finish(EndedBy::Idle, None));
        }
        Poll::Pending
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("up", &self.up.moved)
            .field("down", &self.down.moved)
            .finish_non_exhaustive()
    }
}

/// Bytes that one poll reads in one direction before other tunnels have their turn.
const BUDGET: usize = 1 << 20;

#[cfg(test)]
mod tests;
