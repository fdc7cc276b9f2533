//! Chains built beforehand, up to and including the member.
//!
//! The hops before a target do not depend on the target, so they can stand before it is known: a request then
//! costs one round trip. How many are kept follows the traffic of each member ([`WarmConnections::Auto`]) or is
//! told ([`WarmConnections::Fixed`]); all together never exceed `warm_max`. They are built by [`Pools::keep_warm`],
//! which every worker of the data path runs for itself, since a socket is cheapest where it was opened.
//!
//! A warm chain that died meanwhile is never an attempt: the request falls through to a fresh dial.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;
use pcs_tunnel::WarmStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::idle::is_quiet;
use crate::inner::Inner;
use crate::lane::Lane;
use crate::{Pools, TunnelSettings, WarmConnections};

/// How often stocks are looked at when no request asks for it.
const TICK: Duration = Duration::from_millis(100);
/// Over this time the measured rate of arrivals forgets.
const MEMORY: Duration = Duration::from_secs(3);
/// Below this many arrivals a second nothing is kept.
const IDLE_RATE: f64 = 0.2;
/// Longest life of a warm chain: hops give up on silent clients after a minute or so, some much sooner.
const MAX_AGE: Duration = Duration::from_secs(20);
/// Longest time to build one.
const BUILD_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after a failed build, doubled with each further one up to [`MAX_HOLD_OFF`].
const HOLD_OFF: Duration = Duration::from_millis(500);
const MAX_HOLD_OFF: Duration = Duration::from_secs(30);

/// What all warm chains share.
#[derive(Debug, Default)]
pub(crate) struct Warmth {
    /// Chains that stand or are being built.
    total: AtomicUsize,
    /// Lanes with traffic of late.
    hot: Mutex<Vec<Arc<Lane>>>,
    wanted: Notify,
    keepers: AtomicUsize,
    used: AtomicU64,
    stale: AtomicU64,
}

impl Warmth {
    /// Chains that stand or are being built.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Requests served by a warm chain so far, and warm chains that turned out dead when they were needed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.used.load(Ordering::Relaxed),
            self.stale.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn count_use(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }

    fn reserve(self: &Arc<Self>, max: usize) -> Option<Place> {
        let more = |total: usize| (total < max).then_some(total + 1);
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Place(Arc::clone(self)))
    }
}

/// One of the `warm_max` places; free again when dropped.
#[derive(Debug)]
struct Place(Arc<Warmth>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The warm chains of one lane.
#[derive(Debug, Default)]
pub(crate) struct WarmChains {
    arrivals: AtomicU64,
    /// Whether the lane is in [`Warmth::hot`].
    listed: AtomicBool,
    stock: Mutex<Stock>,
}

#[derive(Debug, Default)]
struct Stock {
    ready: Vec<Ready>,
    building: usize,
    demand: Demand,
    /// Builds that failed in a row, and until when none is begun.
    failures: u32,
    hold_off: Option<Instant>,
}

#[derive(Debug)]
struct Ready {
    stream: WarmStream,
    since: Instant,
    home: ThreadId,
    _place: Place,
}

/// How many requests come, and how long a chain takes to build.
#[derive(Debug, Default)]
struct Demand {
    /// Arrivals a second.
    rate: f64,
    seen: u64,
    measured_at: Option<Instant>,
    /// Seconds to build one chain.
    build: f64,
}

impl Demand {
    /// Folds in the arrivals since the last look. A rising rate is believed at once, a falling one slowly.
    #[expect(clippy::cast_precision_loss, reason = "a rate: 52 bits are enough")]
    fn measure(&mut self, arrivals: u64, now: Instant) {
        let Some(before) = self.measured_at else {
            (self.seen, self.measured_at) = (arrivals, Some(now));
            // As if it had been a second: one request alone calls for little.
            self.rate = arrivals as f64;
            return;
        };
        let passed = now.saturating_duration_since(before);
        if passed < TICK {
            return;
        }
        let current = (arrivals - self.seen) as f64 / passed.as_secs_f64();
        let weight = if current > self.rate {
            0.5
        } else {
            1.0 - (-passed.div_duration_f64(MEMORY)).exp()
        };
        self.rate += (current - self.rate) * weight;
        (self.seen, self.measured_at) = (arrivals, Some(now));
    }

    /// Chains that have to stand or be under way so that requests find one: those asked for while one is built
    /// (by Little's law), twice the standard deviation of that, and one.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and positive"
    )]
    fn need(&self) -> usize {
        if self.rate < IDLE_RATE {
            return 0;
        }
        let under_way = self.rate * (self.build + 0.01);
        (under_way + 2.0 * under_way.sqrt() + 1.0).ceil().min(1e6) as usize
    }
}

impl WarmChains {
    /// A warm chain, if one stands; asks for more to be built either way.
    pub(crate) fn take(lane: &Arc<Lane>, warmth: &Warmth, now: Instant) -> Option<WarmStream> {
        let own = &lane.warm;
        own.arrivals.fetch_add(1, Ordering::Relaxed);
        if !own.listed.swap(true, Ordering::Relaxed) {
            warmth.hot.lock().push(Arc::clone(lane));
        }
        let home = std::thread::current().id();
        let taken = loop {
            let ready = {
                let mut stock = own.stock.lock();
                // The oldest: what a hop still does behind its accept goes on while a chain waits, and none of them
                // grows too old to be used.
                let at = stock.ready.iter().position(|ready| ready.home == home);
                let at = at.or_else(|| (!stock.ready.is_empty()).then_some(0));
                at.map(|at| stock.ready.remove(at))
            };
            let Some(mut ready) = ready else { break None };
            if is_alive(&mut ready, now) {
                break Some(ready.stream);
            }
            warmth.count_stale();
        };
        warmth.wanted.notify_waiters();
        taken
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        let dropped = std::mem::take(&mut self.stock.lock().ready);
        drop(dropped);
    }

    /// Chains that stand.
    pub(crate) fn len(&self) -> usize {
        self.stock.lock().ready.len()
    }

    /// Drops what grew old or ended by itself.
    fn sweep(&self, now: Instant) {
        let mut dropped = Vec::new();
        dropped.extend(
            self.stock
                .lock()
                .ready
                .extract_if(.., |ready| !is_alive(ready, now)),
        );
        drop(dropped);
    }

    fn measure(&self, now: Instant) {
        self.stock
            .lock()
            .demand
            .measure(self.arrivals.load(Ordering::Relaxed), now);
    }

    /// Whether another one should be built for this home, out of `share` homes; begins it where so.
    fn begin_build(&self, fixed: Option<usize>, home: ThreadId, share: usize, now: Instant) -> bool {
        let mut stock = self.stock.lock();
        let need = fixed.unwrap_or_else(|| stock.demand.need());
        let here = stock.ready.iter().filter(|ready| ready.home == home).count();
        let short = stock.ready.len() + stock.building < need && here < need.div_ceil(share);
        let held_off = stock.hold_off.is_some_and(|until| now < until);
        if short && !held_off {
            stock.building += 1;
        }
        short && !held_off
    }

    fn end_build(&self, result: Option<Result<(WarmStream, Place), ()>>, took: Duration, now: Instant) {
        let mut stock = self.stock.lock();
        stock.building = stock.building.saturating_sub(1);
        match result {
            Some(Ok((stream, place))) => {
                (stock.failures, stock.hold_off) = (0, None);
                let took = took.as_secs_f64();
                let build = &mut stock.demand.build;
                *build = if *build > 0.0 {
                    *build + (took - *build) / 8.0
                } else {
                    took
                };
                let home = std::thread::current().id();
                stock.ready.push(Ready {
                    stream,
                    since: now,
                    home,
                    _place: place,
                });
            }
            None => {}
            Some(Err(())) => {
                let pause = HOLD_OFF
                    .saturating_mul(1 << stock.failures.min(6))
                    .min(MAX_HOLD_OFF);
                stock.failures = stock.failures.saturating_add(1);
                stock.hold_off = Some(now + pause);
            }
        }
    }

    /// Whether nothing is left to do for it until the next request.
    fn is_cold(&self) -> bool {
        let stock = self.stock.lock();
        let unasked = stock.demand.measured_at.is_some() && stock.demand.rate < IDLE_RATE;
        unasked && stock.ready.is_empty() && stock.building == 0
    }
}

fn is_alive(ready: &mut Ready, now: Instant) -> bool {
    now.saturating_duration_since(ready.since) < MAX_AGE && is_quiet(ready.stream.stream())
}

/// Counts a build as ended however it ends.
struct Build {
    lane: Arc<Lane>,
    began: Instant,
    /// `None` when it was given up.
    result: Option<Result<(WarmStream, Place), ()>>,
}

impl Drop for Build {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.began);
        self.lane.warm.end_build(self.result.take(), took, now);
        if self.lane.is_closed() {
            self.lane.warm.clear();
        }
    }
}

/// One of those that run [`Pools::keep_warm`].
struct Keeper<'a>(&'a Warmth);

impl<'a> Keeper<'a> {
    fn new(warmth: &'a Warmth) -> Self {
        warmth.keepers.fetch_add(1, Ordering::Relaxed);
        Self(warmth)
    }
}

impl Drop for Keeper<'_> {
    fn drop(&mut self) {
        self.0.keepers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pools {
    /// Keeps chains warm for the thread it runs on. Never ends; each worker of the data path should run it once.
    /// Does nothing while warm chains are switched off, and takes other settings in without being told.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time: chains that are being built are given up, those that stand stay for the others.
    pub async fn keep_warm(&self) {
        let warmth = &self.inner.warmth;
        let keeper = Keeper::new(warmth);
        let mut builds = JoinSet::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Registered before the look, so that no wish that comes meanwhile is missed.
            let wanted = warmth.wanted.notified();
            let settings = self.inner.registry.load().tunnel;
            self.inner.fill(&settings, &mut builds);
            tokio::select! {
                _ = ticks.tick() => {}
                () = wanted => {}
                Some(_) = builds.join_next() => {}
            }
            while builds.try_join_next().is_some() {}
            let _ = &keeper;
        }
    }
}

impl Inner {
    fn fill(self: &Arc<Self>, settings: &TunnelSettings, builds: &mut JoinSet<()>) {
        let now = Instant::now();
        let home = std::thread::current().id();
        let share = self.warmth.keepers.load(Ordering::Relaxed).max(1);
        let (lanes, fixed) = match settings.warm {
            WarmConnections::Off => return self.cool(),
            WarmConnections::Auto => (self.hot_lanes(), None),
            WarmConnections::Fixed(count) => (self.usable_lanes(settings.warm_max), Some(count)),
        };
        for lane in lanes {
            lane.warm.sweep(now);
            lane.warm.measure(now);
            loop {
                let Some(place) = self.warmth.reserve(settings.warm_max) else {
                    return;
                };
                if lane.is_closed() || !lane.warm.begin_build(fixed, home, share, now) {
                    break;
                }
                builds.spawn(build(Arc::clone(self), Arc::clone(&lane), place, now));
            }
        }
    }

    /// Lanes with traffic of late; those without any more are struck off.
    fn hot_lanes(&self) -> Vec<Arc<Lane>> {
        let mut hot = self.warmth.hot.lock();
        hot.retain(|lane| {
            let keep = !lane.is_closed() && !(lane.warm.is_cold());
            if !keep {
                lane.warm.listed.store(false, Ordering::Relaxed);
            }
            keep
        });
        // Who comes first is served first where places are scarce: everybody in turn.
        if !hot.is_empty() {
            hot.rotate_left(1);
        }
        hot.clone()
    }

    /// Lanes of members that may be picked, as many as there can be warm chains.
    fn usable_lanes(&self, max: usize) -> Vec<Arc<Lane>> {
        let registry = self.registry.load_full();
        let mut lanes = Vec::new();
        for pool in registry.pools.values() {
            let snapshot = pool.snapshot();
            lanes.extend(
                snapshot
                    .open_entries()
                    .take(max)
                    .map(|entry| Arc::clone(&entry.lane)),
            );
        }
        lanes.truncate(max);
        lanes
    }

    /// Closes all warm chains: they are switched off.
    fn cool(&self) {
        if self.warmth.total() > 0 {
            self.each_lane(|lane| lane.warm.clear());
        }
    }
}

async fn build(inner: Arc<Inner>, lane: Arc<Lane>, place: Place, began: Instant) {
    let mut build = Build {
        lane: Arc::clone(&lane),
        began,
        result: None,
    };
    let warm = inner.dial.warm(&lane.chain, began + BUILD_TIMEOUT).await;
    if let (Ok(_), Some(member)) = (&warm, lane.member()) {
        inner.corporate_proven(member, began);
    }
    build.result = Some(warm.map(|stream| (stream, place)).map_err(drop));
}
