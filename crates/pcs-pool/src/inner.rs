//! What all handles to the pools share, and the rules that need all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_models::{FailureKind, ProxyId, SessionId, Target, Traffic};
use pcs_tunnel::{Dial, DialError};
use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::Events;
use crate::blame::{Charge, Judgement, is_silence, judge};
use crate::changes::Changes;
use crate::hearsay::Hearsay;
use crate::lane::Lane;
use crate::member::Member;
use crate::outage::Outage;
use crate::pool::Pool;
use crate::registry::Registry;
use crate::trail::{Trail, Unheard};
use crate::warm::Warmth;

/// How long a chain of fallback pools is followed; settings with a circle are refused beforehand.
pub(crate) const MAX_FALLBACKS: usize = 16;

/// Pauses grow from here where the first retry is not to wait at all.
const SECOND_PAUSE: Duration = Duration::from_millis(25);

/// An attempt that took this long met silence.
const SLOW: Duration = Duration::from_secs(1);

/// What a failed attempt brings forward for another one.
pub(crate) struct Plea {
    pub(crate) charge: Charge,
    pub(crate) kind: FailureKind,
    pub(crate) began: Instant,
    pub(crate) deadline: Instant,
}

/// The shared part of [`crate::Pools`].
pub(crate) struct Inner {
    pub(crate) registry: ArcSwap<Registry>,
    /// Serialises changes; never taken by requests.
    pub(crate) changes: Mutex<Changes>,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) outage: Arc<Outage>,
    pub(crate) hearsay: Hearsay,
    pub(crate) epoch: Instant,
    pub(crate) direct_traffic: Arc<Traffic>,
    pub(crate) corporate_traffic: Arc<Traffic>,
    pub(crate) retries: RetryCounters,
    pub(crate) departed: Departed,
    pub(crate) warmth: Arc<Warmth>,
}

impl Inner {
    /// Reads a failed attempt, and notes an outage of the corporate proxy or its end.
    pub(crate) fn judge(&self, error: &DialError) -> Judgement {
        let judgement = judge(
            error,
            self.outage.applies(),
            &self.registry.load().retry.retry_on_status,
        );
        if judgement.outage {
            if self.outage.begin() {
                tracing::warn!(%error, "Corporate proxy is down, no rotating proxy is charged meanwhile");
            }
            self.hearsay.forget();
        } else if matches!(judgement.charge, Charge::Hearsay | Charge::Doubtful) && !is_silence(error) {
            self.corporate_answered(Instant::now());
        }
        judgement
    }

    /// Does something with every lane there is.
    pub(crate) fn each_lane(&self, act: impl Fn(&Lane)) {
        let registry = self.registry.load_full();
        act(&registry.direct.lane);
        registry.corporate.iter().for_each(|way| act(&way.lane));
        for pool in registry.pools.values() {
            pool.snapshot()
                .entries()
                .iter()
                .for_each(|entry| act(&entry.lane));
        }
    }

    /// The corporate proxy did its part of an attempt.
    pub(crate) fn corporate_answered(&self, now: Instant) {
        if self.outage.hear(now) {
            tracing::info!("Corporate proxy is back");
        }
    }

    /// A chain to `member`, `begun` then and built from the ground up, stands.
    pub(crate) fn corporate_proven(&self, member: &Member, begun: Instant) {
        if self.outage.applies() {
            self.hearsay.refute(member, begun, &self.outage);
        }
    }

    /// A request failed for good. Says whether two members agreed that its target is at fault.
    pub(crate) fn give_up(&self, trail: &mut Trail, target: &Target, unheard: Unheard, now: Instant) -> bool {
        if unheard == Unheard::Nobody
            && let Some(member) = trail.accused()
        {
            self.hearsay.believe(member, now);
        }
        trail.give_up(target, unheard, now)
    }

    /// A request of a session got through `member`, which was picked for `asked` from `found`: the session is
    /// pinned to it, unless it has a member already that is fit and answered whatever it was asked for.
    pub(crate) fn settle_session(
        &self,
        (session, member): (&SessionId, &ProxyId),
        (asked, found): (&Arc<Pool>, &Arc<Pool>),
        trail: &Trail,
        now: Instant,
    ) {
        let stays = |pinned: &ProxyId| !trail.leaves(pinned) && self.is_fit(asked, pinned);
        asked.snapshot().sticky().settle(session, member, now, stays);
        if !Arc::ptr_eq(asked, found) {
            found.snapshot().sticky().settle(session, member, now, stays);
        }
    }

    /// Whether a member of this pool or of those it falls back on may be picked.
    fn is_fit(&self, pool: &Arc<Pool>, id: &ProxyId) -> bool {
        let registry = self.registry.load();
        let line = std::iter::successors(Some(pool), |pool| registry.fallback(pool)).take(MAX_FALLBACKS);
        line.map(|pool| pool.snapshot())
            .any(|snapshot| snapshot.find(id).is_some_and(|at| snapshot.is_open(at)))
    }

    /// Why no other member was heard about a failure that is given up. `repeatable` says whether the failure itself
    /// allowed another attempt.
    pub(crate) fn unheard(&self, pool: &Arc<Pool>, repeatable: bool) -> Unheard {
        let registry = self.registry.load();
        let retry = &registry.retry;
        let budget = retry.budget_percent > 0 || retry.budget_min_per_second > 0;
        let fallback = || {
            registry
                .fallback(pool)
                .map_or(0, |pool| pool.snapshot().company())
        };
        let alone = || pool.snapshot().company() + fallback() < 2;
        if !retry.enabled || retry.max_retries == 0 || !budget || alone() {
            Unheard::Nobody
        } else if repeatable {
            Unheard::Refused
        } else {
            Unheard::Unrepeatable
        }
    }

    /// Grants another attempt, and says how long to wait before it; `None` where retries, time or budget are used
    /// up. A first retry is free while this member stands out: the failure is its own, or the corporate proxy speaks of
    /// it alone, or it keeps silent where others answer.
    pub(crate) fn grant(
        &self,
        pool: &Pool,
        trail: &mut Trail,
        plea: &Plea,
        now: Instant,
    ) -> Option<Duration> {
        let registry = self.registry.load();
        let retry = &registry.retry;
        if !retry.enabled || trail.retries >= retry.max_retries {
            return None;
        }
        let pause = pause(
            trail.retries,
            retry.backoff_initial,
            retry.backoff_max,
            &mut rng(),
        );
        if now + pause >= plea.deadline {
            return None;
        }
        let stands_out = || match plea.charge {
            Charge::Proven | Charge::Excused => true,
            Charge::Hearsay => !self.hearsay.is_of_several(),
            Charge::Doubtful => {
                let slow = now.saturating_duration_since(plea.began) >= SLOW;
                slow && trail
                    .tried
                    .last()
                    .is_some_and(|member| !pool.others_stall(member, SLOW, now))
            }
        };
        let free = trail.retries == 0 && stands_out();
        let (percent, floor) = (retry.budget_percent, retry.budget_min_per_second);
        if !free && !pool.budget.withdraw(pool.age(now), percent, floor) {
            return None;
        }
        trail.retries += 1;
        self.retries.count(plea.kind);
        self.events.retried(plea.kind);
        Some(pause)
    }
}

/// The wait before retry number `retries` (from 0): the first waits `initial`, later ones twice as long each, up
/// to `max`; of each pause the second half is random, so that those who failed together do not return together.
fn pause(retries: u32, initial: Duration, max: Duration, rng: &mut impl Rng) -> Duration {
    let full = match retries {
        0 => initial,
        later => initial.max(SECOND_PAUSE).saturating_mul(1 << (later - 1).min(16)),
    };
    full.min(max).mul_f64(rng.random_range(0.5..=1.0))
}

/// The source of randomness at the edge: picks, jitter, made-up sessions.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: everything below takes it as an argument"
)]
pub(crate) fn rng() -> rand::rngs::ThreadRng {
    rand::rng()
}

/// What went through members that are gone: sums must not fall when one leaves.
#[derive(Debug, Default)]
pub(crate) struct Departed(Mutex<Left>);

#[derive(Debug, Default)]
struct Left {
    up: u64,
    down: u64,
    /// Those that somebody still holds: their open streams count when they end. Bounded by the open streams.
    held: Vec<Arc<Member>>,
}

impl Departed {
    /// Takes over the counts of a member that leaves, and of what its open streams still move.
    pub(crate) fn take(&self, member: &Arc<Member>) {
        let mut left = self.0.lock();
        left.held.push(Arc::clone(member));
        left.settle();
    }

    /// Bytes up and down.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let mut left = self.0.lock();
        left.settle();
        let held = || left.held.iter().map(|member| member.traffic());
        (
            left.up + held().map(Traffic::bytes_up).sum::<u64>(),
            left.down + held().map(Traffic::bytes_down).sum::<u64>(),
        )
    }
}

impl Left {
    /// Lets those go that nobody can count anything for any more.
    fn settle(&mut self) {
        let (up, down) = (&mut self.up, &mut self.down);
        self.held.retain(|member| {
            let held = Arc::strong_count(member) > 1;
            if !held {
                *up += member.traffic().bytes_up();
                *down += member.traffic().bytes_down();
            }
            held
        });
    }
}

/// Retries by the kind of the failure before them.
#[derive(Debug, Default)]
pub(crate) struct RetryCounters([AtomicU64; RETRY_REASONS.len()]);

/// The failures that retries follow.
pub(crate) const RETRY_REASONS: [FailureKind; 9] = [
    FailureKind::Timeout,
    FailureKind::Refused,
    FailureKind::Unreachable,
    FailureKind::Reset,
    FailureKind::Auth,
    FailureKind::Status,
    FailureKind::Protocol,
    FailureKind::Dns,
    FailureKind::Tls,
];

impl RetryCounters {
    fn count(&self, kind: FailureKind) {
        if let Some(at) = RETRY_REASONS.iter().position(|reason| *reason == kind) {
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> impl Iterator<Item = (FailureKind, u64)> {
        RETRY_REASONS
            .into_iter()
            .zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn pauses_double_up_to_their_bound_and_are_jittered() {
        let mut rng = SmallRng::seed_from_u64(7);
        let ms = Duration::from_millis;
        let cases = [
            (0, ms(0), ms(1000), ms(0)),
            (1, ms(0), ms(1000), ms(25)),
            (2, ms(0), ms(1000), ms(50)),
            (0, ms(100), ms(1000), ms(100)),
            (3, ms(100), ms(1000), ms(400)),
            (9, ms(100), ms(1000), ms(1000)),
            (40, ms(100), ms(1000), ms(1000)),
            (2, ms(100), ms(0), ms(0)),
        ];
        for (retries, initial, max, full) in cases {
            for _ in 0..50 {
                let got = pause(retries, initial, max, &mut rng);
                assert!(got <= full && got >= full / 2, "{retries}: {got:?} of {full:?}");
            }
        }
    }
}
