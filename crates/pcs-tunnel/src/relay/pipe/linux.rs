//! Pipes as Linux has them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A pipe with so many bytes in it. Dropping it while it holds some loses them, with the tunnel they belong to.
#[derive(Debug)]
pub(in crate::relay) struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

/// Pipes that exist, lent or not.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static FREE: Mutex<Vec<Ends>> = Mutex::new(Vec::new());
/// Whether a pipe was lent since the last [`trim`].
static USED: AtomicBool = AtomicBool::new(false);

/// Pipes at once. Unprivileged users may have 64 MiB in pipes (`pipe-user-pages-soft`); this is half of it.
const MAX_OPEN: usize = 32;
/// Pipes that are kept while nobody needs them.
const MAX_FREE: usize = 16;
/// What a pipe should hold, and what it must hold to be worth it.
const CAPACITY: usize = 1 << 20;
const MIN_CAPACITY: usize = 1 << 16;

/// Lends an empty pipe, unless too many are lent already or the system gives none.
pub(in crate::relay) fn take() -> Option<Pipe> {
    if !USED.load(Relaxed) {
        USED.store(true, Relaxed);
    }
    let free = FREE.lock().pop();
    free.or_else(Ends::open).map(|ends| Pipe {
        ends: Some(ends),
        held: 0,
    })
}

/// Closes the pipes that nobody used since the last call.
pub(in crate::relay) fn trim() {
    if !USED.swap(false, Relaxed) {
        let unused = std::mem::take(&mut *FREE.lock());
        drop(unused);
    }
}

impl Ends {
    fn open() -> Option<Self> {
        if OPEN.fetch_add(1, Relaxed) >= MAX_OPEN {
            OPEN.fetch_sub(1, Relaxed);
            return None;
        }
        let made = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let Ok((read, write)) = made else {
            OPEN.fetch_sub(1, Relaxed);
            return None;
        };
        // Refused where the user has too much in pipes; then the usual 64 KiB will do.
        let size = fcntl_setpipe_size(&write, CAPACITY).or_else(|_| fcntl_getpipe_size(&write));
        let ends = Self {
            read,
            write,
            capacity: size.unwrap_or(0),
        };
        (ends.capacity >= MIN_CAPACITY).then_some(ends)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

impl Pipe {
    /// Bytes in the pipe.
    pub(in crate::relay) fn held(&self) -> usize {
        self.held
    }

    /// Moves what has arrived on `from` into the empty pipe, `limit` bytes at most. `Ok(0)` is the end of the stream;
    /// `WouldBlock` can only mean the socket, because the pipe is empty.
    pub(in crate::relay) fn fill(&mut self, from: &TcpStream, limit: usize) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0, "a pipe is filled when it is empty");
        let ends = self.ends();
        let limit = limit.min(ends.capacity);
        let moved = from.try_io(Interest::READABLE, || pull(from, &ends.write, limit))?;
        self.held = moved;
        Ok(moved)
    }

    /// Moves bytes of the pipe to `to`. `WouldBlock` can only mean the socket, because the pipe is not empty.
    pub(in crate::relay) fn empty(&mut self, to: &TcpStream) -> io::Result<usize> {
        debug_assert!(self.held > 0, "a pipe is emptied when it holds something");
        let held = self.held;
        let ends = self.ends();
        let moved = to.try_io(Interest::WRITABLE, || pull(&ends.read, to, held))?;
        if moved == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.held = held.saturating_sub(moved);
        Ok(moved)
    }

    fn ends(&self) -> &Ends {
        self.ends
            .as_ref()
            .expect("a pipe has its ends until it is dropped")
    }
}

impl Drop for Pipe {
    /// An empty pipe goes back to the others.
    fn drop(&mut self) {
        if self.held > 0 {
            return;
        }
        let Some(ends) = self.ends.take() else { return };
        let mut free = FREE.lock();
        if free.len() < MAX_FREE {
            free.push(ends);
        }
    }
}

fn pull(from: impl AsFd, to: impl AsFd, limit: usize) -> io::Result<usize> {
    loop {
        match splice(
            &from,
            None,
            &to,
            None,
            limit,
            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}
