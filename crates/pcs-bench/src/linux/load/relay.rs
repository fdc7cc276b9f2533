//! Bulk: so many bytes through a few tunnels, one way.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::STALL;
use crate::linux::poll::{Poll, Ready};
use crate::linux::{pattern, socket};

const SCRATCH: usize = 256 * 1024;
/// What one tunnel may move before the others have their turn.
const TURN: u64 = 1024 * 1024;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the target to the client.
    Pull,
    /// From the client to the target.
    Push,
}

#[derive(Debug)]
struct Stream {
    stream: TcpStream,
    offset: u64,
    left: u64,
    /// Bytes of the final word that are still to come.
    word: usize,
}

/// Moves `bytes` through open tunnels, the same share through each, and tells the time it took.
pub(crate) fn relay(tunnels: Vec<TcpStream>, direction: Direction, bytes: u64) -> Result<Duration> {
    ensure!(!tunnels.is_empty(), "no tunnel to move bytes through");
    let share = bytes / tunnels.len() as u64;
    let (command, interest, word) = match direction {
        Direction::Pull => ("PULL", Ready::IN, 0),
        Direction::Push => ("SINK", Ready::OUT, 4),
    };
    let mut poll = Poll::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut streams = Vec::new();
    let started = Instant::now();
    for (place, mut stream) in tunnels.into_iter().enumerate() {
        stream.write_all(format!("{command}{share:012}").as_bytes())?;
        poll.add(&stream, place, interest)?;
        streams.push(Stream {
            stream,
            offset: 0,
            left: share,
            word,
        });
    }
    let mut open = streams.len();
    let mut ready = Vec::new();
    while open > 0 {
        poll.wait(Some(STALL), &mut ready)?;
        if ready.is_empty() {
            bail!("{open} of {} tunnels stall", streams.len());
        }
        for &(place, _) in &ready {
            let stream = &mut streams[place];
            if is_finished(stream) {
                continue;
            }
            match direction {
                Direction::Pull => stream.pull(&mut scratch)?,
                Direction::Push if stream.left > 0 => {
                    stream.push()?;
                    if stream.left == 0 {
                        poll.change(&stream.stream, place, Ready::IN)?;
                    }
                }
                Direction::Push => stream.done()?,
            }
            open -= usize::from(is_finished(stream));
        }
    }
    Ok(started.elapsed())
}

fn is_finished(stream: &Stream) -> bool {
    stream.left == 0 && stream.word == 0
}

impl Stream {
    fn pull(&mut self, scratch: &mut [u8]) -> Result<()> {
        match socket::discard(&self.stream, scratch) {
            Ok(0) => bail!("a tunnel ended with {} bytes missing", self.left),
            Ok(arrived) => {
                let arrived = arrived as u64;
                ensure!(arrived <= self.left, "a tunnel brought more than was asked for");
                self.left -= arrived;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn push(&mut self) -> Result<()> {
        let mut turn = TURN;
        while self.left > 0 && turn > 0 {
            let sent = match self.stream.write(pattern::at(self.offset, self.left)) {
                Ok(sent) => sent as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.offset += sent;
            self.left -= sent;
            turn = turn.saturating_sub(sent);
        }
        Ok(())
    }

    /// The target says that it has everything.
    fn done(&mut self) -> Result<()> {
        let mut word = [0; 4];
        match self.stream.read(&mut word) {
            Ok(0) => bail!("a tunnel ended before the target had everything"),
            Ok(read) => {
                self.word = self.word.saturating_sub(read);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
