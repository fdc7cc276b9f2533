//! One end of a relay, scripted.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::dice::Choices;
use crate::pattern;

/// The most bytes that the ends say in one script.
const MAX_SAID: usize = 2 << 20;

/// One answer of an end.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many bytes are there, or are taken.
    Bytes(usize),
    /// It blocks until somebody unblocks it.
    Block,
    /// It fails.
    Fail(io::ErrorKind),
}

/// What one end does, what was done to it, and who waits for it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact that is checked")]
pub(super) struct End {
    reads: VecDeque<Step>,
    writes: VecDeque<Step>,
    /// Bytes are only delivered when flushed, as TLS may do.
    lazy: bool,
    pub(super) said: usize,
    taken: Vec<u8>,
    sitting: Vec<u8>,
    finished: bool,
    pub(super) read_failed: bool,
    pub(super) write_failed: bool,
    shut: bool,
    pub(super) waiting: Vec<Waker>,
    pub(super) misuse: Option<&'static str>,
}

impl End {
    pub(super) fn new(lazy: bool) -> Self {
        Self {
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            lazy,
            said: 0,
            taken: Vec::new(),
            sitting: Vec::new(),
            finished: false,
            read_failed: false,
            write_failed: false,
            shut: false,
            waiting: Vec::new(),
            misuse: None,
        }
    }

    /// Reads what both ends do: a byte for whose list it is and what kind, and one for how much.
    pub(super) fn script(ends: &mut [Self; 2], choices: &mut Choices<'_>) {
        let mut left = MAX_SAID;
        while !choices.is_over() {
            let (kind, amount) = (choices.byte(), usize::from(choices.byte()));
            let [client, upstream] = &mut *ends;
            let end = if kind & 1 == 0 { client } else { upstream };
            let is_read = kind & 2 == 0;
            let step = match (kind >> 2) % 8 {
                0..=2 => Step::Bytes(amount + 1),
                3 => Step::Bytes(amount * 600 + 1),
                4 | 5 => Step::Block,
                6 => Step::Bytes(1),
                _ if amount < 128 => Step::Fail(io::ErrorKind::ConnectionReset),
                _ => Step::Fail(io::ErrorKind::BrokenPipe),
            };
            if let (true, Step::Bytes(count)) = (is_read, step) {
                let Some(rest) = left.checked_sub(count) else {
                    return;
                };
                left = rest;
            }
            let steps = if is_read { &mut end.reads } else { &mut end.writes };
            steps.push_back(step);
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.read_failed || self.write_failed
    }

    /// Whether it has said all, and was told that no more comes.
    pub(super) fn is_over(&self) -> bool {
        self.finished && self.shut
    }

    /// Whether it sits on nothing, unless it may: it has failed, or somebody waits for it.
    pub(super) fn is_flushed(&self) -> bool {
        self.failed() || self.sitting.is_empty() || !self.waiting.is_empty()
    }

    /// Bytes that were taken, delivered or not.
    pub(super) fn took(&self) -> u64 {
        (self.taken.len() + self.sitting.len()) as u64
    }

    /// Whether what was taken are the first bytes that the other end said.
    pub(super) fn took_in_order(&self, salt: u8) -> bool {
        let sitting = self.taken.len();
        pattern::is_said(&self.taken, salt, 0) && pattern::is_said(&self.sitting, salt, sitting)
    }

    /// The next step of a write: how much there is room for.
    fn room(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        match self.writes.pop_front() {
            Some(Step::Block) => {
                self.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            Some(Step::Fail(kind)) => {
                self.write_failed = true;
                Poll::Ready(Err(kind.into()))
            }
            Some(Step::Bytes(room)) => Poll::Ready(Ok(room)),
            None => Poll::Ready(Ok(usize::MAX)),
        }
    }

    /// Delivers what it sits on, if it does not block.
    fn settle(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if self.sitting.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.room(cx).map_ok(|_| self.taken.append(&mut self.sitting))
    }
}

/// The stream over an end.
#[derive(Debug)]
pub(super) struct Fake {
    end: Arc<Mutex<End>>,
    salt: u8,
}

impl Fake {
    pub(super) fn new(end: Arc<Mutex<End>>, salt: u8) -> Self {
        Self { end, salt }
    }
}

impl AsyncRead for Fake {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut end = self.end.lock();
        if end.finished || end.read_failed {
            end.misuse = Some("read after the end");
        }
        match end.reads.pop_front() {
            None => end.finished = true,
            Some(Step::Block) => {
                end.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Step::Fail(kind)) => {
                end.read_failed = true;
                return Poll::Ready(Err(kind.into()));
            }
            Some(Step::Bytes(count)) => {
                let now = count.min(buf.remaining());
                if now < count {
                    end.reads.push_front(Step::Bytes(count - now));
                }
                buf.put_slice(&pattern::said(self.salt, end.said, now));
                end.said += now;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fake {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut end = self.end.lock();
        if end.shut || end.write_failed {
            end.misuse = Some("write after the end");
        }
        end.room(cx).map_ok(|room| {
            let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            if end.lazy {
                end.sitting.extend_from_slice(bytes);
            } else {
                end.taken.extend_from_slice(bytes);
            }
            bytes.len()
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.lock().settle(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut end = self.end.lock();
        let settled = end.settle(cx);
        if let Poll::Ready(Ok(())) = settled {
            if end.shut {
                end.misuse = Some("shut down twice");
            }
            end.shut = true;
        }
        settled
    }
}
