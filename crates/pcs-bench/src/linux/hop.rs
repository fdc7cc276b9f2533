//! The scripted hop: a proxy that asks for Basic credentials, and the origin behind it, in one epoll loop.
//!
//! It dials nobody. `CONNECT` is answered and from then on it is the target; another `CONNECT` inside the tunnel makes
//! it the next hop of a chain. So it costs next to nothing, and a chain of two hops needs one of it.
//!
//! Inside a tunnel, bytes are echoed, except for commands of 16 bytes: a word and twelve digits.
//!
//! | command | does |
//! |---|---|
//! | `PULL` n | sends n bytes of the [pattern](super::pattern) |
//! | `SINK` n | throws n bytes away, then says `DONE` |
//! | `PUSH` n | compares n bytes with the pattern, then says `DONE` or `BAD!` |
//! | `WHO?` 0 | sends its name and a line feed |
//!
//! On its standard input it takes `mode good|refuse|reset|garbage|silent|slow`, `stats`, and its end as its own.

mod connection;
mod request;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::poll::{Poll, Ready};
use super::{option, socket};
use connection::{Connection, Next};

/// `user:password` in Base64: what every hop asks for.
pub(crate) const CREDENTIALS: &str = "dXNlcjpwY3MtczNjcg==";
pub(crate) const USER: &str = "user";
/// No word that anything else says: it is looked for in all that PCS shows.
pub(crate) const PASSWORD: &str = "pcs-s3cr";

/// What a hop that is slow on purpose waits before each answer.
const SLOWNESS: Duration = Duration::from_millis(300);
const SCRATCH: usize = 256 * 1024;
const STDIN: usize = usize::MAX;

/// How it behaves towards the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Good,
    /// Says 503.
    Refuse,
    /// Says 200, then resets.
    Reset,
    /// Says what is no HTTP.
    Garbage,
    /// Says nothing.
    Silent,
    /// Waits before it answers.
    Slow,
}

impl Mode {
    pub(crate) const LIES: [(&'static str, Self); 5] = [
        ("refuse", Self::Refuse),
        ("reset", Self::Reset),
        ("garbage", Self::Garbage),
        ("silent", Self::Silent),
        ("slow", Self::Slow),
    ];

    fn named(name: &str) -> Result<Self> {
        let lie = Self::LIES.into_iter().find(|(known, _)| *known == name);
        match lie {
            Some((_, mode)) => Ok(mode),
            None if name == "good" => Ok(Self::Good),
            None => bail!("no mode `{name}`"),
        }
    }
}

/// What a hop is told at its start and has counted since.
#[derive(Debug)]
struct Script {
    name: String,
    mode: Mode,
    /// What each hop waits once at accept and again at CONNECT.
    wait: Duration,
    /// What the way to the hops takes, one way: an answer is there after there and back, the first one after there
    /// and back once more, for the connection.
    way: Duration,
    accepted: u64,
    connects: u64,
    requests: u64,
    unauthorized: u64,
}

/// Runs a hop until its standard input ends.
///
/// `--ports N` proxy ports (1), `--port PORT` the first of them (a free one), `--wait MS` (0), `--way MS` (0), `--name NAME`.
/// Prints the proxy ports on one line, then the port of the origin alone.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let ports: usize = option(arguments, "--ports").unwrap_or("1").parse()?;
    let wait: u64 = option(arguments, "--wait").unwrap_or("0").parse()?;
    let way: u64 = option(arguments, "--way").unwrap_or("0").parse()?;
    let script = Script {
        name: option(arguments, "--name").unwrap_or("hop").to_owned(),
        mode: Mode::Good,
        wait: Duration::from_millis(wait),
        way: Duration::from_millis(way),
        accepted: 0,
        connects: 0,
        requests: 0,
        unauthorized: 0,
    };
    let first = option(arguments, "--port").unwrap_or("0").parse()?;
    let mut hop = Hop::new(script, first, ports)?;
    hop.announce()?;
    hop.serve()
}

struct Hop {
    script: Script,
    poll: Poll,
    /// The last one is the origin's.
    listeners: Vec<TcpListener>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Answers that are due later: when, whose, and of which of the connections that have had that place.
    waiting: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    scratch: Vec<u8>,
    commands: Vec<u8>,
}

impl Hop {
    fn new(script: Script, first: u16, ports: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let ports = std::iter::once(first).chain(std::iter::repeat_n(0, ports));
        let listeners = ports.map(socket::listen).collect::<Result<Vec<_>>>()?;
        for (token, listener) in listeners.iter().enumerate() {
            poll.add(listener, token, Ready::IN)?;
        }
        poll.add(io::stdin(), STDIN, Ready::IN)?;
        Ok(Self {
            script,
            poll,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            waiting: BinaryHeap::new(),
            scratch: vec![0; SCRATCH],
            commands: Vec::new(),
        })
    }

    fn announce(&self) -> Result<()> {
        let port = |listener: &TcpListener| Ok(listener.local_addr()?.port().to_string());
        let ports = self.listeners.iter().map(port).collect::<Result<Vec<_>>>()?;
        let (origin, proxies) = ports.split_last().context("at least the origin's")?;
        println!("{}", proxies.join(" "));
        println!("{origin}");
        Ok(io::stdout().flush()?)
    }

    fn serve(&mut self) -> Result<()> {
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            let limit = self
                .waiting
                .peek()
                .map(|Reverse((due, ..))| due.saturating_duration_since(now));
            self.poll.wait(limit, &mut ready)?;
            for &(token, flags) in &ready {
                if token == STDIN {
                    if !self.obey()? {
                        return Ok(());
                    }
                } else if token < self.listeners.len() {
                    self.accept(token)?;
                } else {
                    self.step(token - self.listeners.len(), flags)?;
                }
            }
            self.answer_due()?;
        }
    }

    /// Does what standard input says; false at its end.
    fn obey(&mut self) -> Result<bool> {
        let mut bytes = [0; 512];
        let read = io::stdin().lock().read(&mut bytes)?;
        self.commands.extend_from_slice(&bytes[..read]);
        while let Some(end) = self.commands.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.commands.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim().split_once(' ') {
                Some(("mode", mode)) => self.script.mode = Mode::named(mode)?,
                _ if line.trim() == "stats" => {
                    let Script {
                        accepted,
                        connects,
                        requests,
                        unauthorized,
                        ..
                    } = self.script;
                    println!("{accepted} {connects} {requests} {unauthorized}");
                    io::stdout().flush()?;
                }
                _ => bail!("no command `{}`", line.trim()),
            }
        }
        Ok(read > 0)
    }

    fn accept(&mut self, listener: usize) -> Result<()> {
        let is_origin = listener + 1 == self.listeners.len();
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The other side was quicker to leave, or descriptors ran out: the load will see it.
                Err(_) => return Ok(()),
            };
            stream.set_nonblocking(true)?;
            self.script.accepted += 1;
            let place = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poll.add(&stream, place + self.listeners.len(), Ready::IN)?;
            self.connections[place] = Some(Connection::new(stream, is_origin, self.script.accepted));
        }
    }

    /// Lets one connection go on.
    fn step(&mut self, place: usize, flags: Ready) -> Result<()> {
        let Some(connection) = &mut self.connections[place] else {
            return Ok(());
        };
        let had_output = connection.wants_to_write();
        let mut next = Next::Wait;
        if flags.intersects(Ready::OUT) {
            next = connection.write();
        }
        if matches!(next, Next::Wait) && flags.intersects(Ready::IN | Ready::HUP | Ready::ERR) {
            next = connection.read(&mut self.script, &mut self.scratch);
        }
        self.go_on(place, next, had_output)
    }

    fn go_on(&mut self, place: usize, next: Next, had_output: bool) -> Result<()> {
        let token = place + self.listeners.len();
        let Some(connection) = &mut self.connections[place] else {
            return Ok(());
        };
        match next {
            Next::Close => {
                self.connections[place] = None;
                self.free.push(place);
            }
            Next::Later(due) => {
                self.waiting.push(Reverse((due, place, connection.id)));
                // Nothing is read before the answer is out.
                self.poll.change(&connection.stream, token, Ready::empty())?;
            }
            Next::Wait => {
                let has_output = connection.wants_to_write();
                if has_output != had_output {
                    let ready = if has_output {
                        Ready::IN | Ready::OUT
                    } else {
                        Ready::IN
                    };
                    self.poll.change(&connection.stream, token, ready)?;
                }
            }
        }
        Ok(())
    }

    fn answer_due(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some(Reverse((due, place, id))) = self.waiting.peek().copied() {
            if due > now {
                break;
            }
            self.waiting.pop();
            let connection = self.connections[place]
                .as_mut()
                .filter(|connection| connection.id == id);
            if let Some(connection) = connection {
                let next = connection.write();
                self.poll
                    .change(&connection.stream, place + self.listeners.len(), Ready::IN)?;
                self.go_on(place, next, false)?;
            }
        }
        Ok(())
    }
}
