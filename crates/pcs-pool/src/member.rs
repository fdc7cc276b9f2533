//! One rotating proxy and everything that is remembered of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pcs_health::breaker::Breaker;
use pcs_health::ewma::{Latency, PeakLatency, Success};
use pcs_models::{PoolName, ProxyId, Traffic};
use tokio::time::Instant;

use crate::hearsay::Accused;
use crate::in_flight::HasTraffic;
use crate::suspicion::Suspicion;
use crate::{Circuit, Health, MemberSpec};

/// What a health check came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckRecord {
    /// When the last one ended.
    pub at: Option<Instant>,
    /// How long it took, if it went well.
    pub latency: Option<Duration>,
    /// Why it failed, if it did. No secret.
    pub error: Option<Arc<str>>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Successes in a row.
    pub consecutive_successes: u32,
}

/// One rotating proxy: identity, counters and state. Survives reloads as long as its identity does.
#[derive(Debug)]
pub struct Member {
    id: ProxyId,
    pool: PoolName,
    serial: u64,
    enabled: AtomicBool,
    weight: AtomicU16,
    health: AtomicU8,
    epoch: Instant,
    /// Chains being built through it.
    dialing: AtomicU32,
    /// When one of them last came to a word, or the first was begun, in microseconds since `epoch`.
    progress: AtomicU64,
    latency: Latency,
    peak: PeakLatency,
    success: Success,
    /// Failures laid at its door.
    charged: AtomicU64,
    breaker: Breaker,
    /// Unconfirmed failures to build a chain.
    pub(crate) doubts: Suspicion,
    /// Tunnels that stood and died before a byte came down.
    pub(crate) lies: Suspicion,
    /// Whether the corporate proxy told against it among others.
    pub(crate) accused: Accused,
    traffic: Arc<Traffic>,
    tags: Mutex<Arc<BTreeMap<String, String>>>,
    check: Mutex<CheckRecord>,
    failed_checks: AtomicU64,
}

impl Member {
    pub(crate) fn new(pool: PoolName, spec: &MemberSpec, serial: u64, now: Instant) -> Self {
        Self {
            id: spec.id.clone(),
            pool,
            serial,
            enabled: AtomicBool::new(spec.enabled),
            weight: AtomicU16::new(spec.weight),
            health: AtomicU8::new(0),
            epoch: now,
            dialing: AtomicU32::new(0),
            progress: AtomicU64::new(0),
            latency: Latency::default(),
            peak: PeakLatency::new(now.into_std()),
            success: Success::default(),
            charged: AtomicU64::new(0),
            breaker: Breaker::new(now.into_std()),
            doubts: Suspicion::default(),
            lies: Suspicion::default(),
            accused: Accused::default(),
            traffic: Arc::default(),
            tags: Mutex::new(Arc::new(spec.tags.clone())),
            check: Mutex::new(CheckRecord::default()),
            failed_checks: AtomicU64::new(0),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ProxyId {
        &self.id
    }

    /// The pool it belongs to.
    #[must_use]
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// A number that no other member of this process has or had: a key for per-member state of others, such as
    /// metric handles.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether it may be used at all.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Its share of traffic under the weighted strategies.
    #[must_use]
    pub fn weight(&self) -> u16 {
        self.weight.load(Ordering::Relaxed)
    }

    /// What health checks last found.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Unknown,
            1 => Health::Healthy,
            _ => Health::Unhealthy,
        }
    }

    /// The last health check.
    #[must_use]
    pub fn last_check(&self) -> CheckRecord {
        self.check.lock().clone()
    }

    /// The state of its circuit breaker.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        self.breaker.state()
    }

    /// Its counters.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The same, to hand out.
    pub(crate) fn counters(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Whatever its owner wants to remember.
    #[must_use]
    pub fn tags(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.tags.lock())
    }

    /// Moving average of the time to a stream; none before the first.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.latency.get()
    }

    /// Share of attempts that went well, from 0 to 1; 1 before the first.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio for people and weights: 52 bits are enough"
    )]
    pub fn success_rate(&self) -> f64 {
        let (well, badly) = (self.traffic.succeeded(), self.traffic.failed());
        if well + badly == 0 {
            1.0
        } else {
            well as f64 / (well + badly) as f64
        }
    }

    /// Failures that proved to be its own, or that it was held to.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.charged.load(Ordering::Relaxed)
    }

    /// Takes over what may change without becoming another member.
    pub(crate) fn update(&self, spec: &MemberSpec) {
        self.enabled.store(spec.enabled, Ordering::Relaxed);
        self.weight.store(spec.weight, Ordering::Relaxed);
        let mut tags = self.tags.lock();
        if **tags != spec.tags {
            *tags = Arc::new(spec.tags.clone());
        }
    }

    /// Notes what a health check found; says whether it changed anything for selection.
    pub(crate) fn set_health(&self, health: Health) -> bool {
        let number = match health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
        };
        self.health.swap(number, Ordering::Relaxed) != number
    }

    /// Health checks that failed since it was added.
    #[must_use]
    pub fn failed_checks(&self) -> u64 {
        self.failed_checks.load(Ordering::Relaxed)
    }

    pub(crate) fn note_check(&self, record: CheckRecord) {
        if record.error.is_some() {
            self.failed_checks.fetch_add(1, Ordering::Relaxed);
        }
        *self.check.lock() = record;
    }

    pub(crate) fn dialing(&self) -> u32 {
        self.dialing.load(Ordering::Relaxed)
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// How long it has been building chains without finishing any.
    pub(crate) fn stalled(&self, now: Instant) -> Duration {
        let since = Duration::from_micros(self.progress.load(Ordering::Relaxed));
        now.saturating_duration_since(self.epoch).saturating_sub(since)
    }

    fn note_progress(&self, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_micros();
        self.progress
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Moving average of the time to a stream in microseconds; 0 while unknown.
    pub(crate) fn latency_us(&self) -> u32 {
        self.latency.micros()
    }

    /// The same, but believing peaks at once and forgetting them with time.
    pub(crate) fn peak_latency_us(&self, now: Instant) -> u32 {
        self.peak.micros(now.into_std())
    }

    /// Moving average of its success ratio, 0 to 1000.
    pub(crate) fn success_permille(&self) -> u16 {
        self.success.permille()
    }

    pub(crate) fn note_success(&self, latency: Duration, now: Instant) {
        self.latency.observe(latency);
        self.peak.observe(latency, now.into_std());
        self.success.observe(true);
        self.traffic.count_success(latency);
    }

    pub(crate) fn note_charge(&self) {
        self.charged.fetch_add(1, Ordering::Relaxed);
        self.success.observe(false);
    }
}

impl HasTraffic for Member {
    fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

/// A chain being built through a member; counts itself out when dropped.
#[derive(Debug)]
pub(crate) struct Dialing(Arc<Member>);

impl Dialing {
    pub(crate) fn begin(member: &Arc<Member>, now: Instant) -> Self {
        if member.dialing.fetch_add(1, Ordering::Relaxed) == 0 {
            member.note_progress(now);
        }
        Self(Arc::clone(member))
    }

    /// Somebody on the way said how the dial went.
    pub(crate) fn finish(self, now: Instant) {
        self.0.note_progress(now);
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.0.dialing.fetch_sub(1, Ordering::Relaxed);
    }
}
