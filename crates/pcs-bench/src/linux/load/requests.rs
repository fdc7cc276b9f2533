//! Plain HTTP requests on kept connections.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Credentials, Outcome, STALL};
use crate::linux::poll::{Poll, Ready};
use crate::linux::socket;

const LONGEST_ANSWER: usize = 64 * 1024;

/// What requests to make.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Credentials,
    pub(crate) together: usize,
    pub(crate) total: usize,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    asked: Instant,
    answer: Vec<u8>,
    is_dialling: bool,
    /// It has had an answer before: that it ends without another is no failure.
    is_kept: bool,
}

struct Run<'a> {
    job: &'a Requests,
    poll: Poll,
    request: Vec<u8>,
    clients: Vec<Option<Client>>,
    asked: usize,
    failed: usize,
    latencies: Vec<Duration>,
}

impl Requests {
    /// Makes them all. A client whose connection is closed behind an answer opens another.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let request = format!(
            "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n{}\r\n",
            self.credentials.header()
        );
        let mut run = Run {
            job: self,
            poll: Poll::new()?,
            request: request.into_bytes(),
            clients: Vec::new(),
            asked: 0,
            failed: 0,
            latencies: Vec::with_capacity(self.total),
        };
        let started = Instant::now();
        run.drive()?;
        Ok(Outcome::new(run.latencies, self.total, started.elapsed()))
    }
}

impl Run<'_> {
    fn drive(&mut self) -> Result<()> {
        for place in 0..self.job.together {
            self.clients.push(None);
            self.dial(place)?;
        }
        let mut ready = Vec::new();
        while self.latencies.len() + self.failed < self.job.total {
            self.poll.wait(Some(STALL), &mut ready)?;
            if ready.is_empty() {
                return Ok(());
            }
            for &(place, _) in &ready {
                self.step(place)?;
            }
        }
        Ok(())
    }

    fn dial(&mut self, place: usize) -> Result<()> {
        if self.asked >= self.job.total {
            return Ok(());
        }
        self.asked += 1;
        let asked = Instant::now();
        let Ok(stream) = socket::dial(self.job.address) else {
            self.failed += 1;
            return Ok(());
        };
        self.poll.add(&stream, place, Ready::OUT)?;
        self.clients[place] = Some(Client {
            stream,
            asked,
            answer: Vec::new(),
            is_dialling: true,
            is_kept: false,
        });
        Ok(())
    }

    fn step(&mut self, place: usize) -> Result<()> {
        let Some(mut client) = self.clients[place].take() else {
            return Ok(());
        };
        if client.is_dialling {
            client.is_dialling = false;
            self.poll.change(&client.stream, place, Ready::IN)?;
            if client
                .stream
                .write(&self.request)
                .is_ok_and(|sent| sent == self.request.len())
            {
                self.clients[place] = Some(client);
            } else {
                self.failed += 1;
                self.dial(place)?;
            }
            return Ok(());
        }
        let mut bytes = [0; 8192];
        let read = match client.stream.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.clients[place] = Some(client);
                return Ok(());
            }
            Err(_) => 0,
        };
        client.answer.extend_from_slice(&bytes[..read]);
        if read == 0 && client.answer.is_empty() && client.is_kept {
            self.asked -= 1;
            drop(client);
            return self.dial(place);
        }
        match judge(&client.answer) {
            Answer::Partial if read > 0 && client.answer.len() < LONGEST_ANSWER => {
                self.clients[place] = Some(client);
            }
            Answer::Partial | Answer::Bad => {
                self.failed += 1;
                drop(client);
                self.dial(place)?;
            }
            Answer::Whole { closes } => {
                self.latencies.push(client.asked.elapsed());
                self.again(place, client, closes)?;
            }
        }
        Ok(())
    }

    /// The next request of a client whose last was answered.
    fn again(&mut self, place: usize, mut client: Client, closes: bool) -> Result<()> {
        if closes {
            drop(client);
            return self.dial(place);
        }
        if self.asked >= self.job.total {
            return Ok(());
        }
        client.answer.clear();
        client.is_kept = true;
        client.asked = Instant::now();
        if client
            .stream
            .write(&self.request)
            .is_ok_and(|sent| sent == self.request.len())
        {
            self.asked += 1;
            self.clients[place] = Some(client);
            return Ok(());
        }
        drop(client);
        self.dial(place)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Partial,
    Whole { closes: bool },
    Bad,
}

fn judge(bytes: &[u8]) -> Answer {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Answer::Partial;
    };
    let Ok(text) = std::str::from_utf8(&bytes[..head]) else {
        return Answer::Bad;
    };
    if text.get(8..12) != Some(" 200") {
        return Answer::Bad;
    }
    let mut closes = text.starts_with("HTTP/1.0");
    let mut length: Option<usize> = None;
    for (name, value) in text.split("\r\n").filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    match length {
        None => Answer::Bad,
        Some(length) if bytes.len() < head + 4 + length => Answer::Partial,
        Some(_) => Answer::Whole { closes },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        assert_eq!(judge(b"HTTP/1.1 200 OK\r\nContent-Le"), Answer::Partial);
        assert_eq!(
            judge(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"),
            Answer::Partial
        );
        assert_eq!(
            judge(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
            Answer::Whole { closes: false }
        );
        assert_eq!(
            judge(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Answer::Whole { closes: true }
        );
        assert_eq!(
            judge(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"),
            Answer::Bad
        );
    }
}
