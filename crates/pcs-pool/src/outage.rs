//! Whether the corporate proxy is down: while it is, nothing that fails says anything about members.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

/// The state of the corporate proxy as traffic sees it, one for all pools.
///
/// Relaxed throughout: a charge that slips through in the instant of the change is one of the few that a
/// breaker forgives.
#[derive(Debug)]
pub(crate) struct Outage {
    epoch: Instant,
    applies: AtomicBool,
    on: AtomicBool,
    count: AtomicU64,
    /// The millisecond after `epoch` in which it last said anything; 0 is never.
    heard: AtomicU64,
    /// The same for the last answer that ended an outage.
    ended: AtomicU64,
}

impl Outage {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            applies: AtomicBool::new(false),
            on: AtomicBool::new(false),
            count: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Whether there is a corporate proxy that could be down.
    pub(crate) fn applies(&self) -> bool {
        self.applies.load(Ordering::Relaxed)
    }

    /// Another corporate proxy, or none, is in place from now on.
    pub(crate) fn reset(&self, applies: bool) {
        self.applies.store(applies, Ordering::Relaxed);
        self.end();
    }

    /// The corporate proxy itself failed. Says whether that is news.
    pub(crate) fn begin(&self) -> bool {
        let news = self.applies() && !self.on.swap(true, Ordering::Relaxed);
        if news {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        news
    }

    /// The corporate proxy answered. Says whether that is news.
    pub(crate) fn hear(&self, now: Instant) -> bool {
        let now = self.millis(now);
        // One store a millisecond, however many chains are built.
        if self.heard.load(Ordering::Relaxed) != now {
            self.heard.store(now, Ordering::Relaxed);
        }
        if self.is_on() {
            self.ended.store(now, Ordering::Relaxed);
        }
        self.end()
    }

    /// Whether it was down at any time since then: what began there and met silence says nothing about members.
    pub(crate) fn covers(&self, since: Instant) -> bool {
        self.is_on() || self.ended.load(Ordering::Relaxed) >= self.millis(since)
    }

    /// Whether it said anything to anybody since then.
    pub(crate) fn heard_since(&self, since: Instant) -> bool {
        self.heard.load(Ordering::Relaxed) >= self.millis(since)
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn end(&self) -> bool {
        self.on.load(Ordering::Relaxed) && self.on.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// How many outages there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
