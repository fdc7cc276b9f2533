//! The retry budget: so much extra load a failing pool may cause, and no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Seconds over which load is counted.
const WINDOW: u64 = 10;
/// One slot more than the window, so that the second being filled never overwrites one still counted.
const SLOTS: usize = 11;

/// Retries per pool: at most a share of the requests of the last ten seconds, with a floor for quiet times.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    requests: Ring,
    retries: Mutex<[(u64, u32); SLOTS]>,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self {
            requests: Ring::default(),
            retries: Mutex::new([(0, 0); SLOTS]),
        }
    }

    /// Counts one request of a client. `now` is the time since any fixed point.
    pub(crate) fn requested(&self, now: Duration) {
        self.requests.add(second(now));
    }

    /// Takes one retry out of the budget, if there is one left.
    pub(crate) fn withdraw(&self, now: Duration, percent: u32, min_per_second: u32) -> bool {
        let second = second(now);
        let share = self.requests.sum(second).saturating_mul(u64::from(percent)) / 100;
        let allowed = share.max(u64::from(min_per_second) * WINDOW);
        // Failures are the rare path: a short lock keeps the count exact under any number of clients.
        let mut retries = self.retries.lock();
        let spent: u64 = retries
            .iter()
            .filter(|slot| counts(slot.0, second))
            .map(|slot| u64::from(slot.1))
            .sum();
        if spent >= allowed {
            return false;
        }
        let slot = &mut retries[index(second)];
        if slot.0 == second {
            slot.1 = slot.1.saturating_add(1);
        } else {
            *slot = (second, 1);
        }
        true
    }
}

/// Seconds count from 1, so that an empty slot (0) is never mistaken for one.
fn second(now: Duration) -> u64 {
    now.as_secs() + 1
}

fn counts(stamp: u64, second: u64) -> bool {
    stamp != 0 && stamp <= second && stamp + WINDOW > second
}

fn index(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).unwrap_or_default()
}

/// One counter a second, each packed with the second it is for: (second << 32) | count.
#[derive(Debug, Default)]
struct Ring([AtomicU64; SLOTS]);

impl Ring {
    fn add(&self, second: u64) {
        let slot = &self.0[index(second)];
        let stamp = second << 32;
        // Relaxed: the counts guide a rate, nothing is published through them.
        let fresh = |current: u64| {
            if current >> 32 == second & 0xffff_ffff {
                // 2^32 requests a second cannot happen; the check keeps an overflow out of the stamp all the same.
                if current & 0xffff_ffff == 0xffff_ffff {
                    current
                } else {
                    current + 1
                }
            } else {
                stamp | 1
            }
        };
        let mut current = slot.load(Ordering::Relaxed);
        while let Err(seen) =
            slot.compare_exchange_weak(current, fresh(current), Ordering::Relaxed, Ordering::Relaxed)
        {
            current = seen;
        }
    }

    fn sum(&self, second: u64) -> u64 {
        let read = |slot: &AtomicU64| slot.load(Ordering::Relaxed);
        let current = self
            .0
            .iter()
            .map(read)
            .filter(|packed| counts(packed >> 32, second & 0xffff_ffff));
        current.map(|packed| packed & 0xffff_ffff).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PERCENT: u32 = 20;

    fn granted(budget: &RetryBudget, at: Duration, asked: u32, floor: u32) -> u32 {
        (0..asked)
            .map(|_| u32::from(budget.withdraw(at, PERCENT, floor)))
            .sum()
    }

    #[test]
    fn a_quiet_pool_has_its_floor_over_the_window() {
        let budget = RetryBudget::new();
        assert_eq!(granted(&budget, Duration::from_secs(5), 1000, 3), 30);
        assert_eq!(granted(&budget, Duration::from_secs(14), 1000, 3), 0);
        assert_eq!(
            granted(&budget, Duration::from_secs(15), 1000, 3),
            30,
            "the window has passed"
        );
    }

    #[test]
    fn a_busy_pool_has_its_share_of_requests() {
        let budget = RetryBudget::new();
        for _ in 0..1000 {
            budget.requested(Duration::from_secs(100));
        }
        assert_eq!(granted(&budget, Duration::from_secs(101), 1000, 3), 200);
        assert_eq!(
            granted(&budget, Duration::from_secs(111), 1000, 0),
            0,
            "old requests earn nothing"
        );
    }

    proptest! {
        #[test]
        fn no_grant_exceeds_what_its_window_allows(
            steps in proptest::collection::vec((0u64..1500, 0u32..20, 0u32..20), 1..60),
            floor in 0u32..4,
        ) {
            let budget = RetryBudget::new();
            let mut now = Duration::ZERO;
            let mut log: Vec<(u64, u32, u32)> = Vec::new();
            for (pause, requests, retries) in steps {
                now += Duration::from_millis(pause);
                for _ in 0..requests {
                    budget.requested(now);
                }
                let got = granted(&budget, now, retries, floor);
                log.push((now.as_secs(), requests, got));
                let window = log.iter().filter(|entry| entry.0 + WINDOW > now.as_secs());
                let (asked, given) = window.fold((0, 0), |sum, entry| (sum.0 + entry.1, sum.1 + entry.2));
                // What was granted stays granted when the requests that earned it grow old.
                let allowed = (asked * PERCENT / 100).max(floor * 10);
                prop_assert!(got == 0 || given <= allowed, "{given} retries for {asked}");
            }
        }
    }
}
