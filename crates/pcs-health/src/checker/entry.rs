//! What is held of one pool and of one member.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pcs_models::PoolName;

use super::question::Question;
use super::roster::Key;
use super::spec::{CheckSpec, Fault, PoolSubjects, Seen, Subject};
use crate::flip::{Flip, Health};

pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) spec: Arc<CheckSpec>,
    pub(super) slots: Vec<usize>,
    pub(super) running: usize,
    pub(super) waiting: VecDeque<Key>,
    /// Members that are checked on schedule.
    pub(super) scheduled: usize,
    /// Those of them with an open streak.
    pub(super) failing: usize,
    /// Those of them that were unhealthy before: their failing is no news.
    pub(super) settled: usize,
    pub(super) question: Option<Question>,
    /// Failures at the target are the test URL's until somebody reaches it.
    pub(super) doubts_target: bool,
    /// A mass failure was believed: what fails until then is not questioned again.
    pub(super) believed_until: Option<Instant>,
}

pub(super) struct Entry<W> {
    pub(super) subject: Subject<W>,
    pub(super) pool: usize,
    pub(super) scheduled: bool,
    pub(super) flip: Flip,
    pub(super) streak: Option<Streak>,
    /// Successful checks in a row.
    pub(super) steady: u32,
    pub(super) phase: Phase,
    /// To be checked at once (as soon as the present check ends), whatever traffic says.
    pub(super) urgent: bool,
    pub(super) ticket: u64,
    pub(super) began: Option<Instant>,
    pub(super) ended: Option<Instant>,
    pub(super) seen: Option<Seen>,
}

/// Where a member is between two checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its time is on the heap.
    Idle,
    /// In the queue of its pool.
    Queued,
    /// Its check is under way.
    Running,
}

/// A row of failures that is not settled yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streak {
    /// What was held before the first.
    pub(super) before: Flip,
    pub(super) since: Instant,
    /// Whose fault the last one was.
    pub(super) fault: Fault,
    /// Failures that were not counted yet.
    pub(super) held: u32,
}

impl Pool {
    pub(super) fn carried_over<W>(former: Option<Self>, given: &PoolSubjects<W>) -> Self {
        let blank = Self {
            name: given.pool.clone(),
            spec: Arc::clone(&given.spec),
            slots: Vec::new(),
            running: 0,
            waiting: VecDeque::new(),
            scheduled: 0,
            failing: 0,
            settled: 0,
            question: None,
            doubts_target: false,
            believed_until: None,
        };
        former.unwrap_or(blank)
    }

    pub(super) fn has_room(&self) -> bool {
        self.running < self.spec.concurrency.max(1)
    }

    /// Whether more than half of those who could be used just now fail at once.
    pub(super) fn fails_in_mass(&self) -> bool {
        self.failing * 2 > self.scheduled.saturating_sub(self.settled)
    }
}

impl<W> Entry<W> {
    pub(super) fn new(subject: Subject<W>, pool: usize, scheduled: bool) -> Self {
        Self {
            subject,
            pool,
            scheduled,
            flip: Flip::new(),
            streak: None,
            steady: 0,
            phase: Phase::Idle,
            urgent: false,
            ticket: 0,
            began: None,
            ended: None,
            seen: None,
        }
    }

    pub(super) fn forget(&mut self) {
        (self.flip, self.streak, self.steady) = (Flip::new(), None, 0);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.scheduled && self.streak.is_some()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.scheduled && self.streak.is_none() && !self.flip.health().is_usable()
    }

    /// Whether nothing speaks against it.
    pub(super) fn is_well(&self) -> bool {
        let calm = self.streak.is_none() && self.flip.consecutive_failures() == 0;
        calm && self.flip.health() == Health::Healthy
    }

    pub(super) fn note_success(&mut self) {
        self.steady = self.steady.saturating_add(1);
        self.streak = None;
    }

    pub(super) fn note_failure(&mut self) {
        self.steady = 0;
    }

    /// Holds a failure until it is known whether to count it.
    pub(super) fn hold(&mut self, fault: Fault, now: Instant) {
        let before = self.flip;
        let streak = self.streak.get_or_insert(Streak {
            before,
            since: now,
            fault,
            held: 0,
        });
        streak.fault = fault;
        streak.held += 1;
    }

    /// Counts what was held.
    pub(super) fn count_held(&mut self, spec: &CheckSpec) -> Option<Health> {
        let held = self
            .streak
            .as_mut()
            .map_or(0, |streak| std::mem::take(&mut streak.held));
        (0..held).filter_map(|_| self.flip.fail(spec.thresholds)).last()
    }

    /// Forgets the streak as if it had not been.
    pub(super) fn take_back(&mut self) -> Option<Health> {
        let before = self.streak.take()?.before;
        let turned = before.health() != self.flip.health();
        self.flip = before;
        turned.then_some(before.health())
    }
}
