//! One coarse clock for all tunnels: idle time and drain without a timer per tunnel.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// The tunnels of a process (or of a worker), and what ends them from outside: idleness and drain.
///
/// Somebody has to own a task that runs [`TunnelRegistry::run`]; without it no tunnel is ever idle. A tunnel with
/// traffic stores the number of the current tick, once a poll; nobody reads a clock for it.
pub struct TunnelRegistry {
    shards: [Mutex<Shard>; SHARDS],
    tick: AtomicU32,
    idle_millis: AtomicU64,
    draining: AtomicBool,
    spliced: AtomicU64,
    engaged: AtomicU64,
}

#[derive(Default)]
struct Shard {
    entries: Vec<Option<Arc<Entry>>>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Entry {
    /// The tick of the last byte.
    last_active: AtomicU32,
    expired: AtomicBool,
    waker: AtomicWaker,
}

/// What the registry wants of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    GoOn,
    EndIfIdle,
    End,
}

impl TunnelRegistry {
    /// A registry whose tunnels end after `idle` without a byte either way (late by up to two ticks).
    ///
    /// A tick is an eighth of `idle`, at least 50 ms and at most 1 s.
    #[must_use]
    pub fn new(idle: Duration) -> Arc<Self> {
        let registry = Self {
            shards: Default::default(),
            tick: AtomicU32::new(0),
            idle_millis: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            spliced: AtomicU64::new(0),
            engaged: AtomicU64::new(0),
        };
        registry.set_idle(idle);
        Arc::new(registry)
    }

    /// Changes the idle time, for open tunnels too, from the next tick on.
    pub fn set_idle(&self, idle: Duration) {
        self.idle_millis.store(
            u64::try_from(idle.as_millis()).unwrap_or(u64::MAX).max(1),
            Relaxed,
        );
    }

    /// Advances the clock and ends idle tunnels, for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the clock; running it again goes on.
    pub async fn run(&self) {
        loop {
            let (tick, limit) = self.pace();
            tokio::time::sleep(tick).await;
            self.sweep(limit);
            super::pipe::trim();
        }
    }

    /// Ends every tunnel, and each that comes later, with [`EndedBy::Drained`](super::EndedBy::Drained).
    pub fn drain(&self) {
        // Relaxed: whoever registers afterwards takes the shard's lock after us and sees it; whoever was there is
        // woken below.
        self.draining.store(true, Relaxed);
        for shard in &self.shards {
            let entries: Vec<_> = shard.lock().entries.iter().flatten().cloned().collect();
            entries.iter().for_each(|entry| entry.waker.wake());
        }
    }

    /// Tunnels that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock())
            .map(|shard| shard.entries.len() - shard.free.len())
            .sum()
    }

    /// Bytes that were moved without copying so far (Linux only).
    #[must_use]
    pub fn spliced_bytes(&self) -> u64 {
        self.spliced.load(Relaxed)
    }

    /// How often a direction of a tunnel went over from copying to splicing so far (Linux only).
    #[must_use]
    pub fn splice_engagements(&self) -> u64 {
        self.engaged.load(Relaxed)
    }

    /// The length of a tick, and how many of them make a tunnel idle.
    fn pace(&self) -> (Duration, u32) {
        let idle = Duration::from_millis(self.idle_millis.load(Relaxed));
        let tick = (idle / 8).clamp(MIN_TICK, MAX_TICK);
        let limit = idle.as_millis().div_ceil(tick.as_millis());
        (tick, u32::try_from(limit).unwrap_or(u32::MAX))
    }

    fn sweep(&self, limit: u32) {
        let now = self.tick.fetch_add(1, Relaxed).wrapping_add(1);
        let mut expired = Vec::new();
        for shard in &self.shards {
            // A byte in tick t came up to one tick after t began, so `limit` whole ticks have passed after t + limit.
            let is_idle = |entry: &&Arc<Entry>| now.wrapping_sub(entry.last_active.load(Relaxed)) > limit;
            expired.extend(shard.lock().entries.iter().flatten().filter(is_idle).cloned());
            // Woken outside the lock: a waker may drop a tunnel, which takes the lock.
            for entry in expired.drain(..) {
                entry.expired.store(true, Relaxed);
                entry.waker.wake();
            }
        }
    }

    pub(super) fn register(self: &Arc<Self>) -> Registration {
        let entry = Arc::new(Entry {
            last_active: AtomicU32::new(self.tick.load(Relaxed)),
            ..Entry::default()
        });
        let shard = HOME.with(|home| *home);
        let mut table = self.shard(shard).lock();
        let slot = if let Some(slot) = table.free.pop() {
            slot
        } else {
            table.entries.push(None);
            table.entries.len() - 1
        };
        if let Some(place) = table.entries.get_mut(slot) {
            *place = Some(Arc::clone(&entry));
        }
        drop(table);
        Registration {
            registry: Arc::clone(self),
            entry,
            shard,
            slot,
        }
    }

    fn shard(&self, index: usize) -> &Mutex<Shard> {
        self.shards
            .get(index)
            .expect("a home is below the number of shards")
    }
}

impl fmt::Debug for TunnelRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelRegistry")
            .field("open", &self.open())
            .field("idle_millis", &self.idle_millis)
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

/// A tunnel's place in the registry; dropping it gives the place up.
pub(super) struct Registration {
    registry: Arc<TunnelRegistry>,
    entry: Arc<Entry>,
    shard: usize,
    slot: usize,
}

impl Registration {
    /// Who to wake, and what is wanted now. In this order nothing that is wanted in between gets lost.
    pub(super) fn wish(&self, waker: &Waker) -> Wish {
        self.entry.waker.register(waker);
        if self.registry.draining.load(Relaxed) {
            Wish::End
        } else if self.entry.expired.load(Relaxed) {
            Wish::EndIfIdle
        } else {
            Wish::GoOn
        }
    }

    /// Bytes moved.
    pub(super) fn active(&self) {
        self.entry
            .last_active
            .store(self.registry.tick.load(Relaxed), Relaxed);
        if self.entry.expired.load(Relaxed) {
            self.entry.expired.store(false, Relaxed);
        }
    }

    /// Bytes moved without copying, and directions that went over to it.
    pub(super) fn spliced(&self, bytes: u64, engaged: u64) {
        self.registry.spliced.fetch_add(bytes, Relaxed);
        if engaged > 0 {
            self.registry.engaged.fetch_add(engaged, Relaxed);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.registry.shard(self.shard).lock();
        if let Some(place) = table.entries.get_mut(self.slot) {
            *place = None;
            table.free.push(self.slot);
        }
    }
}

/// Shards, so that workers seldom meet at a lock.
const SHARDS: usize = 16;
const MIN_TICK: Duration = Duration::from_millis(50);
const MAX_TICK: Duration = Duration::from_secs(1);

static NEXT_HOME: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The shard that this thread registers in.
    static HOME: usize = NEXT_HOME.fetch_add(1, Relaxed) % SHARDS;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker;

    #[test]
    fn a_tick_is_an_eighth_of_the_idle_time_within_bounds() {
        let cases = [
            (300_000, 1000, 300),
            (4000, 500, 8),
            (100, 50, 2),
            (1, 50, 1),
            (1020, 127, 9),
        ];
        for (idle, tick, limit) in cases {
            let registry = TunnelRegistry::new(Duration::from_millis(idle));
            let (length, ticks) = registry.pace();
            assert_eq!((length.as_millis(), ticks), (tick, limit), "{idle}");
        }
    }

    #[test]
    fn places_are_used_again_and_counted() {
        let registry = TunnelRegistry::new(Duration::from_secs(1));
        let first = registry.register();
        let second = registry.register();
        assert_eq!(registry.open(), 2);
        let slot = first.slot;
        drop(first);
        assert_eq!(registry.open(), 1);
        assert_eq!(registry.register().slot, slot);
        drop(second);
        assert_eq!(registry.open(), 0);
    }

    #[test]
    fn only_silence_expires() {
        let registry = TunnelRegistry::new(Duration::from_secs(1));
        let (busy, silent) = (registry.register(), registry.register());
        let waker = noop_waker();
        for _ in 0..20 {
            registry.sweep(8);
            busy.active();
        }
        assert_eq!(
            (busy.wish(&waker), silent.wish(&waker)),
            (Wish::GoOn, Wish::EndIfIdle)
        );
        silent.active();
        assert_eq!(
            silent.wish(&waker),
            Wish::GoOn,
            "a byte at the last moment saves it"
        );
        registry.drain();
        assert_eq!(
            (busy.wish(&waker), registry.register().wish(&waker)),
            (Wish::End, Wish::End)
        );
    }

    #[test]
    fn the_clock_may_wrap_around() {
        let registry = TunnelRegistry::new(Duration::from_secs(1));
        registry.tick.store(u32::MAX - 1, Relaxed);
        let tunnel = registry.register();
        for _ in 0..8 {
            registry.sweep(8);
        }
        assert_eq!(tunnel.wish(&noop_waker()), Wish::GoOn);
        registry.sweep(8);
        assert_eq!(tunnel.wish(&noop_waker()), Wish::EndIfIdle);
    }
}
