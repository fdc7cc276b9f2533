//! Prometheus metrics: recorded by atomics, encoded when somebody asks.

mod histogram;
mod page;
mod process;
mod series;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pcs_pool::{AttemptReport, Pools};

pub use page::Gauges;

use histogram::{Histogram, Window};
use series::SeriesTable;

/// The place of a stretch of the way that a connect time belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HopKind {
    /// The corporate proxy.
    Corporate,
    /// A rotating proxy.
    Rotating,
    /// The target.
    Target,
}

impl HopKind {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Corporate, "corporate"),
        (Self::Rotating, "rotating"),
        (Self::Target, "target"),
    ];
}

/// How a request ended, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEnd<'a> {
    /// A chain was built and the answer came through it.
    Success,
    /// PCS answered with a failure.
    Error,
    /// The client was refused for what it asked.
    Rejected(&'a str),
}

/// Everything that is counted on the request path. Recording takes no lock; a proxy's own series are found in a
/// table that is replaced whole when proxies come.
pub struct Metrics {
    begun: Instant,
    requests: Window,
    durations: Histogram,
    duration_sum_micros: AtomicU64,
    hops: [Histogram; 3],
    series: SeriesTable,
    rejected: series::Labelled,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counters at zero. At most `max_series` proxies have series of their own, the rest share `_other`.
    #[must_use]
    pub fn new(max_series: usize, now: Instant) -> Self {
        Self {
            begun: now,
            requests: Window::default(),
            durations: Histogram::default(),
            duration_sum_micros: AtomicU64::new(0),
            hops: Default::default(),
            series: SeriesTable::new(max_series),
            rejected: series::Labelled::default(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// How many proxies may have series of their own from now on.
    pub fn set_max_series(&self, max_series: usize) {
        self.series.set_max(max_series);
    }

    /// A request ended. `elapsed` is the time until the chain was up or the response head came.
    pub fn request(&self, end: RequestEnd<'_>, proxy: &str, elapsed: Duration, now: Instant) {
        let series = match end {
            RequestEnd::Rejected(reason) => {
                self.rejected.add(reason);
                return;
            }
            RequestEnd::Success | RequestEnd::Error => self.series.get(proxy),
        };
        let (total, own) = if end == RequestEnd::Success {
            (&self.succeeded, &series.succeeded)
        } else {
            (&self.failed, &series.failed)
        };
        // Relaxed, here and below: counters that are read one by one.
        total.fetch_add(1, Relaxed);
        own.fetch_add(1, Relaxed);
        self.durations.record(elapsed);
        self.requests
            .record(elapsed, now.saturating_duration_since(self.begun));
        self.duration_sum_micros
            .fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// A client was refused outside of any request (a limit, an address, another protocol).
    pub fn rejected(&self, reason: &str) {
        self.rejected.add(reason);
    }

    /// An attempt ended: its phase times, by hop and by proxy.
    pub fn attempted(&self, report: &AttemptReport<'_>) {
        let last = report.timings.len().saturating_sub(1);
        for (index, timing) in report.timings.iter().enumerate() {
            let took = timing.dns + timing.tcp + timing.tls + timing.handshake;
            let kind = match timing.hop.as_str() {
                pcs_models::HopName::CORPORATE => HopKind::Corporate,
                pcs_models::HopName::TARGET => HopKind::Target,
                _ => HopKind::Rotating,
            };
            // What failed took no connect time.
            if report.failure.is_none() || index < last {
                self.hops[kind as usize].record(took);
            }
        }
        if let (Some(member), None) = (report.member, report.failure) {
            self.series
                .get(member.id().as_str())
                .connects
                .record(report.elapsed);
        }
    }

    /// Requests so far: those that went well, those that did not.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.succeeded.load(Relaxed), self.failed.load(Relaxed))
    }

    /// Requests a second over the last minute, or since the start where that is shorter.
    #[must_use]
    pub fn rate(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.begun);
        self.requests.rate(age)
    }

    /// How long these counters have been counting.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    /// The whole page: OpenMetrics 1.0 where `open` says so, else text format 0.0.4.
    #[must_use]
    pub fn page(self: &Arc<Self>, pools: &Pools, gauges: Gauges, now: Instant, open: bool) -> String {
        let page = page::encode(Arc::clone(self), pools.clone(), gauges, now);
        if open { page } else { text::to_classic(&page) }
    }
}
