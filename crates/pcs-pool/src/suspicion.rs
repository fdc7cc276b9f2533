//! Failures that nobody could confirm: held against a member only once they cannot be the targets' fault.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pcs_models::Target;
use tokio::time::Instant;

/// Distinct targets that have to fail through a member, with no success between, until it is charged.
const DISTINCT_TARGETS: usize = 3;

/// The unconfirmed failures of one member since its last success.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// Whether there is anything to clear; read on every success, so that successes take no lock.
    any: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Hashes of the first distinct targets: names of targets are not kept.
    targets: [Option<u64>; DISTINCT_TARGETS],
    failures: u32,
    since: Option<Instant>,
    /// Whether the failures were laid at the member's door already.
    settled: bool,
    /// The count of corporate outages when the first failure came.
    outage: u64,
}

/// What became of an unconfirmed failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It may still be the target's fault.
    Open,
    /// Just now too many targets agree: this many failures, the earlier ones included, are the member's.
    Settled(u32),
    /// They agreed before: this is one more, of this many.
    Again(u32),
}

impl Suspicion {
    /// Notes a failure. Where the member stands behind a corporate proxy, `settle` is the time that has to lie
    /// between the first and the last of the failures: the death of the corporate proxy breaks many tunnels of
    /// many targets in one moment, before anybody knows why. `outage` counts the outages known so far; failures
    /// from before an outage are forgotten.
    pub(crate) fn note(&self, target: &Target, now: Instant, settle: Duration, outage: u64) -> Doubt {
        let mut hasher = DefaultHasher::new();
        target.hash(&mut hasher);
        let target = hasher.finish();
        let mut held = self.held.lock();
        if held.outage != outage {
            *held = Held::default();
        }
        held.outage = outage;
        let since = *held.since.get_or_insert(now);
        held.failures = held.failures.saturating_add(1);
        if !held.targets.contains(&Some(target))
            && let Some(free) = held.targets.iter_mut().find(|slot| slot.is_none())
        {
            *free = Some(target);
        }
        self.any.store(true, Ordering::Relaxed);
        if held.settled {
            return Doubt::Again(held.failures);
        }
        let agreed = held.targets.iter().all(Option::is_some);
        held.settled = agreed && now.saturating_duration_since(since) >= settle;
        if held.settled {
            Doubt::Settled(held.failures)
        } else {
            Doubt::Open
        }
    }

    /// Whether anything is held against the member.
    pub(crate) fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Forgets everything: the member did well.
    pub(crate) fn clear(&self) {
        // Relaxed: a failure noted at the same moment may be cleared or not, either order is true.
        if self.any.load(Ordering::Relaxed) {
            let mut held = self.held.lock();
            *held = Held::default();
            self.any.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        format!("t:{port}").parse().unwrap()
    }

    fn note(suspicion: &Suspicion, port: u16) -> Doubt {
        suspicion.note(&target(port), Instant::now(), Duration::ZERO, 0)
    }

    #[test]
    fn three_distinct_targets_settle_it_and_the_earlier_failures_count() {
        let suspicion = Suspicion::default();
        assert_eq!(note(&suspicion, 1), Doubt::Open);
        assert_eq!(note(&suspicion, 2), Doubt::Open);
        assert_eq!(note(&suspicion, 2), Doubt::Open);
        assert_eq!(note(&suspicion, 3), Doubt::Settled(4));
        assert_eq!(note(&suspicion, 3), Doubt::Again(5));
    }

    #[test]
    fn one_dead_target_never_settles_it() {
        let suspicion = Suspicion::default();
        for _ in 0..1000 {
            assert_eq!(note(&suspicion, 1), Doubt::Open);
            assert_eq!(note(&suspicion, 2), Doubt::Open);
        }
    }

    #[test]
    fn a_success_between_forgets() {
        let suspicion = Suspicion::default();
        note(&suspicion, 1);
        note(&suspicion, 2);
        suspicion.clear();
        assert_eq!(note(&suspicion, 3), Doubt::Open);
    }

    #[test]
    fn a_burst_settles_nothing_behind_a_corporate_proxy() {
        let suspicion = Suspicion::default();
        let (start, settle) = (Instant::now(), Duration::from_millis(500));
        for port in 1..10 {
            assert_eq!(suspicion.note(&target(port), start, settle, 0), Doubt::Open);
        }
        assert_eq!(
            suspicion.note(&target(1), start + settle, settle, 0),
            Doubt::Settled(10)
        );
    }

    #[test]
    fn an_outage_forgets_what_came_before() {
        let suspicion = Suspicion::default();
        note(&suspicion, 1);
        note(&suspicion, 2);
        assert_eq!(
            suspicion.note(&target(3), Instant::now(), Duration::ZERO, 1),
            Doubt::Open
        );
    }
}
