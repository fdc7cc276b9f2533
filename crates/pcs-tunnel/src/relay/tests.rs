//! The relay against scripted streams: whatever they do, bytes arrive in order, counts are right, and nothing hangs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, duplex};
use tokio::time::Instant;

use super::*;

/// One answer of a scripted stream.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many bytes are there, or are taken.
    Bytes(usize),
    /// It blocks until somebody unblocks it.
    Block,
    /// It fails.
    Fail(io::ErrorKind),
}

/// What one end does, what was done to it, and who waits for it.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact that the model checks"
)]
struct End {
    reads: VecDeque<Step>,
    writes: VecDeque<Step>,
    /// Bytes are only delivered when flushed, as TLS may do.
    lazy: bool,
    said: usize,
    taken: Vec<u8>,
    sitting: Vec<u8>,
    finished: bool,
    read_failed: bool,
    write_failed: bool,
    shut: bool,
    waiting: Vec<Waker>,
    misuse: Option<&'static str>,
}

/// The byte at a place of what an end says: neither end says the same.
fn byte_at(salt: u8, place: usize) -> u8 {
    salt.wrapping_add(u8::try_from(place % 251).unwrap())
}

#[derive(Clone)]
struct Fake {
    end: Arc<Mutex<End>>,
    salt: u8,
}

impl AsyncRead for Fake {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut end = self.end.lock();
        if end.finished || end.read_failed {
            end.misuse = Some("read after the end");
        }
        match end.reads.pop_front() {
            None => end.finished = true,
            Some(Step::Block) => {
                end.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Step::Fail(kind)) => {
                end.read_failed = true;
                return Poll::Ready(Err(kind.into()));
            }
            Some(Step::Bytes(count)) => {
                let now = count.min(buf.remaining());
                if now < count {
                    end.reads.push_front(Step::Bytes(count - now));
                }
                let said = end.said;
                (said..said + now).for_each(|place| buf.put_slice(&[byte_at(self.salt, place)]));
                end.said += now;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Fake {
    /// Delivers what it sits on, if it does not block.
    fn settle(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut end = self.end.lock();
        if end.sitting.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match end.writes.pop_front() {
            Some(Step::Block) => {
                end.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            Some(Step::Fail(kind)) => {
                end.write_failed = true;
                Poll::Ready(Err(kind.into()))
            }
            Some(Step::Bytes(_)) | None => {
                let sitting = std::mem::take(&mut end.sitting);
                end.taken.extend(sitting);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Fake {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut end = self.end.lock();
        if end.shut || end.write_failed {
            end.misuse = Some("write after the end");
        }
        let room = match end.writes.pop_front() {
            Some(Step::Block) => {
                end.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Step::Fail(kind)) => {
                end.write_failed = true;
                return Poll::Ready(Err(kind.into()));
            }
            Some(Step::Bytes(room)) => room,
            None => usize::MAX,
        };
        let bytes = &bytes[..room.min(bytes.len())];
        if end.lazy {
            end.sitting.extend_from_slice(bytes);
        } else {
            end.taken.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let settled = self.settle(cx)?;
        if settled.is_ready() {
            let mut end = self.end.lock();
            if end.shut {
                end.misuse = Some("shut down twice");
            }
            end.shut = true;
        }
        settled.map(Ok)
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn chain(end: &Arc<Mutex<End>>, salt: u8, early: usize) -> ChainStream {
    end.lock().said = early;
    let early: Vec<u8> = (0..early).map(|place| byte_at(salt, place)).collect();
    ChainStream::new(Io::Other(Box::new(Fake {
        end: Arc::clone(end),
        salt,
    })))
    .rewound(early.into())
}

/// Polls only when woken, and unblocks one end at a time when nothing moves any more.
fn run(
    client: &Arc<Mutex<End>>,
    upstream: &Arc<Mutex<End>>,
    early: (usize, usize),
) -> Result<RelayReport, String> {
    let mut relay = Relay::new(chain(client, 1, early.0), chain(upstream, 101, early.1));
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    for _ in 0..100_000 {
        if flag.0.swap(false, Ordering::SeqCst) {
            if let Poll::Ready(report) = Pin::new(&mut relay).poll(&mut Context::from_waker(&waker)) {
                return Ok(report);
            }
            if flag.0.load(Ordering::SeqCst) {
                continue;
            }
            for end in [client, upstream] {
                let end = end.lock();
                let lives = !end.write_failed && !end.read_failed;
                if lives && !end.sitting.is_empty() && end.waiting.is_empty() {
                    return Err("bytes were left unflushed".to_owned());
                }
            }
        }
        let waiting = [client, upstream].iter().find_map(|end| end.lock().waiting.pop());
        waiting.ok_or("nobody will ever wake the relay")?.wake();
    }
    Err("the relay runs for ever".to_owned())
}

fn steps(count: usize, fails: bool) -> impl Strategy<Value = VecDeque<Step>> {
    let kinds = prop_oneof![
        Just(io::ErrorKind::ConnectionReset),
        Just(io::ErrorKind::BrokenPipe)
    ];
    let weight = u32::from(fails);
    let step = prop_oneof![
        6 => (1..300_usize).prop_map(Step::Bytes),
        1 => (100_000..200_000_usize).prop_map(Step::Bytes),
        4 => Just(Step::Block),
        weight => kinds.prop_map(Step::Fail),
    ];
    vec(step, 0..count).prop_map(VecDeque::from)
}

fn end(fails: bool) -> impl Strategy<Value = End> {
    (steps(12, fails), steps(12, fails), any::<bool>()).prop_map(|(reads, writes, lazy)| End {
        reads,
        writes,
        lazy,
        ..End::default()
    })
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reads {:?} writes {:?} lazy {}",
            self.reads, self.writes, self.lazy
        )
    }
}

/// Whether the bytes are the first ones that the other end said.
fn is_prefix(taken: &[u8], salt: u8) -> bool {
    taken
        .iter()
        .enumerate()
        .all(|(place, byte)| *byte == byte_at(salt, place))
}

fn check(client: End, upstream: End, early: (usize, usize)) -> Result<(), TestCaseError> {
    let (client, upstream) = (Arc::new(Mutex::new(client)), Arc::new(Mutex::new(upstream)));
    let report = run(&client, &upstream, early).map_err(TestCaseError::fail)?;
    let (client, upstream) = (client.lock(), upstream.lock());
    prop_assert_eq!(client.misuse.or(upstream.misuse), None);
    prop_assert!(
        is_prefix(&upstream.taken, 1) && is_prefix(&client.taken, 101),
        "bytes arrive in order"
    );
    let took = |end: &End| (end.taken.len() + end.sitting.len()) as u64;
    prop_assert_eq!(
        (report.up, report.down),
        (took(&upstream), took(&client)),
        "counts are what was taken"
    );
    prop_assert_eq!(
        report.error.is_some(),
        matches!(report.ended_by, EndedBy::ClientError | EndedBy::UpstreamError)
    );
    let failed = |end: &End| end.read_failed || end.write_failed;
    match report.ended_by {
        EndedBy::ClientError => prop_assert!(failed(&client)),
        EndedBy::UpstreamError => prop_assert!(failed(&upstream)),
        EndedBy::ClientClosed | EndedBy::UpstreamClosed | EndedBy::BothClosed => {
            prop_assert!(!failed(&client) && !failed(&upstream));
            prop_assert!(client.finished && upstream.finished && client.shut && upstream.shut);
            prop_assert_eq!(
                (report.up, report.down),
                (client.said as u64, upstream.said as u64),
                "all is delivered"
            );
        }
        EndedBy::Idle | EndedBy::Drained => prop_assert!(false, "nothing asked for that"),
    }
    // A failed end cannot be answered, but what was read from it is not lost while the other end takes it.
    if client.read_failed && !upstream.write_failed {
        prop_assert_eq!(report.up, client.said as u64);
    }
    if upstream.read_failed && !client.write_failed {
        prop_assert_eq!(report.down, upstream.said as u64);
    }
    Ok(())
}

proptest! {
    #[test]
    fn streams_that_end_well_lose_nothing(
        client in end(false), upstream in end(false), early in (0..40_usize, 0..40_usize),
    ) {
        check(client, upstream, early)?;
    }

    #[test]
    fn streams_that_fail_anywhere_leave_right_counts(
        client in end(true), upstream in end(true), early in (0..40_usize, 0..40_usize),
    ) {
        check(client, upstream, early)?;
    }
}

#[test]
fn what_was_said_before_the_listener_left_is_delivered() {
    // The upstream answers and stops listening while the client still sends: the answer arrives all the same.
    let client = End {
        reads: [Step::Bytes(10), Step::Block, Step::Bytes(10)].into(),
        ..End::default()
    };
    let upstream = End {
        writes: [Step::Bytes(4), Step::Fail(io::ErrorKind::BrokenPipe)].into(),
        reads: [Step::Bytes(300), Step::Fail(io::ErrorKind::ConnectionReset)].into(),
        ..End::default()
    };
    let (client, upstream) = (Arc::new(Mutex::new(client)), Arc::new(Mutex::new(upstream)));
    let report = run(&client, &upstream, (0, 0)).unwrap();
    assert_eq!(
        (report.up, report.down, report.ended_by),
        (4, 300, EndedBy::UpstreamError)
    );
    assert_eq!(
        report.error.unwrap().kind(),
        io::ErrorKind::BrokenPipe,
        "the first failure is the one reported"
    );
    assert!(client.lock().shut, "and the client is told that this was all");
}

#[test]
fn a_stream_that_takes_nothing_is_an_error() {
    let client = End {
        reads: [Step::Bytes(10)].into(),
        ..End::default()
    };
    let upstream = End {
        writes: [Step::Bytes(0)].into(),
        reads: [Step::Block].into(),
        ..End::default()
    };
    let (client, upstream) = (Arc::new(Mutex::new(client)), Arc::new(Mutex::new(upstream)));
    let report = run(&client, &upstream, (0, 0)).unwrap();
    assert_eq!((report.up, report.ended_by), (0, EndedBy::UpstreamError));
    assert_eq!(report.error.unwrap().kind(), io::ErrorKind::WriteZero);
}

#[test]
fn the_future_is_small() {
    let relay = Relay::new(other(duplex(1).0), other(duplex(1).0));
    assert!(size_of_val(&relay) <= 416, "{}", size_of_val(&relay));
    let registered = TunnelRegistry::new(Duration::from_secs(1));
    assert!(size_of_val(&relay.registered(&registered)) <= 416);
}

async fn is_pending(relay: &mut Relay) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *relay).poll(cx).is_pending())).await
}

fn other(stream: impl ByteStream + 'static) -> ChainStream {
    into_chain(stream)
}

#[tokio::test]
async fn an_idle_tunnel_holds_no_buffer_and_a_stuck_one_only_its_rest() {
    let (mut client, near) = duplex(1 << 20);
    let (far, mut upstream) = duplex(100);
    let mut relay = Relay::new(other(near), other(far));
    client.write_all(&[7; 100]).await.unwrap();
    assert!(is_pending(&mut relay).await);
    assert!(relay.up.holds_nothing() && relay.down.holds_nothing());
    assert_eq!(relay.moved(), (100, 0));
    client.write_all(&[7; 50_000]).await.unwrap();
    assert!(is_pending(&mut relay).await);
    assert!(!relay.up.holds_nothing() && relay.down.holds_nothing());
    let mut taken = vec![0; 50_100];
    tokio::select! {
        _ = &mut relay => unreachable!("both ends are open"),
        read = upstream.read_exact(&mut taken) => assert_eq!(read.unwrap(), 50_100),
    }
    assert!(is_pending(&mut relay).await);
    assert!(relay.up.holds_nothing());
    assert_eq!(relay.moved(), (50_100, 0));
}

#[tokio::test]
async fn a_busy_tunnel_yields() {
    let end = || {
        Arc::new(Mutex::new(End {
            reads: [Step::Bytes(5 << 20)].into(),
            ..End::default()
        }))
    };
    let (client, upstream) = (end(), end());
    let mut relay = Relay::new(chain(&client, 1, 0), chain(&upstream, 101, 0));
    assert!(
        is_pending(&mut relay).await,
        "five mebibytes are more than one turn"
    );
    assert_eq!(
        relay.moved(),
        (BUDGET as u64, BUDGET as u64),
        "both directions had the same"
    );
    let report = relay.await;
    assert_eq!(
        (report.up, report.down, report.ended_by),
        (5 << 20, 5 << 20, EndedBy::BothClosed)
    );
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_tunnel_and_any_byte_keeps_it() {
    let registry = TunnelRegistry::new(Duration::from_secs(4));
    let (mut client, near) = duplex(64);
    let (far, mut upstream) = duplex(64);
    let begun = Instant::now();
    let talk = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            upstream.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = Relay::new(other(near), other(far)).registered(&registry) => report,
        () = registry.run() => unreachable!("a clock does not stop"),
        () = talk => unreachable!("it waits"),
    };
    assert_eq!((report.ended_by, report.up, report.down), (EndedBy::Idle, 0, 10));
    let took = begun.elapsed();
    assert!(
        (34..=35).contains(&took.as_secs()),
        "{took:?}: 30 s of talk, 4 s of silence, two ticks of half a second"
    );
    assert_eq!(registry.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_ends_tunnels_open_and_to_come() {
    let registry = TunnelRegistry::new(Duration::from_secs(300));
    let tunnel = || {
        let (client, near) = duplex(64);
        let (far, upstream) = duplex(64);
        (
            Relay::new(other(near), other(far)).registered(&registry),
            client,
            upstream,
        )
    };
    let (relay, mut client, mut upstream) = tunnel();
    let work = async {
        client.write_all(b"hello").await.unwrap();
        upstream.read_exact(&mut [0; 5]).await.unwrap();
        registry.drain();
        assert_eq!(
            client.read(&mut [0]).await.unwrap(),
            0,
            "the client's stream is closed"
        );
    };
    let (report, ()) = tokio::join!(relay, work);
    assert_eq!((report.ended_by, report.up), (EndedBy::Drained, 5));
    let (late, ..) = tunnel();
    assert_eq!(late.await.ended_by, EndedBy::Drained);
    assert_eq!(registry.open(), 0);
}

#[tokio::test]
async fn early_bytes_come_first_on_both_sides() {
    let (mut client, near) = duplex(64);
    let (far, mut upstream) = duplex(64);
    let near = other(near).rewound(Bytes::from_static(b"early "));
    let far = other(far).rewound(Bytes::from_static(b"banner "));
    let work = async {
        client.write_all(b"late").await.unwrap();
        upstream.write_all(b"text").await.unwrap();
        client.shutdown().await.unwrap();
        upstream.shutdown().await.unwrap();
        let (mut up, mut down) = (String::new(), String::new());
        upstream.read_to_string(&mut up).await.unwrap();
        client.read_to_string(&mut down).await.unwrap();
        (up, down)
    };
    let (report, (up, down)) = tokio::join!(relay(near, far), work);
    assert_eq!((up.as_str(), down.as_str()), ("early late", "banner text"));
    assert_eq!((report.up, report.down), (10, 11));
}
