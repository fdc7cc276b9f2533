//! Runs a handshake over a stream.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::ChainStream;
use crate::wire::{Handshake, HandshakeError, Progress};

/// Room for one answer: more than nearly all have, so that one read takes it whole.
const ROOM: usize = 2048;

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
    received.clear();
    let mut due = patience.deadline;
    loop {
        let progress = talk.advance(received, out).map_err(DriveError::Handshake)?;
        let (consumed, done) = match progress {
            Progress::NeedMore { consumed } => (consumed, false),
            Progress::Done { consumed } => (consumed, true),
        };
        received.drain(..consumed.min(received.len()));
        if !out.is_empty() {
            due = patience.deadline.min(Instant::now() + patience.answer);
            within(due, send(stream, out)).await?;
            out.clear();
        }
        if done {
            break;
        }
        received.reserve(ROOM);
        if within(due, stream.read_buf(received)).await? == 0 {
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

/// The timer is registered only where the work has to wait.
async fn within<T>(due: Instant, work: impl Future<Output = io::Result<T>>) -> Result<T, DriveError> {
    match timeout_at(due, work).await {
        Ok(done) => done.map_err(DriveError::Io),
        Err(_) => Err(DriveError::Late),
    }
}

#[cfg(test)]
mod tests;
