//! Kept plain-HTTP upstreams of one chain.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;
use pcs_models::{SessionId, Target};
use pcs_tunnel::{ChainStream, Form};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// Who may use a kept stream again. The chain itself, credentials included, is the pool the stream lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReuseKey {
    /// The one target the stream leads to; none where it ends at a proxy that takes absolute forms.
    pub(crate) target: Option<Target>,
    /// The sticky session it was made for: sessions never share a stream, nor with those that have none.
    pub(crate) session: Option<SessionId>,
}

impl ReuseKey {
    pub(crate) fn of(form: &Form, target: &Target, session: Option<&SessionId>) -> Self {
        let target = match form {
            Form::Origin => Some(target.clone()),
            Form::Absolute { .. } => None,
        };
        Self {
            target,
            session: session.cloned(),
        }
    }

    fn serves(&self, target: &Target, session: Option<&SessionId>) -> bool {
        self.session.as_ref() == session && self.target.as_ref().is_none_or(|own| own == target)
    }
}

/// Streams on which another request may follow: the freshest of this thread is used first, then that of another;
/// the oldest makes room.
#[derive(Debug, Default)]
pub(crate) struct IdleStreams(Mutex<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    key: ReuseKey,
    stream: ChainStream,
    form: Form,
    since: Instant,
    /// The thread that used it last, whose reactor watches it: elsewhere each of its events would have to be passed on
    /// from there, at the price of a wake-up.
    home: ThreadId,
}

impl IdleStreams {
    /// A live stream for `target` and `session`, if one is kept. Streams that ended meanwhile, or said something
    /// unasked, are thrown away on the way.
    pub(crate) fn take(
        &self,
        target: &Target,
        session: Option<&SessionId>,
        now: Instant,
        max_age: Duration,
    ) -> Option<(ChainStream, Form)> {
        let home = std::thread::current().id();
        loop {
            let mut idle = {
                let mut kept = self.0.lock();
                let serves = |idle: &Idle| idle.key.serves(target, session);
                let at_home = kept.iter().rposition(|idle| idle.home == home && serves(idle));
                let at = at_home.or_else(|| kept.iter().rposition(serves))?;
                kept.remove(at)
            };
            if now.saturating_duration_since(idle.since) >= max_age || !is_quiet(&mut idle.stream) {
                continue;
            }
            if idle.home == home {
                return Some((idle.stream, idle.form));
            }
            // One that cannot move is as good as one that has ended.
            if let Ok(stream) = idle.stream.rehomed() {
                return Some((stream, idle.form));
            }
        }
    }

    /// Keeps a stream, in place of the oldest where `max` are kept already.
    pub(crate) fn put(&self, key: ReuseKey, stream: ChainStream, form: Form, now: Instant, max: usize) {
        if max == 0 || !stream.early().is_empty() {
            return;
        }
        let mut dropped = None;
        {
            let mut kept = self.0.lock();
            if kept.len() >= max {
                dropped = Some(kept.remove(0));
            }
            kept.push(Idle {
                key,
                stream,
                form,
                since: now,
                home: std::thread::current().id(),
            });
        }
        // Closing a socket is a system call: not under the lock.
        drop(dropped);
    }

    /// Closes what is too old or ended by itself.
    pub(crate) fn sweep(&self, now: Instant, max_age: Duration) {
        let mut dropped = Vec::new();
        {
            let mut kept = self.0.lock();
            let stale = |idle: &mut Idle| {
                now.saturating_duration_since(idle.since) >= max_age || !is_quiet(&mut idle.stream)
            };
            dropped.extend(kept.extract_if(.., stale));
            if kept.is_empty() {
                kept.shrink_to_fit();
            }
        }
        drop(dropped);
    }

    /// Closes everything.
    pub(crate) fn clear(&self) {
        let dropped = std::mem::take(&mut *self.0.lock());
        drop(dropped);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Whether nothing can be read from a stream that should be silent: neither its end nor stray bytes.
pub(crate) fn is_quiet(stream: &mut ChainStream) -> bool {
    if !stream.early().is_empty() {
        return false;
    }
    let mut byte = [0u8; 1];
    let mut buf = ReadBuf::new(&mut byte);
    let mut cx = Context::from_waker(Waker::noop());
    matches!(Pin::new(stream).poll_read(&mut cx, &mut buf), Poll::Pending)
}
