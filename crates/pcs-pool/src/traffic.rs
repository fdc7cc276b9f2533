//! Counters of what went one way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pcs_models::FailureKind;

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

    pub(crate) fn count_success(&self, latency: std::time::Duration) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_sum_us.fetch_add(micros, Ordering::Relaxed);
        self.latency_count.fetch_add(1, Ordering::Relaxed);
    }

    /// One more request over a stream that was counted already.
    pub(crate) fn count_repeat(&self, success: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let count = if success { &self.succeeded } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self, kind: FailureKind) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(label) = ErrorLabel::of(kind) {
            self.errors[label as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_bytes(&self, up: u64, down: u64) {
        self.up.fetch_add(up, Ordering::Relaxed);
        self.down.fetch_add(down, Ordering::Relaxed);
    }
}

/// Whatever has [`Traffic`].
pub(crate) trait HasTraffic {
    fn traffic(&self) -> &Traffic;
}

impl HasTraffic for Traffic {
    fn traffic(&self) -> &Traffic {
        self
    }
}

/// One stream in use or being dialled; counts itself out when dropped.
#[derive(Debug)]
pub(crate) struct InFlight<T: HasTraffic>(Arc<T>);

impl<T: HasTraffic> InFlight<T> {
    /// Counts one attempt in.
    pub(crate) fn begin(owner: &Arc<T>) -> Self {
        owner.traffic().active.fetch_add(1, Ordering::Relaxed);
        owner.traffic().requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(owner))
    }

    pub(crate) fn owner(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: HasTraffic> Drop for InFlight<T> {
    fn drop(&mut self) {
        let before = self.0.traffic().active.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "{before} streams were in flight before one ended");
    }
}
