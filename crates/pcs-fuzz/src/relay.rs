//! The relay between streams that do what the input says: bytes arrive in order, counts are right, nothing hangs.

mod end;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use pcs_tunnel::{ChainStream, EndedBy, Io, Relay, RelayReport};

use self::end::{End, Fake};
use crate::dice::Choices;
use crate::pattern;

/// What the client says, and what the upstream says: neither says the same.
const SALTS: [u8; 2] = [1, 101];

pub(crate) fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let early = [choices.byte() % 64, choices.byte() % 64].map(usize::from);
    let lazy = choices.byte();
    let mut ends = [End::new(lazy & 1 != 0), End::new(lazy & 2 != 0)];
    End::script(&mut ends, &mut choices);
    let ends = ends.map(|end| Arc::new(Mutex::new(end)));
    let report = relay(&ends, early);
    let [client, upstream] = &ends;
    check(&report, &client.lock(), &upstream.lock());
}

fn chain(end: &Arc<Mutex<End>>, salt: u8, early: usize) -> ChainStream {
    end.lock().said = early;
    let early = pattern::said(salt, 0, early);
    ChainStream::new(Io::Other(Box::new(Fake::new(Arc::clone(end), salt)))).rewound(early.into())
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls only when woken, and unblocks one end at a time when nothing moves any more.
fn relay(ends: &[Arc<Mutex<End>>; 2], early: [usize; 2]) -> RelayReport {
    let [client, upstream] = ends;
    let [up, down] = SALTS;
    let [early_up, early_down] = early;
    let mut relay = Relay::new(chain(client, up, early_up), chain(upstream, down, early_down));
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut polls = 0;
    loop {
        if flag.0.swap(false, Ordering::SeqCst) {
            polls += 1;
            assert!(polls < 100_000, "the relay runs for ever");
            if let Poll::Ready(report) = Pin::new(&mut relay).poll(&mut Context::from_waker(&waker)) {
                return report;
            }
            if flag.0.load(Ordering::SeqCst) {
                continue;
            }
            assert!(
                ends.iter().all(|end| end.lock().is_flushed()),
                "bytes were left unflushed"
            );
        }
        let waiting = ends.iter().find_map(|end| end.lock().waiting.pop());
        waiting.expect("somebody wakes the relay").wake();
    }
}

fn check(report: &RelayReport, client: &End, upstream: &End) {
    assert_eq!(client.misuse.or(upstream.misuse), None);
    let [up, down] = SALTS;
    assert!(
        upstream.took_in_order(up) && client.took_in_order(down),
        "bytes arrive in order"
    );
    assert_eq!(
        (report.up, report.down),
        (upstream.took(), client.took()),
        "counts are what was taken"
    );
    assert_eq!(
        report.error.is_some(),
        matches!(report.ended_by, EndedBy::ClientError | EndedBy::UpstreamError)
    );
    match report.ended_by {
        EndedBy::ClientError => assert!(client.failed()),
        EndedBy::UpstreamError => assert!(upstream.failed()),
        EndedBy::ClientClosed | EndedBy::UpstreamClosed | EndedBy::BothClosed => {
            assert!(!client.failed() && !upstream.failed());
            assert!(client.is_over() && upstream.is_over());
            assert_eq!(
                (report.up, report.down),
                (client.said as u64, upstream.said as u64),
                "all is delivered"
            );
        }
        EndedBy::Idle | EndedBy::Drained => {
            assert_eq!(report.ended_by, EndedBy::BothClosed, "nothing asked for that");
        }
    }
    // A failed end cannot be answered, but what was read from it is not lost while the other end takes it.
    if client.read_failed && !upstream.write_failed {
        assert_eq!(report.up, client.said as u64);
    }
    if upstream.read_failed && !client.write_failed {
        assert_eq!(report.down, upstream.said as u64);
    }
}
