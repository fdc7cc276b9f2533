//! One pool: its snapshot, and what moves between rebuilds of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_health::breaker::{Outcome, Transition};
use pcs_models::{PoolName, ProxyId, Target};
use rand::Rng;
use tokio::time::Instant;

use crate::budget::RetryBudget;
use crate::dead::DeadTargets;
use crate::leave::Leave;
use crate::member::Member;
use crate::outage::Outage;
use crate::snapshot::{Snapshot, Tier, Wish};
use crate::suspicion::Doubt;
use crate::trail::Unheard;
use crate::{BreakerSettings, Events, Health};

/// Between two warnings about one exhausted pool.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Behind a corporate proxy: the time unconfirmed failures have to be spread over to count. Its death is known
/// sooner than this.
const SETTLE_BEHIND_CORPORATE: Duration = Duration::from_millis(500);

/// A pool by its name: lives as long as the process, however often its snapshot is replaced.
pub(crate) struct Pool {
    name: PoolName,
    snapshot: ArcSwap<Snapshot>,
    /// Orders flips of single bits against replacements of the whole snapshot. Never taken to pick.
    flips: Mutex<()>,
    /// Whether health is left out of selection.
    lifted: AtomicBool,
    /// Members whose breaker rests, the first to end its rest on top.
    resting: Mutex<BinaryHeap<Reverse<(Instant, ProxyId)>>>,
    /// When the first of them ends its rest, in nanoseconds since `epoch`; `u64::MAX` = none rests.
    next_wake: AtomicU64,
    pub(crate) budget: RetryBudget,
    pub(crate) dead: DeadTargets,
    /// When the last warning about exhaustion was given, in nanoseconds since `epoch`, plus one; 0 = never.
    warned: AtomicU64,
    epoch: Instant,
    events: Arc<dyn Events>,
    outage: Arc<Outage>,
}

/// A member that finishes no chain for this many times its usual latency has stalled.
const STALL_FACTOR: u32 = 16;
/// No member stalls in less.
const STALL_FLOOR: Duration = Duration::from_millis(250);

/// How many others are looked at before one member is told apart from them.
const ASKED_OTHERS: usize = 64;

/// Picks that are refused by a breaker or for crowding before a tier counts as empty.
const MAX_REFUSALS: usize = 8;

/// A member picked for one attempt.
pub(crate) struct Picked {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) at: usize,
    pub(crate) leave: Leave,
}

/// Whether a member has as many chains under way as open its breaker, and either just failed or has finished none
/// for much longer than usual: thirty requests in flight must not all hit a member that died a moment ago.
fn is_crowded(member: &Member, breaker: &BreakerSettings, now: Instant) -> bool {
    let dialing = member.dialing();
    if !breaker.enabled || dialing == 0 {
        return false;
    }
    let streak = member.breaker().consecutive_failures();
    if streak > 0 && streak.saturating_add(dialing) >= breaker.failure_threshold {
        return true;
    }
    let usual = Duration::from_micros(u64::from(member.latency_us()));
    dialing >= breaker.failure_threshold && member.stalled(now) > (usual * STALL_FACTOR).max(STALL_FLOOR)
}

impl Pool {
    pub(crate) fn new(name: PoolName, epoch: Instant, events: Arc<dyn Events>, outage: Arc<Outage>) -> Self {
        Self {
            name,
            snapshot: ArcSwap::from_pointee(Snapshot::empty()),
            flips: Mutex::new(()),
            lifted: AtomicBool::new(false),
            resting: Mutex::new(BinaryHeap::new()),
            next_wake: AtomicU64::new(u64::MAX),
            budget: RetryBudget::new(),
            dead: DeadTargets::default(),
            warned: AtomicU64::new(0),
            epoch,
            events,
            outage,
        }
    }

    pub(crate) fn name(&self) -> &PoolName {
        &self.name
    }

    /// The snapshot, for one attempt or one look.
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Puts another snapshot in place. Flips wait for the moment in which its bits are read from the members.
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        let now = Instant::now();
        let _flips = self.flips.lock();
        snapshot.refresh_all(self.health_counts(), now);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Lets health count for selection, or not (when nobody checks any more). Says whether that is a change.
    pub(crate) fn lift_health(&self, lifted: bool) -> bool {
        let now = Instant::now();
        let _flips = self.flips.lock();
        let changed = self.lifted.swap(lifted, Ordering::Relaxed) != lifted;
        if changed {
            self.snapshot.load().refresh_all(!lifted, now);
        }
        changed
    }

    /// Reads one member's state anew: constant time, however large the pool.
    pub(crate) fn refresh(&self, member: &Member, now: Instant) {
        let _flips = self.flips.lock();
        let snapshot = self.snapshot.load();
        if let Some(at) = snapshot.position(member) {
            snapshot.refresh(at, self.health_counts(), now);
        }
    }

    fn health_counts(&self) -> bool {
        !self.lifted.load(Ordering::Relaxed)
    }

    /// Time since the pools began, the clock of budgets.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// Picks a member of this tier that is not in `tried`, and takes its breaker's permit.
    pub(crate) fn pick(
        self: &Arc<Self>,
        tier: Tier,
        wish: &Wish<'_>,
        tried: &[Arc<Member>],
        rng: &mut impl Rng,
    ) -> Option<Picked> {
        self.wake(wish.now);
        let snapshot = self.snapshot.load();
        let mut excluded: Vec<usize> = tried
            .iter()
            .filter_map(|member| snapshot.position(member))
            .collect();
        for _ in 0..MAX_REFUSALS {
            let at = snapshot.select(tier, wish, &excluded, rng)?;
            let member = &snapshot.entry(at)?.member;
            let crowded = tier == Tier::Calm && is_crowded(member, snapshot.breaker(), wish.now);
            let leave = match tier {
                Tier::Any => Some(Leave::force(self, member)),
                // Between the look and the permit somebody else may have taken the last trial.
                Tier::Calm | Tier::Fit if !crowded => Leave::admit(self, member, wish.now),
                Tier::Calm | Tier::Fit => None,
            };
            if let Some(leave) = leave {
                return Some(Picked {
                    snapshot: Arc::clone(&snapshot),
                    at,
                    leave,
                });
            }
            excluded.push(at);
        }
        None
    }

    /// The member a session is pinned to, if it is one of this pool's, fit, and not tried yet.
    pub(crate) fn pick_pinned(
        self: &Arc<Self>,
        id: &ProxyId,
        tried: &[Arc<Member>],
        now: Instant,
    ) -> Option<Picked> {
        let snapshot = self.snapshot.load();
        let at = snapshot.find(id).filter(|at| snapshot.is_open(*at))?;
        let member = &snapshot.entry(at)?.member;
        if tried.iter().any(|tried| Arc::ptr_eq(tried, member)) {
            return None;
        }
        let leave = Leave::admit(self, member, now)?;
        Some(Picked {
            snapshot: Arc::clone(&snapshot),
            at,
            leave,
        })
    }

    /// One certain member once more, if it may be used at all.
    pub(crate) fn pick_again(self: &Arc<Self>, id: &ProxyId, now: Instant) -> Option<Picked> {
        let snapshot = self.snapshot.load();
        let at = snapshot.find(id).filter(|at| snapshot.is_enabled(*at))?;
        let member = &snapshot.entry(at)?.member;
        let leave = Leave::admit(self, member, now).unwrap_or_else(|| Leave::force(self, member));
        Some(Picked {
            snapshot: Arc::clone(&snapshot),
            at,
            leave,
        })
    }

    /// Says, now and then, that members are used that should not be.
    pub(crate) fn warn_exhausted(&self, now: Instant) {
        let stamp = nanos(self.age(now)).saturating_add(1);
        let last = self.warned.load(Ordering::Relaxed);
        if last != 0 && stamp - last.min(stamp) < nanos(WARNING_INTERVAL) {
            return;
        }
        if self
            .warned
            .compare_exchange(last, stamp, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            tracing::warn!(pool = %self.name, "No usable proxy left, trying unhealthy ones");
        }
    }

    /// A member did what it is there for.
    pub(crate) fn succeeded(mut leave: Leave, latency: Duration, now: Instant) {
        let member = leave.member();
        member.doubts.clear();
        member.note_success(latency, now);
        leave.record(Outcome::Success, now);
    }

    /// The state of the corporate proxy.
    pub(crate) fn outage(&self) -> &Outage {
        &self.outage
    }

    /// Lays a number of failures at a member's door, unless the corporate proxy is down: then nothing that
    /// happens says anything about members.
    pub(crate) fn charge(mut leave: Leave, failures: u32, now: Instant) {
        let (pool, member) = (Arc::clone(leave.pool()), Arc::clone(leave.member()));
        if pool.outage.is_on() {
            return;
        }
        // More failures than open the breaker mean no more than those.
        let threshold = pool.snapshot().breaker().failure_threshold.max(1);
        for number in 0..failures.min(threshold) {
            member.note_charge();
            if number > 0 {
                leave = Leave::force(&pool, &member);
            }
            leave.record(Outcome::Failure, now);
        }
        pool.events.charged(&member);
    }

    /// An attempt failed and no other member was there to say whose fault it was.
    pub(crate) fn doubt(leave: Leave, target: &Target, unheard: Unheard, now: Instant) {
        let pool = leave.pool();
        let doubt = leave
            .member()
            .doubts
            .note(target, now, pool.settle(), pool.outage.count());
        match doubt {
            Doubt::Open => {}
            // Others could be asked, if not by this request: that most fare alike is their answer.
            _ if unheard != Unheard::Nobody && pool.others_are_doubted(leave.member()) => {}
            Doubt::Settled(failures) => Self::charge(leave, failures, now),
            Doubt::Again(_) => Self::charge(leave, 1, now),
        }
    }

    /// A tunnel stood, and broke before a byte came down. The breaker took its standing for a success, so all
    /// failures of the row count again.
    pub(crate) fn lied(self: &Arc<Self>, member: &Arc<Member>, target: &Target, now: Instant) {
        match member.lies.note(target, now, self.settle(), self.outage.count()) {
            Doubt::Open => {}
            Doubt::Settled(failures) | Doubt::Again(failures) => {
                Self::charge(Leave::force(self, member), failures, now);
            }
        }
    }

    /// Notes what health checks found. A member that they bring back need not sit out its breaker's rest as well:
    /// its next request is a trial.
    pub(crate) fn set_health(&self, member: &Arc<Member>, health: Health) {
        let recovers = member.health() == Health::Unhealthy && health == Health::Healthy;
        if member.set_health(health) {
            let now = Instant::now();
            if recovers {
                member.breaker().end_rest(now.into_std());
            }
            self.refresh(member, now);
            if health != Health::Unknown {
                self.events
                    .health_changed(&self.name, member.id(), health == Health::Healthy);
            }
        }
    }

    /// Whether at least half of the other members have unconfirmed failures of their own and no success since.
    fn others_are_doubted(&self, member: &Member) -> bool {
        self.others_mostly(member, |other| other.doubts.is_any())
    }

    /// Whether at least half of the other members have had chains under way for this long and heard of none.
    pub(crate) fn others_stall(&self, member: &Member, long: Duration, now: Instant) -> bool {
        self.others_mostly(member, |other| other.dialing() > 0 && other.stalled(now) >= long)
    }

    fn others_mostly(&self, member: &Member, holds: impl Fn(&Member) -> bool) -> bool {
        let snapshot = self.snapshot.load();
        let others = snapshot.open_entries().map(|entry| &entry.member);
        let others = others
            .filter(|other| other.serial() != member.serial())
            .take(ASKED_OTHERS);
        let (held, count) = others.fold((0, 0), |(held, count), other| {
            (held + usize::from(holds(other)), count + 1)
        });
        count > 0 && held * 2 >= count
    }

    fn settle(&self) -> Duration {
        if self.outage.applies() {
            SETTLE_BEHIND_CORPORATE
        } else {
            Duration::ZERO
        }
    }

    /// A breaker moved: the bit of its member follows, and the world is told.
    pub(crate) fn moved(&self, member: &Member, moved: Transition, now: Instant) {
        if let Some(wakes_at) = member.breaker().retry_at() {
            let mut resting = self.resting.lock();
            resting.push(Reverse((wakes_at.into(), member.id().clone())));
            self.note_next_wake(&resting);
        }
        self.refresh(member, now);
        let (from, to) = (moved.from.as_str(), moved.to.as_str());
        tracing::info!(pool = %self.name, proxy.id = %member.id(), from, to, "Circuit changed");
        self.events
            .circuit_changed(&self.name, member.id(), moved.from, moved.to);
    }

    /// Lets members be picked again whose rest is over: one load where nobody's is.
    fn wake(&self, now: Instant) {
        let now_nanos = nanos(self.age(now));
        if self.next_wake.load(Ordering::Relaxed) > now_nanos {
            return;
        }
        let mut due = Vec::new();
        {
            let mut resting = self.resting.lock();
            while resting
                .peek()
                .is_some_and(|Reverse((wakes_at, _))| *wakes_at <= now)
            {
                due.extend(resting.pop().map(|Reverse((_, id))| id));
            }
            self.note_next_wake(&resting);
        }
        let _flips = self.flips.lock();
        let snapshot = self.snapshot.load();
        for id in due {
            if let Some(at) = snapshot.find(&id) {
                snapshot.refresh(at, self.health_counts(), now);
            }
        }
    }

    fn note_next_wake(&self, resting: &BinaryHeap<Reverse<(Instant, ProxyId)>>) {
        let next = resting
            .peek()
            .map_or(u64::MAX, |Reverse((wakes_at, _))| nanos(self.age(*wakes_at)));
        self.next_wake.store(next, Ordering::Relaxed);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
