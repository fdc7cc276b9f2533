//! Runs a handshake over a stream.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::ChainStream;
use crate::scratch::Scratch;
use crate::wire::{Handshake, HandshakeError, Progress};

/// Room for a handshake's messages of the usual size.
const ROOM: usize = 256;

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(super) enum DriveError {
    /// The hop refuses or breaks its protocol.
    Handshake(HandshakeError),
    /// The connection broke.
    Io(io::Error),
    /// The hop ended the connection before its answer.
    Ended,
    /// No answer in time.
    Late,
}

/// The bytes of one dial's handshakes, reused from hop to hop.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    out: Vec<u8>,
    received: Vec<u8>,
}

/// How long a hop may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// When the handshake began.
    pub(super) asked: Instant,
    /// For one answer, from when it was asked: bytes that dribble in do not extend it.
    pub(super) answer: Duration,
    /// For everything.
    pub(super) deadline: Instant,
}

/// Talks until the handshake is over; what came behind its end is put back into the stream.
///
/// Costs one write for each message and one read for each answer that comes whole.
pub(super) async fn drive(
    stream: &mut ChainStream,
    talk: &mut dyn Handshake,
    buffers: &mut Buffers,
    patience: Patience,
) -> Result<(), DriveError> {
    let Buffers { out, received } = buffers;
    out.clear();
    out.reserve(ROOM);
    received.clear();
    let mut due = patience.deadline;
    let mut asked = Some(patience.asked);
    loop {
        let progress = talk.advance(received, out).map_err(DriveError::Handshake)?;
        let (consumed, done) = match progress {
            Progress::NeedMore { consumed } => (consumed, false),
            Progress::Done { consumed } => (consumed, true),
        };
        received.drain(..consumed.min(received.len()));
        if !out.is_empty() {
            let asked = asked.take().unwrap_or_else(Instant::now);
            due = patience.deadline.min(asked + patience.answer);
            within(due, send(stream, out)).await?;
            out.clear();
        }
        if done {
            break;
        }
        if within(due, receive(stream, received)).await? == 0 {
            return Err(DriveError::Ended);
        }
    }
    if !received.is_empty() {
        stream.put_back(Bytes::copy_from_slice(received));
    }
    Ok(())
}

async fn send(stream: &mut ChainStream, out: &[u8]) -> io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await
}

/// Reads into a buffer of the thread, so that one read takes all there is and nothing is held while waiting.
async fn receive(stream: &mut ChainStream, received: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut scratch = Scratch::take();
        let mut room = ReadBuf::new(scratch.bytes_mut());
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut room))?;
        received.extend_from_slice(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    })
    .await
}

/// The timer is registered only where the work has to wait. No `async fn`, which would hold the work twice.
fn within<T>(
    due: Instant,
    work: impl Future<Output = io::Result<T>>,
) -> impl Future<Output = Result<T, DriveError>> {
    timeout_at(due, work).map(|done| match done {
        Ok(done) => done.map_err(DriveError::Io),
        Err(_) => Err(DriveError::Late),
    })
}

#[cfg(test)]
mod tests;
