//! What a result means for its member, and how a mass failure is questioned before it is believed.

use std::time::{Duration, Instant};

use pcs_models::PoolName;

use super::entry::Entry;
use super::roster::Roster;
use super::spec::{Fault, Verdicts};

/// The most members that are asked whether they still reach the test URL.
const MAX_WITNESSES: usize = 9;
/// Asked at once.
const WITNESSES: usize = 3;
/// A corporate proxy that was found down is not asked again sooner.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A mass failure under question. Failures are held meanwhile.
#[derive(Debug)]
pub(super) struct Question {
    /// When the first of the open streaks began.
    since: Instant,
    opened: Instant,
    /// Whether the corporate proxy's answer is still out.
    awaits_corporate: bool,
    witnesses: Vec<usize>,
    asked: usize,
}

impl<W: Clone> Roster<W> {
    pub(super) fn succeeded(&mut self, slot: usize, now: Instant, verdicts: &dyn Verdicts) {
        let Some(at) = self.entry(slot).map(|entry| entry.pool) else {
            return;
        };
        let spec = self.pools[at].spec.clone();
        let behind = self
            .entry(slot)
            .is_some_and(|entry| entry.subject.behind_corporate);
        if behind {
            self.corporate_works();
        }
        let turned = self.change(slot, |entry| {
            entry.note_success();
            entry.flip.succeed(spec.thresholds)
        });
        if let (Some(Some(health)), Some(entry)) = (turned, self.entry(slot)) {
            verdicts.verdict(&entry.subject.id, health);
        }
        if spec.method.reaches_target() {
            let target = &spec.test_url.target;
            self.reached.insert(target.clone(), now);
            let doubting = self.pools.iter_mut().filter(|pool| pool.doubts_target);
            for pool in doubting.filter(|pool| pool.spec.test_url.target == *target) {
                pool.doubts_target = false;
                tracing::info!(pool = %pool.name, target = %target, "Test URL is reached again");
            }
        }
    }

    pub(super) fn failed(&mut self, slot: usize, fault: Fault, now: Instant, verdicts: &dyn Verdicts) {
        let Some(entry) = self.entry_mut(slot) else { return };
        entry.note_failure();
        let (at, behind) = (entry.pool, entry.subject.behind_corporate);
        if matches!(fault, Fault::Ours | Fault::Corporate) {
            return;
        }
        if behind && self.corporate.down {
            return self.ask_again(at, now);
        }
        if fault == Fault::Target && self.pools[at].doubts_target {
            return;
        }
        let spec = self.pools[at].spec.clone();
        let unhealthy = self
            .entry(slot)
            .is_some_and(|entry| !entry.flip.health().is_usable());
        if unhealthy {
            // No news; and after a round it is no part of any mass failure any more.
            let round = spec.interval * 2;
            self.change(slot, |entry| {
                entry.streak = entry
                    .streak
                    .filter(|streak| now.saturating_duration_since(streak.since) < round);
                entry.flip.fail(spec.thresholds)
            });
            return;
        }
        self.change(slot, |entry| entry.hold(fault, now));
        let pool = &self.pools[at];
        if pool.question.is_some() {
            return;
        }
        if pool.fails_in_mass() && pool.believed_until.is_none_or(|until| until <= now) {
            return self.open_question(at, now);
        }
        self.believe(slot, verdicts);
    }

    /// Takes the corporate proxy's answer to the question of this pool.
    pub(super) fn corporate_answered(
        &mut self,
        name: &PoolName,
        works: bool,
        now: Instant,
        verdicts: &dyn Verdicts,
    ) {
        if !works {
            self.corporate.asked = Some(now);
            if !std::mem::replace(&mut self.corporate.down, true) {
                tracing::warn!(pool = %name, "Mass failure is the corporate proxy's, no proxy is marked");
            }
            return self.excuse_all_behind_corporate(verdicts);
        }
        self.corporate_works();
        let Some(at) = self.pools.iter().position(|pool| pool.name == *name) else {
            return;
        };
        if let Some(question) = &mut self.pools[at].question {
            question.awaits_corporate = false;
        }
        self.reconsider(at, now, verdicts);
    }

    fn corporate_works(&mut self) {
        if std::mem::replace(&mut self.corporate.down, false) {
            tracing::info!("Corporate proxy works again");
        }
    }

    /// Looks whether any open question can be answered now.
    pub(super) fn reconsider_all(&mut self, now: Instant, verdicts: &dyn Verdicts) {
        (0..self.pools.len()).for_each(|at| self.reconsider(at, now, verdicts));
    }

    /// Looks whether the open question of a pool can be answered now.
    fn reconsider(&mut self, at: usize, now: Instant, verdicts: &dyn Verdicts) {
        let pool = &self.pools[at];
        let Some(question) = pool
            .question
            .as_ref()
            .filter(|question| !question.awaits_corporate)
        else {
            return;
        };
        let reached = self
            .reached
            .get(&pool.spec.test_url.target)
            .is_some_and(|last| *last >= question.since);
        if reached || !self.streaks(at).any(|(_, fault)| fault == Fault::Target) {
            return self.believe_all(at, now, verdicts);
        }
        if question
            .witnesses
            .iter()
            .any(|slot| self.can_witness(*slot, at, question.opened))
        {
            return;
        }
        let next = self.witnesses(at, question);
        if next.is_empty() {
            return self.doubt_target(at, verdicts);
        }
        next.iter().for_each(|slot| self.expedite(*slot, now));
        if let Some(question) = &mut self.pools[at].question {
            question.asked += next.len();
            question.witnesses = next;
        }
    }

    /// Members that may show whether the test URL of a pool is reached: its own, then those of others that share it.
    fn witnesses(&self, at: usize, question: &Question) -> Vec<usize> {
        let left = WITNESSES.min(MAX_WITNESSES.saturating_sub(question.asked));
        let others = self
            .pools
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, pool)| pool);
        let pools = std::iter::once(&self.pools[at]).chain(others);
        let slots = pools.flat_map(|pool| pool.slots.iter().copied());
        slots
            .filter(|slot| self.can_witness(*slot, at, question.opened))
            .take(left)
            .collect()
    }

    /// Whether a check of this member would tell something about the test URL of a pool, and did not since `opened`.
    fn can_witness(&self, slot: usize, at: usize, opened: Instant) -> bool {
        let Some(entry) = self.entry(slot) else {
            return false;
        };
        let (spec, own) = (&self.pools[entry.pool].spec, &self.pools[at].spec);
        let shares = spec.method.reaches_target() && spec.test_url.target == own.test_url.target;
        let usable = entry.scheduled && !entry.is_failing() && entry.flip.health().is_usable();
        shares && usable && entry.ended.is_none_or(|ended| ended < opened)
    }

    fn open_question(&mut self, at: usize, now: Instant) {
        let streaks = self.pools[at].slots.iter().filter_map(|slot| self.entry(*slot));
        let streaks = streaks.filter(|entry| entry.is_failing());
        let (mut since, mut behind) = (now, false);
        for entry in streaks {
            since = since.min(entry.streak.map_or(now, |streak| streak.since));
            behind |= entry.subject.behind_corporate;
        }
        let pool = &mut self.pools[at];
        pool.question = Some(Question {
            since,
            opened: now,
            awaits_corporate: behind,
            witnesses: Vec::new(),
            asked: 0,
        });
        if behind {
            self.asks.push_back(pool.name.clone());
        }
    }

    fn ask_again(&mut self, at: usize, now: Instant) {
        let due = self
            .corporate
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN);
        if due && self.asks.is_empty() {
            self.corporate.asked = Some(now);
            self.asks.push_back(self.pools[at].name.clone());
        }
    }

    /// Somebody of this pool, for asking the corporate proxy about: who fails, by preference.
    pub(super) fn way_of_one_behind_corporate(&self, name: &PoolName) -> Option<(W, Duration)> {
        let pool = self.pools.iter().find(|pool| pool.name == *name)?;
        let behind = || {
            let entries = pool.slots.iter().filter_map(|slot| self.entry(*slot));
            entries.filter(|entry| entry.subject.behind_corporate)
        };
        let entry = behind()
            .find(|entry| entry.is_failing())
            .or_else(|| behind().next())?;
        Some((entry.subject.way.clone(), pool.spec.timeout))
    }

    /// The open streaks of a pool.
    fn streaks(&self, at: usize) -> impl Iterator<Item = (usize, Fault)> {
        let slots = self.pools[at].slots.iter().copied();
        slots.filter_map(|slot| {
            Some((
                slot,
                self.entry(slot).filter(|entry| entry.is_failing())?.streak?.fault,
            ))
        })
    }

    fn believe_all(&mut self, at: usize, now: Instant, verdicts: &dyn Verdicts) {
        let streaks: Vec<_> = self.streaks(at).collect();
        streaks
            .into_iter()
            .for_each(|(slot, _)| self.believe(slot, verdicts));
        let pool = &mut self.pools[at];
        pool.question = None;
        pool.believed_until = Some(now + pool.spec.interval);
    }

    fn doubt_target(&mut self, at: usize, verdicts: &dyn Verdicts) {
        for (slot, fault) in self.streaks(at).collect::<Vec<_>>() {
            if fault == Fault::Target {
                self.excuse(slot, verdicts);
            } else {
                self.believe(slot, verdicts);
            }
        }
        let pool = &mut self.pools[at];
        (pool.question, pool.doubts_target) = (None, true);
        let target = &pool.spec.test_url.target;
        tracing::warn!(pool = %pool.name, target = %target, "Nobody reaches the test URL, no proxy is marked for it");
    }

    /// Ends all questions without an answer: nobody is marked.
    pub(super) fn close_questions(&mut self, verdicts: &dyn Verdicts) {
        self.excuse_all_behind_corporate(verdicts);
    }

    fn excuse_all_behind_corporate(&mut self, verdicts: &dyn Verdicts) {
        for slot in 0..self.entries.len() {
            if self
                .entry(slot)
                .is_some_and(|entry| entry.is_failing() && entry.subject.behind_corporate)
            {
                self.excuse(slot, verdicts);
            }
        }
        self.pools.iter_mut().for_each(|pool| pool.question = None);
    }

    fn believe(&mut self, slot: usize, verdicts: &dyn Verdicts) {
        let Some(spec) = self.entry(slot).map(|entry| self.pools[entry.pool].spec.clone()) else {
            return;
        };
        let turned = self.change(slot, |entry| entry.count_held(&spec)).flatten();
        if let (Some(health), Some(entry)) = (turned, self.entry(slot)) {
            verdicts.verdict(&entry.subject.id, health);
        }
    }

    fn excuse(&mut self, slot: usize, verdicts: &dyn Verdicts) {
        let turned = self.change(slot, Entry::take_back).flatten();
        if let (Some(health), Some(entry)) = (turned, self.entry(slot)) {
            verdicts.verdict(&entry.subject.id, health);
        }
    }
}
