//! Whether the corporate proxy is down: while it is, nothing that fails says anything about members.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The state of the corporate proxy as traffic sees it, one for all pools.
///
/// Relaxed throughout: a charge that slips through in the instant of the change is one of the few that a
/// breaker forgives.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    applies: AtomicBool,
    on: AtomicBool,
    count: AtomicU64,
}

impl Outage {
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
    pub(crate) fn end(&self) -> bool {
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
