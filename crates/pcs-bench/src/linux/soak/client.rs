//! One client's operations: blocking, every byte compared, every wait bounded.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::linux::pattern;

/// Longer than any deadline of the server under test: waiting longer means that somebody hangs.
const PATIENCE: Duration = Duration::from_secs(25);
const LONGEST_HEAD: u64 = 64 * 1024;

/// How an operation ended that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A failure answered by the proxy.
    Refused(u16),
    /// The connection ended early.
    Cut,
    /// Never allowed: a wrong byte, an answer that is none, a hang.
    Wrong(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Self::Wrong(format!("nothing for {} s", PATIENCE.as_secs()))
            }
            _ => Self::Cut,
        }
    }
}

type Done = Result<(), Trouble>;

/// A connection to the proxy.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// The head of an answer.
struct Answer {
    status: u16,
    length: Option<u64>,
    closes: bool,
}

impl Client {
    pub(crate) fn connect(proxy: SocketAddr) -> Result<Self, Trouble> {
        let stream = TcpStream::connect_timeout(&proxy, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
        })
    }

    /// A tunnel, in a session if one is named.
    pub(crate) fn tunnel(proxy: SocketAddr, session: Option<&str>) -> Result<Self, Trouble> {
        let mut client = Self::connect(proxy)?;
        let sticky = session
            .map(|id| format!("X-Proxy-Sticky-Session: {id}\r\n"))
            .unwrap_or_default();
        client.say(
            format!("CONNECT soak.example:443 HTTP/1.1\r\nHost: soak.example:443\r\n{sticky}\r\n").as_bytes(),
        )?;
        let answer = client.answer()?;
        if answer.status == 200 {
            Ok(client)
        } else {
            Err(Trouble::Refused(answer.status))
        }
    }

    fn say(&mut self, bytes: &[u8]) -> Done {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    fn answer(&mut self) -> Result<Answer, Trouble> {
        let mut answer = Answer {
            status: 0,
            length: None,
            closes: false,
        };
        let mut read = 0;
        loop {
            let mut line = String::new();
            let length = (&mut self.stream).take(LONGEST_HEAD).read_line(&mut line)?;
            read += length as u64;
            if length == 0 {
                return Err(Trouble::Cut);
            }
            if read > LONGEST_HEAD {
                return Err(Trouble::Wrong("an endless head".to_owned()));
            }
            let line = line.trim_end();
            if answer.status == 0 {
                let status = line
                    .strip_prefix("HTTP/1.1 ")
                    .and_then(|rest| rest.get(..3)?.parse().ok());
                answer.status = status.ok_or_else(|| Trouble::Wrong(format!("no status: {line:?}")))?;
            } else if line.is_empty() {
                return Ok(answer);
            } else if let Some((name, value)) = line.split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    answer.length = value.trim().parse().ok();
                } else if name.eq_ignore_ascii_case("connection") {
                    answer.closes = value.trim().eq_ignore_ascii_case("close");
                }
            }
        }
    }

    /// So many bytes of the pattern.
    fn compare(&mut self, count: u64) -> Done {
        let mut offset = 0;
        while offset < count {
            let arrived = self.stream.fill_buf()?;
            if arrived.is_empty() {
                return Err(Trouble::Cut);
            }
            let part = arrived
                .len()
                .min(usize::try_from(count - offset).unwrap_or(usize::MAX));
            if !pattern::matches(offset, &arrived[..part]) {
                return Err(Trouble::Wrong(format!("a wrong byte after {offset} of {count}")));
            }
            self.stream.consume(part);
            offset += part as u64;
        }
        Ok(())
    }

    fn send(&mut self, count: u64) -> Done {
        let mut offset = 0;
        while offset < count {
            let part = pattern::at(offset, count - offset);
            self.say(part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// The target sends, we compare.
    pub(crate) fn pull(&mut self, count: u64) -> Done {
        self.say(format!("PULL{count:012}").as_bytes())?;
        self.compare(count)
    }

    /// We send, the target compares.
    pub(crate) fn push(&mut self, count: u64) -> Done {
        self.say(format!("PUSH{count:012}").as_bytes())?;
        self.send(count)?;
        let mut word = [0; 4];
        self.stream.read_exact(&mut word)?;
        if &word == b"DONE" {
            Ok(())
        } else {
            Err(Trouble::Wrong(format!(
                "the target got other bytes than the {count} sent"
            )))
        }
    }

    /// Begins to pull and leaves in the middle.
    pub(crate) fn vanish(&mut self, count: u64) -> Done {
        self.say(format!("PULL{count:012}").as_bytes())?;
        self.compare(count / 3)
    }

    /// The name of the hop at the end of the tunnel.
    pub(crate) fn who(&mut self) -> Result<String, Trouble> {
        self.say(b"WHO?000000000000")?;
        let mut name = String::new();
        if (&mut self.stream).take(64).read_line(&mut name)? == 0 {
            return Err(Trouble::Cut);
        }
        name.strip_prefix("hop-")
            .map(|name| name.trim_end().to_owned())
            .ok_or_else(|| Trouble::Wrong(format!("no hop is called {name:?}")))
    }

    /// Some plain requests on one connection: bodies down, then one up.
    pub(crate) fn requests(proxy: SocketAddr, sizes: &[u64], upload: u64) -> Done {
        let mut client = Self::connect(proxy)?;
        for size in sizes {
            let head = format!("GET http://soak.example/bytes/{size} HTTP/1.1\r\nHost: soak.example\r\n\r\n");
            client.say(head.as_bytes())?;
            let answer = client.answer()?;
            if answer.status != 200 {
                return Err(Trouble::Refused(answer.status));
            }
            if answer.length != Some(*size) {
                return Err(Trouble::Wrong(format!(
                    "a body of {:?} in place of {size}",
                    answer.length
                )));
            }
            client.compare(*size)?;
            if answer.closes {
                client = Self::connect(proxy)?;
            }
        }
        let mut head = String::from("POST http://soak.example/take HTTP/1.1\r\nHost: soak.example\r\n");
        // Writing to a text cannot fail.
        let _ = write!(head, "Content-Length: {upload}\r\nConnection: close\r\n\r\n");
        client.say(head.as_bytes())?;
        // A proxy may answer and close before it has read the body: what it says counts more than the broken pipe.
        let sent = client.send(upload);
        match client.answer() {
            Ok(Answer { status: 200, .. }) => sent,
            Ok(Answer { status: 422, .. }) => Err(Trouble::Wrong("the target got another body".to_owned())),
            Ok(answer) => Err(Trouble::Refused(answer.status)),
            Err(trouble) => Err(trouble),
        }
    }
}
