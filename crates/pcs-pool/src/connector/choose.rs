//! Whom the next attempt goes through.

use std::sync::Arc;

use pcs_tunnel::{ConnectRequest, Via};
use rand::Rng;
use tokio::time::Instant;

use crate::WhenExhausted;
use crate::inner::{Inner, MAX_FALLBACKS, rng};
use crate::lane::Lane;
use crate::leave::Leave;
use crate::member::Member;
use crate::pool::{Picked, Pool};
use crate::registry::Registry;
use crate::snapshot::{Entry, Snapshot, Tier, Wish};
use crate::trail::Trail;

/// A member picked for one attempt, and where it was found.
pub(super) struct Chosen {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) at: usize,
    pub(super) leave: Leave,
    /// When the attempt began.
    pub(super) began: Instant,
    /// When it has to end: half of what is left while another member could be tried after it.
    pub(super) deadline: Instant,
    /// Kept streams are not used: the one before was stale.
    pub(super) fresh: bool,
}

impl Chosen {
    fn entry(&self) -> &Entry {
        self.snapshot
            .entry(self.at)
            .expect("the index was picked from this snapshot")
    }

    pub(super) fn member(&self) -> &Arc<Member> {
        &self.entry().member
    }

    pub(super) fn via(&self) -> Via {
        Via::Proxy {
            pool: self.leave.pool().name().clone(),
            id: self.member().id().clone(),
        }
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.entry().lane
    }
}

impl Inner {
    /// Picks the member of the next attempt.
    ///
    /// Members not tried yet come first: fit ones, then those of the fallback pools, then, where that is allowed,
    /// the unfit ones. Only then may a member have another go.
    pub(super) fn choose(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        request: &ConnectRequest,
        trail: &mut Trail,
        fresh: bool,
    ) -> Option<Chosen> {
        let now = Instant::now();
        let registry = self.registry.load();
        let wish = Wish {
            target: &request.target,
            session: request.session.as_ref(),
            now,
        };
        let mut rng = rng();
        let again = trail
            .again
            .take()
            .and_then(|id| line(&registry, pool).find_map(|pool| pool.pick_again(&id, now)));
        let strayed = || {
            // No fail-back within a session's time: a fallback pool keeps it although this one has recovered.
            let pinned = pool.snapshot().strayed(&wish)?;
            line(&registry, pool)
                .skip(1)
                .find_map(|pool| pool.pick_pinned(&pinned, &trail.tried, now))
        };
        let picked = again
            .or_else(strayed)
            .or_else(|| search(&registry, pool, &wish, &trail.tried, &mut rng))?;
        let pool = picked.leave.pool();
        let others = picked.snapshot.others(&trail.tried, picked.at)
            || registry
                .fallback(pool)
                .is_some_and(|fallback| fallback.snapshot().open() > 0);
        let retries_left = registry.retry.enabled && trail.retries < registry.retry.max_retries;
        let left = request.deadline.saturating_duration_since(now);
        let deadline = if others && retries_left {
            now + left / 2
        } else {
            request.deadline
        };
        let Picked { snapshot, at, leave } = picked;
        Some(Chosen {
            snapshot,
            at,
            leave,
            began: now,
            deadline,
            fresh,
        })
    }
}

/// A pool and those it falls back on.
fn line<'a>(registry: &'a Registry, pool: &Arc<Pool>) -> impl Iterator<Item = Arc<Pool>> + 'a {
    std::iter::successors(Some(Arc::clone(pool)), |pool| registry.fallback(pool).cloned()).take(MAX_FALLBACKS)
}

fn search(
    registry: &Registry,
    pool: &Arc<Pool>,
    wish: &Wish<'_>,
    tried: &[Arc<Member>],
    rng: &mut impl Rng,
) -> Option<Picked> {
    let mut by_tier = |tier: Tier, tried: &[Arc<Member>]| {
        line(registry, pool).find_map(|pool| {
            if tier == Tier::Any && pool.snapshot().shape().when_exhausted == WhenExhausted::Fail {
                return None;
            }
            let picked = match tier {
                Tier::Calm => pool
                    .pick(tier, wish, tried, rng)
                    .or_else(|| pool.pick(Tier::Fit, wish, tried, rng)),
                Tier::Fit | Tier::Any => pool.pick(tier, wish, tried, rng),
            }?;
            if tier == Tier::Any && tried.is_empty() {
                pool.warn_exhausted(wish.now);
            }
            Some(picked)
        })
    };
    let untried = by_tier(Tier::Calm, tried).or_else(|| by_tier(Tier::Any, tried));
    if untried.is_some() || tried.is_empty() {
        return untried;
    }
    // Everybody had a go: again, but not the one that failed a moment ago while there is another.
    let last = tried.last().map(std::slice::from_ref).unwrap_or_default();
    by_tier(Tier::Fit, last)
        .or_else(|| by_tier(Tier::Any, last))
        .or_else(|| by_tier(Tier::Fit, &[]))
        .or_else(|| by_tier(Tier::Any, &[]))
}
