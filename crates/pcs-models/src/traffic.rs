//! Counters of what went one way: plain atomics, written on the request path and read by whoever asks.
//!
//! Whoever makes a stream hands its counters out with it, so that nobody on the request path has to find them by name.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::FailureKind;

/// The kinds of failure told apart per proxy: the closed label set of `proxy_chain_proxy_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorLabel {
    /// Too slow.
    Timeout,
    /// Refused, or no way there.
    Refused,
    /// Broken off.
    Reset,
    /// Wrong or missing credentials.
    Auth,
    /// A status other than success.
    Status,
    /// Not the protocol.
    Protocol,
    /// A name that does not resolve.
    Dns,
    /// No TLS, or an unproven certificate.
    Tls,
}

impl ErrorLabel {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Refused,
        Self::Reset,
        Self::Auth,
        Self::Status,
        Self::Protocol,
        Self::Dns,
        Self::Tls,
    ];

    /// The label of a failure; none for those that are no proxy's.
    #[must_use]
    pub const fn of(kind: FailureKind) -> Option<Self> {
        match kind {
            FailureKind::Timeout => Some(Self::Timeout),
            FailureKind::Refused | FailureKind::Unreachable => Some(Self::Refused),
            FailureKind::Reset => Some(Self::Reset),
            FailureKind::Auth => Some(Self::Auth),
            FailureKind::Status => Some(Self::Status),
            FailureKind::Protocol => Some(Self::Protocol),
            FailureKind::Dns => Some(Self::Dns),
            FailureKind::Tls => Some(Self::Tls),
            _ => None,
        }
    }

    /// The label in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Auth => "auth",
            Self::Status => "status",
            Self::Protocol => "protocol",
            Self::Dns => "dns",
            Self::Tls => "tls",
        }
    }
}

/// What went through one proxy, or one way without one, since the process began.
///
/// Every access is relaxed: each counter is true by itself, sums of them are true at rest.
#[derive(Debug, Default)]
pub struct Traffic {
    active: AtomicU64,
    requests: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    errors: [AtomicU64; ErrorLabel::ALL.len()],
    latency_sum_us: AtomicU64,
    latency_count: AtomicU64,
    served: AtomicU64,
    unserved: AtomicU64,
    /// Made by the first stream: most of many thousand proxies may never see one.
    connects: OnceLock<Box<Durations>>,
}

impl Traffic {
    /// Streams in use or being dialled now.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// Attempts begun.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Attempts that gave a stream (for plain HTTP: an answer worth passing on).
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Attempts that failed, whoever was to blame; those given up by the client are in neither count.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Bytes towards the target.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Bytes towards the client.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Failed attempts of one kind.
    #[must_use]
    pub fn errors(&self, label: ErrorLabel) -> u64 {
        self.errors[label as usize].load(Ordering::Relaxed)
    }

    /// Mean time to a stream or response head in milliseconds; 0 before the first.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a mean for people: 52 bits of microseconds are enough"
    )]
    pub fn mean_latency_ms(&self) -> f64 {
        match self.latency_count.load(Ordering::Relaxed) {
            0 => 0.0,
            count => self.latency_sum_us.load(Ordering::Relaxed) as f64 / count as f64 / 1000.0,
        }
    }

    /// Requests that were served with this as the last way they took.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Requests that came to nothing with this as the last way they took.
    #[must_use]
    pub fn unserved(&self) -> u64 {
        self.unserved.load(Ordering::Relaxed)
    }

    /// How long streams took to be made; none before the first.
    #[must_use]
    pub fn connects(&self) -> Option<&Durations> {
        self.connects.get().map(|durations| &**durations)
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The attempt, or the stream it gave, is over.
    pub fn end(&self) {
        let before = self.active.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "{before} streams were in flight before one ended");
    }

    /// A request is over, well or not.
    pub fn count_end(&self, well: bool) {
        let count = if well { &self.served } else { &self.unserved };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream was made in this time.
    pub fn count_connect(&self, took: Duration) {
        self.connects.get_or_init(Box::default).record(took);
    }

    /// An attempt went well, after this time.
    pub fn count_success(&self, latency: Duration) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_sum_us.fetch_add(micros, Ordering::Relaxed);
        self.latency_count.fetch_add(1, Ordering::Relaxed);
    }

    /// One more request over a stream that was counted already.
    pub fn count_repeat(&self, success: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let count = if success { &self.succeeded } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt failed.
    pub fn count_failure(&self, kind: FailureKind) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(label) = ErrorLabel::of(kind) {
            self.errors[label as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Bytes moved up and down.
    pub fn count_bytes(&self, up: u64, down: u64) {
        self.up.fetch_add(up, Ordering::Relaxed);
        self.down.fetch_add(down, Ordering::Relaxed);
    }
}

/// Upper bounds of the buckets of [`Durations`], in seconds.
pub const DURATION_BOUNDS: [f64; 15] = [
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    f64::INFINITY,
];

/// A histogram of durations with fixed buckets.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; DURATION_BOUNDS.len()],
    sum_micros: AtomicU64,
}

impl Durations {
    /// Counts one in.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = DURATION_BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(DURATION_BOUNDS.len() - 1);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Sum of all in microseconds.
    #[must_use]
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros.load(Ordering::Relaxed)
    }

    /// How many fell into each bucket, not added up.
    #[must_use]
    pub fn buckets(&self) -> [u64; DURATION_BOUNDS.len()] {
        std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_duration_once() {
        let durations = Durations::default();
        for millis in [0, 1, 2, 700, 100_000] {
            durations.record(Duration::from_millis(millis));
        }
        let buckets = durations.buckets();
        assert_eq!(durations.sum_micros(), 100_703_000);
        assert_eq!(buckets.iter().sum::<u64>(), 5);
        assert_eq!((buckets[0], buckets[DURATION_BOUNDS.len() - 1]), (2, 1));
    }

    #[test]
    fn a_way_without_streams_keeps_no_histogram() {
        let traffic = Traffic::default();
        traffic.count_end(false);
        assert!(traffic.connects().is_none());
        traffic.count_connect(Duration::from_millis(3));
        assert_eq!(traffic.connects().map(Durations::sum_micros), Some(3000));
        assert_eq!((traffic.served(), traffic.unserved()), (0, 1));
    }
}
