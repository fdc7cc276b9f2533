//! Read buffers, borrowed from a pool of the thread while bytes are in them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read and not yet dealt with. Holds no memory while empty and released.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Initialised throughout; empty while nothing is borrowed.
    buf: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn unread(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn unread_mut(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Drops `count` unread bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "{count} of {}", self.len());
        self.start = (self.start + count).min(self.end);
    }

    /// Where the unread bytes begin, to come back to with [`Input::rewind`] if nothing was read since.
    pub(crate) fn mark(&self) -> usize {
        self.start
    }

    pub(crate) fn rewind(&mut self, mark: usize) {
        debug_assert!(mark <= self.start, "{mark} behind {}", self.start);
        self.start = mark;
    }

    /// Gives the memory back if nothing is unread.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            give_back(std::mem::take(&mut self.buf));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room behind the unread bytes. Moves and grows them only where that is needed.
    fn make_room(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.buf.is_empty() {
            self.buf = borrow();
        } else if self.end == self.buf.len() {
            if self.start >= self.buf.len() / 2 {
                self.buf.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.buf.resize(self.buf.len() * 2, 0);
            }
        }
    }

    /// Takes a large buffer for a body of which much is to come. Nothing may be unread.
    pub(crate) fn go_bulk(&mut self) {
        if self.is_empty() && self.buf.len() < BULK {
            self.release();
            self.buf = vec![0; BULK];
        }
    }

    /// Room to read into.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        self.make_room();
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes over `count` bytes that were read into [`Input::spare`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buf.len());
    }

    /// Reads more. 0 is the end of the stream. Memory is borrowed only once there is something to read.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn fill(&mut self, client: &mut TcpStream) -> io::Result<usize> {
        poll_fn(|cx| {
            ready!(client.poll_read_ready(cx))?;
            // Not `try_read`: a `poll_read` that comes back short also notes that nothing is left, which saves the
            // next read its call for EAGAIN, once a tunnel and once a request.
            let read = self.poll_fill(cx, client);
            if read.is_pending() {
                self.release();
            }
            read
        })
        .await
    }

    /// Reads more from any stream. 0 is its end.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        let mut spare = ReadBuf::new(self.spare());
        ready!(Pin::new(reader).poll_read(cx, &mut spare))?;
        let count = spare.filled().len();
        self.filled(count);
        Poll::Ready(Ok(count))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buf));
    }
}

/// The size of a borrowed buffer: most heads fit.
const SMALL: usize = 4096;

/// The size of the buffer for large bodies: larger ones gained nothing when measured.
const BULK: usize = 64 * 1024;

/// The most buffers a thread keeps.
const MAX_KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

fn borrow() -> Vec<u8> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SMALL])
}

fn give_back(buffer: Vec<u8>) {
    // Grown buffers are not kept: a pool of them would be the high-water mark of all heads ever.
    if buffer.len() == SMALL {
        // An ending thread may have no pool any more; then the buffer is simply freed.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < MAX_KEPT
            {
                pool.push(buffer);
            }
        });
    }
}
