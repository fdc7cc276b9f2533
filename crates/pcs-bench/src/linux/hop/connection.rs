//! One connection of a hop: what it has read, what it still has to say.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use super::request::{Request, parse};
use super::{CREDENTIALS, Mode, SLOWNESS, Script};
use crate::linux::{pattern, socket};

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
const DEFAULT_BODY: u64 = 100;
const LONGEST_HEAD: usize = 64 * 1024;
const COMMAND: usize = 16;
/// What one connection may send before the others have their turn.
const TURN: u64 = 1024 * 1024;

/// How the heads begin that the next hop of a chain finds in a tunnel.
const REQUESTS: [&[u8]; 3] = [b"CONNECT ", b"GET http://", b"POST http://"];

fn is_request(bytes: &[u8]) -> bool {
    REQUESTS.iter().any(|known| bytes.starts_with(known))
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Next {
    /// It waits for readiness.
    Wait,
    /// What it has to say is due at this time.
    Later(Instant),
    Close,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// A head of a client that came for a proxy.
    Head,
    /// Bytes of a tunnel, or the head of the next hop's `CONNECT`.
    Tunnel,
    /// Bytes to take.
    Take {
        offset: u64,
        left: u64,
        compare: bool,
        is_body: bool,
        good: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    pub(crate) id: u64,
    phase: Phase,
    /// The beginning of something that has not arrived as a whole.
    begun: Vec<u8>,
    said: usize,
    to_say: Vec<u8>,
    /// Bytes of the pattern to send after that: offset and how many.
    to_send: (u64, u64),
    /// When the hop that reads next was reached.
    reached: Instant,
    reset: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, is_origin: bool, id: u64) -> Self {
        Self {
            stream,
            id,
            phase: if is_origin { Phase::Tunnel } else { Phase::Head },
            begun: Vec::new(),
            said: 0,
            to_say: Vec::new(),
            to_send: (0, 0),
            reached: Instant::now(),
            reset: false,
        }
    }

    pub(crate) fn wants_to_write(&self) -> bool {
        self.said < self.to_say.len() || self.to_send.1 > 0
    }

    /// Says what is to be said, as far as the socket takes it.
    pub(crate) fn write(&mut self) -> Next {
        match self.try_write() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Next::Close,
        }
        if self.reset && !self.wants_to_write() {
            // A reset instead of an end: close with the linger time zero.
            let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
            return Next::Close;
        }
        Next::Wait
    }

    fn try_write(&mut self) -> io::Result<()> {
        while self.said < self.to_say.len() {
            self.said += self.stream.write(&self.to_say[self.said..])?;
        }
        self.to_say.clear();
        self.said = 0;
        let mut turn = TURN;
        while self.to_send.1 > 0 && turn > 0 {
            let (offset, left) = self.to_send;
            let sent = self.stream.write(pattern::at(offset, left))? as u64;
            self.to_send = (offset + sent, left - sent);
            turn = turn.saturating_sub(sent);
        }
        Ok(())
    }

    /// Reads once and acts on it.
    pub(crate) fn read(&mut self, script: &mut Script, scratch: &mut [u8]) -> Next {
        let read = match self.phase {
            Phase::Take {
                compare: false, left, ..
            } => {
                let limit = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
                socket::discard(&self.stream, &mut scratch[..limit])
            }
            Phase::Head | Phase::Tunnel | Phase::Take { .. } => self.stream.read(scratch),
        };
        match read {
            Ok(0) => Next::Close,
            Ok(read) => self.act(script, &scratch[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Next::Wait,
            Err(_) => Next::Close,
        }
    }

    fn act(&mut self, script: &mut Script, arrived: &[u8]) -> Next {
        let joined;
        let mut bytes = arrived;
        if !self.begun.is_empty() {
            self.begun.extend_from_slice(arrived);
            joined = std::mem::take(&mut self.begun);
            bytes = &joined;
        }
        while !bytes.is_empty() {
            let (used, next) = match self.phase {
                Phase::Head => self.head(script, bytes),
                Phase::Tunnel if is_request(bytes) => self.head(script, bytes),
                Phase::Tunnel => (self.command(script, bytes), Next::Wait),
                Phase::Take { .. } => (self.take(bytes), Next::Wait),
            };
            bytes = bytes.get(used..).unwrap_or_default();
            if !matches!(next, Next::Wait) {
                self.begun = bytes.to_vec();
                return next;
            }
            if used == 0 {
                self.begun = bytes.to_vec();
                if self.begun.len() > LONGEST_HEAD {
                    return Next::Close;
                }
                break;
            }
        }
        self.write()
    }

    /// Answers a head; no bytes are used while it is incomplete.
    fn head(&mut self, script: &mut Script, bytes: &[u8]) -> (usize, Next) {
        let Some(request) = parse(bytes, CREDENTIALS) else {
            return (0, Next::Wait);
        };
        let length = request.length;
        if !request.is_authorized {
            script.unauthorized += 1;
            eprintln!("unauthorized: {}", String::from_utf8_lossy(&bytes[..length]));
            self.to_say.extend_from_slice(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n\
                  Proxy-Authenticate: Basic realm=\"hop\"\r\nContent-Length: 0\r\n\r\n",
            );
            return (length, Next::Wait);
        }
        match script.mode {
            Mode::Good => {}
            Mode::Silent => return (length, Next::Wait),
            Mode::Refuse => {
                self.to_say
                    .extend_from_slice(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
                // Its body, if it has one, is not read.
                self.reset = request.content_length > 0;
                return (length, Next::Wait);
            }
            Mode::Garbage => {
                self.to_say
                    .extend_from_slice(b"\x16\x03\x01 this is no HTTP at all\r\n\r\n");
                return (length, Next::Wait);
            }
            Mode::Reset => {
                if request.is_connect {
                    self.to_say.extend_from_slice(ESTABLISHED);
                } else {
                    self.say_head(200, request.wanted.unwrap_or(DEFAULT_BODY));
                }
                self.reset = true;
                return (length, Next::Wait);
            }
            Mode::Slow => {
                self.answer(script, &request);
                return (length, Next::Later(Instant::now() + SLOWNESS));
            }
        }
        self.answer(script, &request);
        let now = Instant::now();
        if request.is_connect && !script.way.is_zero() {
            let round_trip = script.way * 2;
            let due = now.max(self.reached + round_trip) + round_trip;
            // Whoever hears of the next hop has waited for it already.
            self.reached = now;
            return (length, Next::Later(due));
        }
        if request.is_connect && !script.wait.is_zero() {
            let due = now.max(self.reached + script.wait) + script.wait;
            self.reached = due;
            return (length, Next::Later(due));
        }
        (length, Next::Wait)
    }

    fn answer(&mut self, script: &mut Script, request: &Request) {
        if request.is_connect {
            script.connects += 1;
            self.to_say.extend_from_slice(ESTABLISHED);
            self.phase = Phase::Tunnel;
            return;
        }
        script.requests += 1;
        if request.content_length > 0 {
            let left = request.content_length;
            self.phase = Phase::Take {
                offset: 0,
                left,
                compare: true,
                is_body: true,
                good: true,
            };
            return;
        }
        let wanted = request.wanted.unwrap_or(DEFAULT_BODY);
        self.say_head(200, wanted);
        self.to_send = (0, wanted);
    }

    fn say_head(&mut self, status: u16, length: u64) {
        let head = format!(
            "HTTP/1.1 {status} OK\r\nContent-Type: application/octet-stream\r\n\
             Cache-Control: no-store\r\nContent-Length: {length}\r\n\r\n"
        );
        self.to_say.extend_from_slice(head.as_bytes());
    }

    /// Obeys a command or echoes; the bytes used.
    fn command(&mut self, script: &Script, bytes: &[u8]) -> usize {
        let word = bytes.get(..4).unwrap_or(bytes);
        let words: [&[u8]; 4] = [b"PULL", b"SINK", b"PUSH", b"WHO?"];
        let may_begin = REQUESTS.iter().any(|known| known.starts_with(bytes));
        if !may_begin && !words.iter().any(|known| known.starts_with(word)) {
            self.to_say.extend_from_slice(bytes);
            return bytes.len();
        }
        let Some(command) = bytes.get(..COMMAND) else {
            return 0;
        };
        let count = std::str::from_utf8(&command[4..])
            .ok()
            .and_then(|digits| digits.parse().ok());
        let left = count.unwrap_or(0);
        match word {
            b"PULL" => self.to_send = (0, left),
            b"WHO?" => {
                self.to_say.extend_from_slice(script.name.as_bytes());
                self.to_say.push(b'\n');
            }
            _ => {
                let compare = word == b"PUSH";
                self.phase = Phase::Take {
                    offset: 0,
                    left,
                    compare,
                    is_body: false,
                    good: true,
                };
            }
        }
        COMMAND
    }

    /// Takes bytes of a body or a push; those used.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let Phase::Take {
            offset,
            left,
            compare,
            is_body,
            good,
        } = self.phase
        else {
            return 0;
        };
        let used = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let good = good && (!compare || pattern::matches(offset, &bytes[..used]));
        let left = left - used as u64;
        self.phase = Phase::Take {
            offset: offset + used as u64,
            left,
            compare,
            is_body,
            good,
        };
        if left == 0 {
            if is_body {
                self.say_head(if good { 200 } else { 422 }, 0);
                // A next request is recognised in a tunnel too.
                self.phase = Phase::Tunnel;
            } else {
                self.to_say
                    .extend_from_slice(if good { b"DONE" } else { b"BAD!" });
                self.phase = Phase::Tunnel;
            }
        }
        used
    }
}
