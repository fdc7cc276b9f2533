//! Tunnels: TCP, CONNECT, 32 bytes out and back, close — or stay.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Credentials, Outcome, STALL};
use crate::linux::poll::{Poll, Ready};
use crate::linux::socket;

const PAYLOAD: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
const TARGET: &str = "example.com:443";

/// How new tunnels are begun.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many at once: the next begins when one is done.
    Together(usize),
    /// One each interval, however long the others take.
    Every(Duration),
}

/// What tunnels to make.
#[derive(Debug, Clone)]
pub(crate) struct Tunnels {
    pub(crate) address: SocketAddr,
    /// None: straight to the origin, without a proxy.
    pub(crate) connect: Option<Credentials>,
    pub(crate) pace: Pace,
    pub(crate) total: usize,
    /// Keep them open.
    pub(crate) hold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Dialling,
    Asked,
    Echo(usize),
}

#[derive(Debug)]
struct Tunnel {
    stream: TcpStream,
    begun: Instant,
    step: Step,
    answer: Vec<u8>,
}

struct Run<'a> {
    job: &'a Tunnels,
    poll: Poll,
    head: Vec<u8>,
    open: Vec<Option<Tunnel>>,
    free: Vec<usize>,
    begun: usize,
    failed: usize,
    latencies: Vec<Duration>,
    held: Vec<TcpStream>,
}

impl Tunnels {
    /// Makes them all; those that are held are given back.
    pub(crate) fn run(&self) -> Result<(Outcome, Vec<TcpStream>)> {
        let head = self.connect.map(|credentials| {
            format!(
                "CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n{}\r\n",
                credentials.header()
            )
        });
        let mut run = Run {
            job: self,
            poll: Poll::new()?,
            head: head.unwrap_or_default().into_bytes(),
            open: Vec::new(),
            free: Vec::new(),
            begun: 0,
            failed: 0,
            latencies: Vec::with_capacity(self.total),
            held: Vec::new(),
        };
        let started = Instant::now();
        run.drive(started)?;
        let took = started.elapsed();
        Ok((Outcome::new(run.latencies, self.total, took), run.held))
    }
}

impl Run<'_> {
    fn drive(&mut self, started: Instant) -> Result<()> {
        let mut ready = Vec::new();
        let mut progress = started;
        if let Pace::Together(count) = self.job.pace {
            for _ in 0..count {
                self.begin()?;
            }
        }
        while self.latencies.len() + self.failed < self.job.total {
            let mut limit = Duration::from_secs(1);
            if let Pace::Every(interval) = self.job.pace {
                let now = Instant::now();
                let due = |begun: usize| started + interval * u32::try_from(begun).unwrap_or(u32::MAX);
                while self.begun < self.job.total && due(self.begun) <= now {
                    self.begin()?;
                }
                limit = due(self.begun).saturating_duration_since(now).min(limit);
            }
            self.poll.wait(Some(limit), &mut ready)?;
            let now = Instant::now();
            if !ready.is_empty() {
                progress = now;
            } else if now - progress > STALL {
                return Ok(());
            }
            for &(place, _) in &ready {
                self.step(place)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        if self.begun >= self.job.total {
            return Ok(());
        }
        self.begun += 1;
        let begun = Instant::now();
        let Ok(stream) = socket::dial(self.job.address) else {
            self.failed += 1;
            return Ok(());
        };
        let place = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        // On loopback the connection usually stands by now.
        let sent = self.first(&stream);
        let step = match (&self.job.connect, sent) {
            (_, false) => Step::Dialling,
            (Some(_), true) => Step::Asked,
            (None, true) => Step::Echo(0),
        };
        self.poll
            .add(&stream, place, if sent { Ready::IN } else { Ready::OUT })?;
        self.open[place] = Some(Tunnel {
            stream,
            begun,
            step,
            answer: Vec::new(),
        });
        Ok(())
    }

    /// Sends what comes first: the head, or the payload when there is no proxy.
    fn first(&self, mut stream: &TcpStream) -> bool {
        let bytes = if self.job.connect.is_some() {
            &self.head[..]
        } else {
            &PAYLOAD[..]
        };
        stream.write(bytes).is_ok_and(|sent| sent == bytes.len())
    }

    fn step(&mut self, place: usize) -> Result<()> {
        let Some(mut tunnel) = self.open[place].take() else {
            return Ok(());
        };
        match self.advance(place, &mut tunnel)? {
            Some(true) => self.open[place] = Some(tunnel),
            Some(false) => {
                self.failed += 1;
                self.end(place)?;
            }
            None => {
                self.latencies.push(tunnel.begun.elapsed());
                if self.job.hold {
                    // It stays registered with this poll, which ends with the job.
                    self.held.push(tunnel.stream);
                } else {
                    drop(tunnel);
                }
                self.end(place)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, place: usize) -> Result<()> {
        self.free.push(place);
        if matches!(self.job.pace, Pace::Together(_)) {
            self.begin()?;
        }
        Ok(())
    }

    /// One step: none when done, else whether it is still sound.
    fn advance(&self, place: usize, tunnel: &mut Tunnel) -> Result<Option<bool>> {
        if tunnel.step == Step::Dialling {
            let sent = self.first(&tunnel.stream);
            tunnel.step = if self.job.connect.is_some() {
                Step::Asked
            } else {
                Step::Echo(0)
            };
            self.poll.change(&tunnel.stream, place, Ready::IN)?;
            return Ok(Some(sent));
        }
        let mut bytes = [0; 4096];
        let read = match tunnel.stream.read(&mut bytes) {
            Ok(0) => return Ok(Some(false)),
            Ok(read) => read,
            Err(error) => return Ok(Some(error.kind() == ErrorKind::WouldBlock)),
        };
        let arrived = &bytes[..read];
        match tunnel.step {
            Step::Dialling => Ok(Some(true)),
            Step::Asked => {
                tunnel.answer.extend_from_slice(arrived);
                if !tunnel.answer.ends_with(b"\r\n\r\n") {
                    return Ok(Some(tunnel.answer.len() < 8192));
                }
                let accepted = tunnel.answer.get(8..12) == Some(b" 200");
                tunnel.answer = Vec::new();
                tunnel.step = Step::Echo(0);
                let sent = accepted
                    && tunnel
                        .stream
                        .write(PAYLOAD)
                        .is_ok_and(|sent| sent == PAYLOAD.len());
                Ok(Some(sent))
            }
            Step::Echo(already) => {
                let all = already + read;
                let expected = PAYLOAD.get(already..all);
                if expected != Some(arrived) {
                    return Ok(Some(false));
                }
                tunnel.step = Step::Echo(all);
                Ok((all < PAYLOAD.len()).then_some(true))
            }
        }
    }
}
