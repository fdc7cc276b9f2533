//! One direction of a tunnel.
//!
//! ```text
//!            read error ──────────────┐
//!                                     v
//!   Open ── end of stream ────────> Ending ── rest written, shut down ──> Done
//!    │                                ^                                    ^
//!    └─ other direction cannot write ─┴─ LastWords: until the source blocks │
//!    └─ cannot write ───────────────────────────────────────────────────────┘
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::has_budget_remaining;

use super::pipe::{self, Pipe};
use crate::Io;
use crate::scratch::{self, Scratch};

/// One direction: what is read but not written yet, and how far it has come.
pub(super) struct Flow {
    held: Held,
    state: State,
    way: Way,
    /// Whether the destination may sit on bytes until it is flushed (TLS).
    unflushed: bool,
    /// Bytes that the destination took.
    pub(super) moved: u64,
    /// Bytes among them that were not copied.
    pub(super) spliced: u64,
}

/// Bytes between two sockets, only while the destination does not take them.
enum Held {
    Nothing,
    /// Early bytes, or a small rest.
    Bytes(Bytes),
    /// A large rest stays where it was read.
    Scratch {
        buffer: Scratch,
        from: usize,
        to: usize,
    },
    Pipe(Pipe),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    LastWords,
    Ending,
    Done,
}

/// How bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Copying,
    /// Through a pipe; so many times in a row too little came to be worth it.
    Splicing {
        thin: u8,
    },
    /// The system does not splice these sockets.
    OnlyCopying,
}

/// Which end of a direction failed.
#[derive(Debug)]
pub(super) enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// What a poll may use, for one direction.
pub(super) struct Turn<'a> {
    /// The buffer of the poll, taken when it is first needed.
    pub(super) scratch: &'a mut Option<Scratch>,
    /// Bytes that may still be read before others have their turn.
    pub(super) budget: usize,
    /// Whether the other direction is done, so that both sockets are about to be closed.
    pub(super) last: bool,
    /// Directions that went over to splicing.
    pub(super) engaged: u64,
}

/// What a read came to.
enum Got {
    /// So many bytes, which the destination has or the flow holds.
    Some,
    End,
}

impl Flow {
    pub(super) fn new(early: Bytes) -> Self {
        let held = if early.is_empty() {
            Held::Nothing
        } else {
            Held::Bytes(early)
        };
        Self {
            held,
            state: State::Open,
            way: Way::Copying,
            unflushed: false,
            moved: 0,
            spliced: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether neither a buffer nor a pipe is held.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    /// Whether the source has ended.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ending | State::Done)
    }

    /// The destination is gone: nothing more can be delivered.
    pub(super) fn abandon(&mut self) {
        self.held = Held::Nothing;
        self.state = State::Done;
    }

    /// The source has failed: what was read before is still delivered.
    pub(super) fn end(&mut self) {
        if self.state != State::Done {
            self.state = State::Ending;
        }
    }

    /// The source takes nothing any more: what it has said is delivered, nothing is waited for.
    pub(super) fn take_last_words(&mut self) {
        if self.state == State::Open {
            self.state = State::LastWords;
        }
    }

    /// Moves bytes until one of the ends blocks, the budget is used up, or the direction is done.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        turn: &mut Turn<'_>,
    ) -> Poll<Result<(), Fault>> {
        loop {
            ready!(self.write_held(cx, to)).map_err(Fault::Write)?;
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(poll_close(cx, to, turn.last)).map_err(Fault::Write)?;
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Open | State::LastWords if turn.budget == 0 => return Poll::Pending,
                State::Open | State::LastWords => {}
            }
            match self.read(cx, from, to, turn) {
                Poll::Ready(Ok(Got::Some)) => {}
                Poll::Ready(Ok(Got::End)) => self.state = State::Ending,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                // Not where only this task's turn is over: tokio has it woken then.
                Poll::Pending if self.state == State::LastWords && has_budget_remaining() => {
                    self.state = State::Ending;
                }
                Poll::Pending => return self.flush(cx, to).map_err(Fault::Write),
            }
        }
    }

    fn write_held(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        loop {
            let took = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Bytes(bytes) => {
                    let took = ready!(poll_write(cx, to, bytes))?;
                    bytes.advance(took);
                    took
                }
                Held::Scratch {
                    buffer,
                    from,
                    to: end,
                } => {
                    let rest = buffer.bytes().get(*from..*end).unwrap_or_default();
                    let took = ready!(poll_write(cx, to, rest))?;
                    *from += took;
                    took
                }
                Held::Pipe(pipe) => {
                    let took = ready!(poll_empty(cx, to, pipe))?;
                    self.spliced += took as u64;
                    took
                }
            };
            self.moved += took as u64;
            self.unflushed = true;
            if self.held.is_empty() {
                self.held = Held::Nothing;
            }
        }
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        turn: &mut Turn<'_>,
    ) -> Poll<Result<Got, Fault>> {
        if let (Way::Splicing { thin }, Io::Tcp(source)) = (self.way, &*from) {
            match ready!(poll_fill(cx, source, turn.budget)).map_err(Fault::Read)? {
                Filled::Pipe(pipe) => {
                    let thin = if pipe.held() < THIN { thin + 1 } else { 0 };
                    self.way = if thin < PATIENCE {
                        Way::Splicing { thin }
                    } else {
                        Way::Copying
                    };
                    turn.budget = turn.budget.saturating_sub(pipe.held());
                    self.held = Held::Pipe(pipe);
                    return Poll::Ready(Ok(Got::Some));
                }
                Filled::End => return Poll::Ready(Ok(Got::End)),
                // All pipes are lent: copy now, the next large read asks again.
                Filled::NoPipe => self.way = Way::Copying,
                Filled::Unsupported => self.way = Way::OnlyCopying,
            }
        }
        self.copy(cx, from, to, turn)
    }

    fn copy(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        turn: &mut Turn<'_>,
    ) -> Poll<Result<Got, Fault>> {
        let mut buffer = turn.scratch.take().unwrap_or_else(Scratch::take);
        let read = poll_read(cx, from, buffer.bytes_mut());
        let Poll::Ready(Ok(count @ 1..)) = read else {
            *turn.scratch = Some(buffer);
            return match ready!(read) {
                Ok(_) => Poll::Ready(Ok(Got::End)),
                Err(error) => Poll::Ready(Err(Fault::Read(error))),
            };
        };
        turn.budget = turn.budget.saturating_sub(count);
        let mut at = 0;
        while at < count {
            let rest = buffer.bytes().get(at..count).unwrap_or_default();
            match poll_write(cx, to, rest) {
                Poll::Ready(Ok(took)) => at += took,
                Poll::Ready(Err(error)) => {
                    self.moved += at as u64;
                    *turn.scratch = Some(buffer);
                    return Poll::Ready(Err(Fault::Write(error)));
                }
                Poll::Pending if rest.len() < SMALL_REST => {
                    self.held = Held::Bytes(Bytes::copy_from_slice(rest));
                    break;
                }
                Poll::Pending => {
                    self.held = Held::Scratch {
                        buffer,
                        from: at,
                        to: count,
                    };
                    self.moved += at as u64;
                    self.unflushed = true;
                    return Poll::Ready(Ok(Got::Some));
                }
            }
        }
        self.moved += at as u64;
        self.unflushed = true;
        *turn.scratch = Some(buffer);
        if count >= ENGAGE && self.way == Way::Copying && matches!((&*from, &*to), (Io::Tcp(_), Io::Tcp(_))) {
            self.way = Way::Splicing { thin: 0 };
            turn.engaged += 1;
        }
        Poll::Ready(Ok(Got::Some))
    }

    /// Before waiting for the source, sees to it that the destination sits on nothing.
    fn flush(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        if self.unflushed {
            self.unflushed = match to {
                Io::Tcp(_) => false,
                Io::Tls(stream) => Pin::new(stream).poll_flush(cx)?.is_pending(),
                Io::Other(stream) => Pin::new(stream).poll_flush(cx)?.is_pending(),
            };
        }
        Poll::Pending
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Scratch { from, to, .. } => from >= to,
            Self::Pipe(pipe) => pipe.held() == 0,
        }
    }
}

fn poll_read(cx: &mut Context<'_>, from: &mut Io, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    let read = match from {
        Io::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        // Many proxies close without `close_notify`. Whether something is cut off is for the protocol inside to
        // say; a reset in its place would lose what the other side has not read yet.
        Io::Tls(stream) => match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => read,
        },
        Io::Other(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
    };
    read.map_ok(|()| buffer.filled().len())
}

fn poll_write(cx: &mut Context<'_>, to: &mut Io, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let wrote = match to {
        Io::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        Io::Other(stream) => Pin::new(stream).poll_write(cx, bytes),
    };
    match ready!(wrote)? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        count => Poll::Ready(Ok(count)),
    }
}

/// Tells the destination that nothing more comes. Closing a bare socket tells it too.
fn poll_close(cx: &mut Context<'_>, to: &mut Io, last: bool) -> Poll<io::Result<()>> {
    let shut = match to {
        Io::Tcp(_) if last => return Poll::Ready(Ok(())),
        Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        Io::Other(stream) => Pin::new(stream).poll_shutdown(cx),
    };
    match ready!(shut) {
        // The peer was quicker and has closed both ways; every byte it wanted it has.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
        shut => Poll::Ready(shut),
    }
}

fn poll_empty(cx: &mut Context<'_>, to: &Io, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
    let Io::Tcp(to) = to else {
        return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
    };
    loop {
        ready!(to.poll_write_ready(cx))?;
        match pipe.empty(to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            emptied => return Poll::Ready(emptied),
        }
    }
}

enum Filled {
    Pipe(Pipe),
    End,
    NoPipe,
    Unsupported,
}

/// Waits for the source without holding a pipe.
fn poll_fill(cx: &mut Context<'_>, from: &tokio::net::TcpStream, limit: usize) -> Poll<io::Result<Filled>> {
    loop {
        ready!(from.poll_read_ready(cx))?;
        let Some(mut pipe) = pipe::take() else {
            return Poll::Ready(Ok(Filled::NoPipe));
        };
        return Poll::Ready(match pipe.fill(from, limit) {
            Ok(0) => Ok(Filled::End),
            Ok(_) => Ok(Filled::Pipe(pipe)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => continue,
                io::ErrorKind::InvalidInput
                | io::ErrorKind::Unsupported
                | io::ErrorKind::PermissionDenied => Ok(Filled::Unsupported),
                _ => Err(error),
            },
        });
    }
}

/// A rest below this is copied to a buffer of its own size.
const SMALL_REST: usize = 16 * 1024;
/// A read this large means that bytes come faster than they are moved.
const ENGAGE: usize = scratch::SIZE / 2;
/// A splice of less is dearer than copying, and after so many in a row copying is what is done.
const THIN: usize = 16 * 1024;
const PATIENCE: u8 = 4;
