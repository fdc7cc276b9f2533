//! Who is checked when, and what is held of each: pure, `now` and rng passed in, verdicts through the port.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcs_models::{PoolName, ProxyId, Target};
use rand::{Rng, RngExt};

use super::entry::{Entry, Phase, Pool};
use super::schedule::{SPREAD, delay, jittered};
use super::spec::{CheckFailure, CheckReport, CheckSpec, PoolSubjects, Subject, Verdicts};
use crate::flip::Health;

/// A suspect whose check began less than this ago is not checked again at once.
const SUSPECT_GAP: Duration = Duration::from_millis(500);

/// Names a member for as long as it is there: the slot is used again, the serial number is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) slot: usize,
    pub(super) serial: u64,
}

/// A check to be made.
#[derive(Debug)]
pub(super) struct Job<W> {
    pub(super) key: Key,
    pub(super) way: W,
    pub(super) spec: Arc<CheckSpec>,
}

/// Everything that is known of all members.
pub(super) struct Roster<W> {
    pub(super) pools: Vec<Pool>,
    pub(super) entries: Vec<Option<Entry<W>>>,
    free: Vec<usize>,
    ids: HashMap<ProxyId, usize>,
    /// Entries by the time they are due; the ticket tells whether the time still holds.
    due: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    tickets: u64,
    /// When each target was last reached through anybody.
    pub(super) reached: HashMap<Target, Instant>,
    /// Pools that wait for the corporate proxy to be asked.
    pub(super) asks: VecDeque<PoolName>,
    pub(super) corporate: Corporate,
}

/// What mass failures told of the corporate proxy.
#[derive(Debug, Default)]
pub(super) struct Corporate {
    pub(super) down: bool,
    /// When it was last found down.
    pub(super) asked: Option<Instant>,
}

impl<W: Clone> Roster<W> {
    pub(super) fn new() -> Self {
        Self {
            pools: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            due: BinaryHeap::new(),
            tickets: 0,
            reached: HashMap::new(),
            asks: VecDeque::new(),
            corporate: Corporate::default(),
        }
    }

    /// Takes over the members as they are from now on.
    pub(super) fn update(
        &mut self,
        pools: &[PoolSubjects<W>],
        now: Instant,
        rng: &mut impl Rng,
        verdicts: &dyn Verdicts,
    ) {
        let mut old: HashMap<PoolName, Pool> = self
            .pools
            .drain(..)
            .map(|pool| (pool.name.clone(), pool))
            .collect();
        // Pools come and go, and their queues with them: who waited is due.
        let queued: Vec<Key> = old
            .values_mut()
            .flat_map(|pool| std::mem::take(&mut pool.waiting))
            .collect();
        for key in queued {
            if self.is_there(key) {
                self.unqueue(key);
                self.schedule(key.slot, now);
            }
        }
        let mut kept = HashSet::new();
        let mut fresh = Vec::new();
        for given in pools {
            let former = old.remove(&given.pool);
            let respecified = former.as_ref().is_some_and(|pool| pool.spec != given.spec);
            let at = self.pools.len();
            self.pools
                .push(Pool::carried_over(former.filter(|_| !respecified), given));
            for subject in &given.subjects {
                let (slot, is_new) = self.place(subject, at, verdicts);
                kept.insert(slot);
                if is_new || respecified {
                    fresh.push(slot);
                }
            }
        }
        let gone: Vec<usize> = self
            .ids
            .values()
            .copied()
            .filter(|slot| !kept.contains(slot))
            .collect();
        gone.into_iter().for_each(|slot| self.remove(slot));
        self.retally();
        self.reached
            .retain(|target, _| pools.iter().any(|pool| pool.spec.test_url.target == *target));
        self.stagger(&fresh, now, rng);
    }

    /// Finds or makes the entry of a member. Says whether its checks begin now.
    fn place(&mut self, subject: &Subject<W>, pool: usize, verdicts: &dyn Verdicts) -> (usize, bool) {
        let known = self.ids.get(&subject.id).copied();
        let same = known.filter(|slot| {
            self.entry(*slot)
                .is_some_and(|entry| entry.subject.serial == subject.serial)
        });
        if let (Some(slot), None) = (known, same) {
            self.remove(slot);
        }
        let scheduled = subject.enabled && self.pools.get(pool).is_some_and(|pool| pool.spec.enabled);
        let Some(slot) = same else {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.entries.push(None);
                self.entries.len() - 1
            });
            self.entries[slot] = Some(Entry::new(subject.clone(), pool, scheduled));
            self.ids.insert(subject.id.clone(), slot);
            return (slot, scheduled);
        };
        let Some(entry) = self.entry_mut(slot) else {
            return (slot, false);
        };
        let begins = scheduled && !entry.scheduled;
        if entry.scheduled && !scheduled {
            // Nobody will look after it any more: the verdict must not outlive the checks.
            entry.forget();
            verdicts.verdict(&subject.id, Health::Unknown);
        }
        (entry.subject, entry.pool, entry.scheduled) = (subject.clone(), pool, scheduled);
        (slot, begins)
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.entries.get_mut(slot).and_then(Option::take) {
            if self.ids.get(&entry.subject.id) == Some(&slot) {
                self.ids.remove(&entry.subject.id);
            }
            self.free.push(slot);
        }
    }

    /// Counts anew who stands where in each pool.
    fn retally(&mut self) {
        for pool in &mut self.pools {
            pool.slots.clear();
            (pool.running, pool.scheduled, pool.failing, pool.settled) = (0, 0, 0, 0);
        }
        for (slot, entry) in self.entries.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let Some(pool) = self.pools.get_mut(entry.pool) else {
                continue;
            };
            pool.slots.push(slot);
            pool.running += usize::from(entry.phase == Phase::Running);
            pool.scheduled += usize::from(entry.scheduled);
            pool.failing += usize::from(entry.is_failing());
            pool.settled += usize::from(entry.is_settled());
        }
    }

    /// Spreads first checks.
    fn stagger(&mut self, slots: &[usize], now: Instant, rng: &mut impl Rng) {
        let Ok(count) = u32::try_from(slots.len().max(1)) else {
            return;
        };
        for (place, slot) in (0u32..).zip(slots) {
            let Some(spec) = self.spec_of(*slot) else { continue };
            let whole = (SPREAD * count).min(spec.interval);
            // Somewhere within its own share: the last one has its turn before the interval ends.
            let within = if place == 0 {
                0.0
            } else {
                rng.random_range(0.0..1.0)
            };
            let share = (f64::from(place) + within) / f64::from(count);
            self.schedule(*slot, now + whole.mul_f64(share));
        }
    }

    /// When something is to be begun: the earliest time on the heap, which may turn out to hold no longer.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next check to be made now, if its pool has room.
    pub(super) fn begin(&mut self, now: Instant, verdicts: &dyn Verdicts) -> Option<Job<W>> {
        self.queue_due(now, verdicts);
        for at in 0..self.pools.len() {
            while self.pools[at].has_room()
                && let Some(key) = self.pools[at].waiting.pop_front()
            {
                self.unqueue(key);
                if let Some(job) = self.run(key, now) {
                    return Some(job);
                }
            }
        }
        None
    }

    /// Moves whoever is due to the queue of its pool.
    fn queue_due(&mut self, now: Instant, verdicts: &dyn Verdicts) {
        while let Some(Reverse((at, slot, ticket))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let is_waited_for =
                |entry: &&Entry<W>| entry.ticket == ticket && entry.scheduled && entry.phase == Phase::Idle;
            if self.entry(slot).filter(is_waited_for).is_none() || self.is_spared(slot, now, verdicts) {
                continue;
            }
            let Some(entry) = self.entry_mut(slot) else {
                continue;
            };
            entry.phase = Phase::Queued;
            let (key, at) = (
                Key {
                    slot,
                    serial: entry.subject.serial,
                },
                entry.pool,
            );
            self.pools[at].waiting.push_back(key);
        }
    }

    fn unqueue(&mut self, key: Key) {
        let entry = self
            .entry_mut(key.slot)
            .filter(|entry| entry.subject.serial == key.serial);
        if let Some(entry) = entry.filter(|entry| entry.phase == Phase::Queued) {
            entry.phase = Phase::Idle;
        }
    }

    /// A check of this member now, whatever the schedule says; `None` while one is under way.
    pub(super) fn force(&mut self, key: Key, now: Instant) -> Option<Job<W>> {
        self.run(key, now)
    }

    pub(super) fn is_there(&self, key: Key) -> bool {
        self.entry(key.slot)
            .is_some_and(|entry| entry.subject.serial == key.serial)
    }

    pub(super) fn key_of(&self, id: &ProxyId) -> Option<Key> {
        let slot = *self.ids.get(id)?;
        self.entry(slot).map(|entry| Key {
            slot,
            serial: entry.subject.serial,
        })
    }

    /// Has a member checked soon.
    pub(super) fn suspect(&mut self, id: &ProxyId, now: Instant) {
        let Some(slot) = self.ids.get(id).copied() else {
            return;
        };
        let Some(spec) = self.spec_of(slot) else { return };
        let gap = SUSPECT_GAP.min(spec.interval);
        let Some(entry) = self.entry_mut(slot) else { return };
        entry.steady = 0;
        if !entry.scheduled
            || entry
                .began
                .is_some_and(|began| now.saturating_duration_since(began) < gap)
        {
            return;
        }
        self.expedite(slot, now);
    }

    /// Has a member checked now, even if traffic spoke for it.
    pub(super) fn expedite(&mut self, slot: usize, now: Instant) {
        let Some(entry) = self.entry_mut(slot) else { return };
        entry.urgent = true;
        if entry.phase == Phase::Idle {
            self.schedule(slot, now);
        }
    }

    /// Takes a result; `None` where the member is gone.
    pub(super) fn finish(
        &mut self,
        key: Key,
        result: Result<Duration, CheckFailure>,
        now: Instant,
        rng: &mut impl Rng,
        verdicts: &dyn Verdicts,
    ) -> Option<CheckReport> {
        let entry = self
            .entry_mut(key.slot)
            .filter(|entry| entry.subject.serial == key.serial)?;
        (entry.phase, entry.ended) = (Phase::Idle, Some(now));
        let (at, scheduled, urgent) = (entry.pool, entry.scheduled, entry.urgent);
        entry.seen = verdicts.traffic(&entry.subject.id);
        self.pools[at].running = self.pools[at].running.saturating_sub(1);
        if scheduled {
            match &result {
                Ok(_) => self.succeeded(key.slot, now, verdicts),
                Err(failure) => self.failed(key.slot, failure.fault, now, verdicts),
            }
            self.reconsider_all(now, verdicts);
            self.reschedule(key.slot, urgent, now, rng);
        }
        let entry = self.entry(key.slot)?;
        let report = CheckReport {
            id: entry.subject.id.clone(),
            pool: self.pools[at].name.clone(),
            at: now,
            result,
            health: entry.flip.health(),
            consecutive_failures: entry.flip.consecutive_failures(),
            consecutive_successes: entry.flip.consecutive_successes(),
        };
        verdicts.checked(&report);
        Some(report)
    }

    fn run(&mut self, key: Key, now: Instant) -> Option<Job<W>> {
        let entry = self.entry_mut(key.slot);
        let entry =
            entry.filter(|entry| entry.subject.serial == key.serial && entry.phase != Phase::Running)?;
        (entry.phase, entry.urgent, entry.began) = (Phase::Running, false, Some(now));
        let (way, at) = (entry.subject.way.clone(), entry.pool);
        self.pools[at].running += 1;
        Some(Job {
            key,
            way,
            spec: Arc::clone(&self.pools[at].spec),
        })
    }

    /// Whether traffic has shown since the last check what a check would show. If so, the next one is put off.
    fn is_spared(&mut self, slot: usize, now: Instant, verdicts: &dyn Verdicts) -> bool {
        let Some(longest) = self.spec_of(slot).map(|spec| spec.interval * 2) else {
            return false;
        };
        let Some(entry) = self.entry(slot).filter(|entry| !entry.urgent && entry.is_well()) else {
            return false;
        };
        let (Some(before), Some(ended)) = (entry.seen, entry.ended) else {
            return false;
        };
        let Some(seen) = verdicts.traffic(&entry.subject.id) else {
            return false;
        };
        let at = ended + longest;
        let spared =
            seen.successes > before.successes && seen.failures == before.failures && now + longest / 10 < at;
        if spared {
            self.schedule(slot, at);
        }
        spared
    }

    fn reschedule(&mut self, slot: usize, urgent: bool, now: Instant, rng: &mut impl Rng) {
        let Some(interval) = self.spec_of(slot).map(|spec| spec.interval) else {
            return;
        };
        let Some(entry) = self.entry(slot) else { return };
        let open = entry.streak.is_some_and(|streak| streak.held > 0);
        let wait = if urgent {
            Duration::ZERO
        } else {
            delay(interval, &entry.flip, entry.steady, open)
        };
        self.schedule(slot, now + jittered(wait, rng));
    }

    fn schedule(&mut self, slot: usize, at: Instant) {
        self.tickets += 1;
        let ticket = self.tickets;
        let Some(entry) = self.entry_mut(slot) else { return };
        entry.ticket = ticket;
        self.due.push(Reverse((at, slot, ticket)));
        // Each new time leaves the former one behind: swept before they outnumber the members.
        if self.due.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.due.retain(|Reverse((_, slot, ticket))| {
                entries
                    .get(*slot)
                    .and_then(Option::as_ref)
                    .is_some_and(|entry| entry.ticket == *ticket)
            });
        }
    }

    pub(super) fn entry(&self, slot: usize) -> Option<&Entry<W>> {
        self.entries.get(slot)?.as_ref()
    }

    pub(super) fn entry_mut(&mut self, slot: usize) -> Option<&mut Entry<W>> {
        self.entries.get_mut(slot)?.as_mut()
    }

    fn spec_of(&self, slot: usize) -> Option<&CheckSpec> {
        self.entry(slot)
            .and_then(|entry| self.pools.get(entry.pool))
            .map(|pool| &*pool.spec)
    }

    /// Changes an entry and keeps its pool's counts right.
    pub(super) fn change<T>(&mut self, slot: usize, change: impl FnOnce(&mut Entry<W>) -> T) -> Option<T> {
        let entry = self.entries.get_mut(slot)?.as_mut()?;
        let before = (entry.is_failing(), entry.is_settled());
        let answer = change(entry);
        let pool = &mut self.pools[entry.pool];
        pool.failing = pool.failing + usize::from(entry.is_failing()) - usize::from(before.0);
        pool.settled = pool.settled + usize::from(entry.is_settled()) - usize::from(before.1);
        Some(answer)
    }
}
