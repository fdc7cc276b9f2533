//! The relay between real sockets, where it splices: the kernel decides what is read and written at once.
//!
//! Pairs of connected Unix sockets stand in for TCP, so that no ports are used up; an end that is closed with bytes
//! unread resets, as TCP does.

use std::cell::RefCell;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use pcs_tunnel::{EndedBy, Relay, RelayReport};
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;

use crate::dice::Choices;
use crate::pattern;

/// The most bytes that one end says.
const MAX_SAID: usize = 4 << 20;

thread_local! {
    static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

pub(crate) fn run(data: &[u8]) {
    let _ = talk(data);
}

/// Plays the script that the input is, then lets both ends say good-bye.
fn talk(data: &[u8]) -> RelayReport {
    RUNTIME.with_borrow_mut(|runtime| {
        let runtime = runtime.get_or_insert_with(start);
        runtime.block_on(play(data))
    })
}

fn start() -> Runtime {
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime can be had");
    // To splice into a closed socket raises SIGPIPE. Rust's own `main` has it ignored, libFuzzer's has not.
    let caught = runtime.block_on(async { signal(SignalKind::pipe()) });
    assert!(caught.is_ok(), "{caught:?}");
    runtime
}

async fn play(data: &[u8]) -> RelayReport {
    let mut choices = Choices::new(data);
    let small = choices.byte();
    let (client, near) = pair(small & 1 != 0);
    let (upstream, far) = pair(small & 2 != 0);
    let mut ends = [Peer::new(client, 1), Peer::new(upstream, 101)];
    let script = async {
        while !choices.is_over() {
            let (what, amount) = (choices.byte(), choices.byte());
            let [client, upstream] = &mut ends;
            let (end, other) = if what & 1 == 0 {
                (client, upstream)
            } else {
                (upstream, client)
            };
            end.step(what >> 1, usize::from(amount), other.salt).await;
        }
        let [client, upstream] = &mut ends;
        client.shut_down();
        upstream.shut_down();
        tokio::join!(client.hear_out(101), upstream.hear_out(1));
    };
    let (report, ()) = tokio::join!(Relay::new(near, far), script);
    check(&report, &ends);
    report
}

fn check(report: &RelayReport, ends: &[Peer; 2]) {
    let [client, upstream] = ends;
    let (up, down) = (client.said as u64, upstream.said as u64);
    assert!(
        report.up <= up && report.down <= down,
        "{report:?}, said {up} and {down}"
    );
    assert!(
        upstream.heard as u64 <= report.up && client.heard as u64 <= report.down,
        "{report:?}"
    );
    assert!(report.spliced <= report.up + report.down);
    if !client.hung_up && !upstream.hung_up {
        assert!(report.error.is_none(), "{report:?}");
        assert!(matches!(
            report.ended_by,
            EndedBy::ClientClosed | EndedBy::UpstreamClosed | EndedBy::BothClosed
        ));
        assert_eq!((report.up, report.down), (up, down), "all is delivered");
        assert_eq!((upstream.heard as u64, client.heard as u64), (up, down));
    }
}

/// A connected pair; `small`: little fits into it.
fn pair(small: bool) -> (TcpStream, TcpStream) {
    let (one, two) = UnixStream::pair().expect("a pair can be had");
    let stream = |half: UnixStream| {
        half.set_nonblocking(true).expect("a socket need not block");
        if small {
            let _ = SockRef::from(&half).set_send_buffer_size(4096);
        }
        TcpStream::from_std(StdTcpStream::from(OwnedFd::from(half))).expect("there is a runtime")
    };
    (stream(one), stream(two))
}

/// Whoever sits behind one end of the relay.
struct Peer {
    socket: Option<TcpStream>,
    salt: u8,
    said: usize,
    heard: usize,
    shut: bool,
    hung_up: bool,
}

impl Peer {
    fn new(socket: TcpStream, salt: u8) -> Self {
        Self {
            socket: Some(socket),
            salt,
            said: 0,
            heard: 0,
            shut: false,
            hung_up: false,
        }
    }

    async fn step(&mut self, what: u8, amount: usize, other_salt: u8) {
        match what % 8 {
            0 => self.say(amount + 1),
            1 | 2 => self.say((amount + 1) * 1024),
            3 => self.hear(amount + 1, other_salt),
            4 => self.hear((amount + 1) * 1024, other_salt),
            5 if amount >= 240 => self.shut_down(),
            6 if amount >= 248 => {
                self.socket = None;
                self.hung_up = true;
            }
            _ => {
                for _ in 0..=amount % 4 {
                    yield_now().await;
                }
            }
        }
    }

    /// Says as much of `count` bytes as the socket takes now.
    fn say(&mut self, count: usize) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.shut) else {
            return;
        };
        let end = (self.said + count).min(MAX_SAID);
        let bytes = pattern::said(self.salt, self.said, end - self.said);
        self.said += socket.try_write(&bytes).unwrap_or_default();
    }

    /// Hears as much of `count` bytes as is there now.
    fn hear(&mut self, count: usize, salt: u8) {
        let Some(socket) = &self.socket else { return };
        let mut buffer = vec![0; count];
        let read = socket.try_read(&mut buffer).unwrap_or_default();
        self.compare(buffer.get(..read).unwrap_or_default(), salt);
    }

    fn compare(&mut self, bytes: &[u8], salt: u8) {
        assert!(
            pattern::is_said(bytes, salt, self.heard),
            "bytes in order behind {}",
            self.heard
        );
        self.heard += bytes.len();
    }

    fn shut_down(&mut self) {
        if let Some(socket) = self.socket.as_ref().filter(|_| !self.shut) {
            let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Write);
            self.shut = true;
        }
    }

    /// Hears whatever still comes.
    async fn hear_out(&mut self, salt: u8) {
        let Some(mut socket) = self.socket.take() else {
            return;
        };
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = socket.read(&mut buffer).await {
            self.compare(buffer.get(..read).unwrap_or_default(), salt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn bulk_is_spliced() {
        // The client says 256 KiB at a time and the upstream hears as much, for a while.
        let mut script = vec![0];
        for _ in 0..40 {
            script.extend([2, 255, 9, 255, 14, 1]);
        }
        let report = talk(&script);
        assert!(report.up > 1 << 20 && report.spliced > 0, "{report:?}");
    }
}
