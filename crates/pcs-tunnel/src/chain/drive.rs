//! Runs a handshake over a stream.

use std::io;

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

/// Talks until the handshake is over; what came behind its end is put back into the stream.
pub(super) async fn drive(
    stream: &mut ChainStream,
    talk: &mut dyn Handshake,
    buffers: &mut Buffers,
    deadline: Instant,
) -> Result<(), DriveError> {
    let Buffers { out, received } = buffers;
    out.clear();
    received.clear();
    received.reserve(ROOM);
    match timeout_at(deadline, exchange(stream, talk, out, received)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(DriveError::Late),
    }
    if !received.is_empty() {
        stream.put_back(Bytes::copy_from_slice(received));
    }
    Ok(())
}

async fn exchange(
    stream: &mut ChainStream,
    talk: &mut dyn Handshake,
    out: &mut Vec<u8>,
    received: &mut Vec<u8>,
) -> Result<(), DriveError> {
    loop {
        let progress = talk.advance(received, out).map_err(DriveError::Handshake)?;
        let (consumed, done) = match progress {
            Progress::NeedMore { consumed } => (consumed, false),
            Progress::Done { consumed } => (consumed, true),
        };
        received.drain(..consumed.min(received.len()));
        if !out.is_empty() {
            stream.write_all(out).await.map_err(DriveError::Io)?;
            stream.flush().await.map_err(DriveError::Io)?;
            out.clear();
        }
        if done {
            return Ok(());
        }
        if stream.read_buf(received).await.map_err(DriveError::Io)? == 0 {
            return Err(DriveError::Ended);
        }
    }
}
