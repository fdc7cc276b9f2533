//! Prometheus metrics: recorded by atomics, encoded when somebody asks.

mod page;
mod process;
mod series;
mod text;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use pcs_models::{Durations, Traffic};
use pcs_pool::{AttemptReport, Pools};

pub use page::Gauges;

use series::Shares;
use window::Window;

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

/// Everything that is counted on the request path and is not one proxy's own. Recording takes no lock and looks nothing
/// up: a proxy's own counters come with the request.
pub struct Metrics {
    begun: Instant,
    /// The same for others, by the clock on the wall.
    started: Option<SystemTime>,
    requests: Window,
    durations: Durations,
    hops: [Durations; 3],
    shares: Shares,
    /// Requests that went no way at all.
    none: Traffic,
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
            started: None,
            requests: Window::default(),
            durations: Durations::default(),
            hops: Default::default(),
            shares: Shares::new(max_series),
            none: Traffic::default(),
            rejected: series::Labelled::default(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// When the process began, by the clock on the wall.
    #[must_use]
    pub fn begun_at(mut self, wall: SystemTime) -> Self {
        self.started = Some(wall);
        self
    }

    /// How many proxies may have series of their own from now on.
    pub fn set_max_series(&self, max_series: usize) {
        self.shares.set_max(max_series);
    }

    /// A request ended. `traffic` are the counters of the last way it took, if it took one; `elapsed` is the time until
    /// the chain was up or the response head came.
    pub fn request(&self, end: RequestEnd<'_>, traffic: Option<&Traffic>, elapsed: Duration, now: Instant) {
        let well = match end {
            RequestEnd::Rejected(reason) => {
                self.rejected.add(reason);
                return;
            }
            RequestEnd::Success => true,
            RequestEnd::Error => false,
        };
        let total = if well { &self.succeeded } else { &self.failed };
        // Relaxed, here and below: counters that are read one by one.
        total.fetch_add(1, Relaxed);
        traffic.unwrap_or(&self.none).count_end(well);
        self.durations.record(elapsed);
        self.requests
            .record(elapsed, now.saturating_duration_since(self.begun));
    }

    /// These are the reasons there are for [`Metrics::rejected`]: each is shown from now on, at zero until it happens.
    /// `rate` and `increase` do not see the first step of a series that begins with it.
    pub fn reject_for<'a>(&self, reasons: impl IntoIterator<Item = &'a str>) {
        reasons.into_iter().for_each(|reason| self.rejected.show(reason));
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
            member.traffic().count_connect(report.elapsed);
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
