//! The circuit breaker of one member: pure, `now` passed in, fed by traffic alone.
//!
//! ```text
//!            failure_threshold failures in a row
//!   ┌────────┐ ────────────────────────────────▶ ┌──────┐
//!   │ closed │                                   │ open │◀──┐
//!   └────────┘ ◀──┐                              └──────┘   │ a trial fails
//!                 │ success_threshold                │ timeout passed, next admission
//!                 │ trials went well            ┌───────────┐
//!                 └──────────────────────────── │ half-open │
//!                                               └───────────┘
//! ```
//!
//! Every change of state begins a new generation. A permit belongs to the generation it was given in, and what is
//! recorded with a permit of an earlier one is ignored: thirty requests that were in flight when the breaker opened
//! neither lengthen the rest nor spoil a trial that came after.
//!
//! Admission and success while closed and calm take no lock: two loads. All else, which is rare, goes through one
//! short critical section.

mod guard;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use guard::{Guard, HasBreaker};

/// When a member is given a rest and when it is trusted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Off: everything is admitted and nothing recorded. Default on.
    pub enabled: bool,
    /// Consecutive failures that open it; 0 counts as 1. Default 5.
    pub failure_threshold: u32,
    /// Trials that have to go well, with none failing between, to close it; 0 counts as 1. Default 3.
    pub success_threshold: u32,
    /// How long it stays open before the first trial. Default 30 s.
    pub timeout: Duration,
    /// Trials at once; 0 counts as 1. Default 1.
    pub half_open_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: 5,
            success_threshold: 3,
            timeout: Duration::from_secs(30),
            half_open_max: 1,
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Everything is admitted.
    Closed,
    /// A few trials are admitted.
    HalfOpen,
    /// Nothing is admitted until the timeout has passed.
    Open,
}

impl State {
    /// The name in the admin API: `closed`, `half_open`, `open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A change of state, for events and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
}

/// What an attempt said about the member it went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The member did its work.
    Success,
    /// The member is to blame.
    Failure,
    /// Nothing: cancelled, or somebody else's fault (the corporate proxy's, the target's, ours).
    Excused,
}

/// The right to one attempt. Give it back by [`Breaker::record`], or let a [`Guard`] do so.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a trial's permit that is not recorded blocks its place until the state changes"]
pub struct Permit {
    generation: u64,
    kind: Kind,
}

impl Permit {
    /// Whether this is one of the few trials of a half-open breaker.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.kind == Kind::Trial
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Trial,
    /// A trial that gave its place back before anybody knew how it went.
    Late,
    Forced,
}

/// A permit, and the change of state that giving it made.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Admitted {
    /// The right to one attempt.
    pub permit: Permit,
    /// Open to half-open, for the first trial.
    pub transition: Option<Transition>,
}

/// The circuit breaker of one member. Settings are passed with each call, so a reload needs no new breaker.
#[derive(Debug)]
pub struct Breaker {
    epoch: Instant,
    /// Generation and state in one word: what an admission needs while closed.
    word: AtomicU64,
    /// Nanoseconds since the epoch from which an attempt is admitted: 0 = now, [`NEVER`] = all trials are out.
    gate: AtomicU64,
    /// Consecutive failures while closed: a success while it is 0 has nothing to do.
    failures: AtomicU32,
    inner: Mutex<Inner>,
}

/// What only changes of state and trials touch. The atomics above are written under its lock alone.
#[derive(Debug)]
struct Inner {
    state: State,
    generation: u64,
    failures: u32,
    successes: u32,
    trials: u32,
    /// Nanoseconds since the epoch.
    open_until: u64,
}

const NEVER: u64 = u64::MAX;

impl Breaker {
    /// A closed breaker. `now` is no later than any time it will be told.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let inner = Inner {
            state: State::Closed,
            generation: 0,
            failures: 0,
            successes: 0,
            trials: 0,
            open_until: 0,
        };
        Self {
            epoch: now,
            word: AtomicU64::new(inner.word()),
            gate: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            inner: Mutex::new(inner),
        }
    }

    /// Whether [`Breaker::admit`] would say yes: one load, for picking members.
    #[must_use]
    pub fn is_admissible(&self, now: Instant) -> bool {
        // Relaxed: advice to a pick; the permit is what counts.
        match self.gate.load(Ordering::Relaxed) {
            0 => true,
            NEVER => false,
            gate => self.nanos(now) >= gate,
        }
    }

    /// Where it stands. It stays open until somebody is admitted after the timeout.
    #[must_use]
    pub fn state(&self) -> State {
        // Relaxed: for display.
        state_of(self.word.load(Ordering::Relaxed))
    }

    /// When an open breaker admits its first trial; `None` while it is not open.
    #[must_use]
    pub fn retry_at(&self) -> Option<Instant> {
        let inner = self.inner.lock();
        (inner.state == State::Open).then(|| self.epoch + Duration::from_nanos(inner.open_until))
    }

    /// Failures in a row since the last success, while closed.
    #[must_use]
    pub fn consecutive_failures(&self) -> u32 {
        // Relaxed: for display.
        self.failures.load(Ordering::Relaxed)
    }

    /// Asks for an attempt; `None` while it is open, or half-open with all trials under way.
    pub fn admit(&self, settings: &Settings, now: Instant) -> Option<Admitted> {
        // Relaxed: a change of state that is not seen yet makes this permit one of the earlier generation, which
        // is what it would have been a moment ago.
        let word = self.word.load(Ordering::Relaxed);
        if !settings.enabled || state_of(word) == State::Closed {
            let permit = Permit {
                generation: word >> 2,
                kind: Kind::Ordinary,
            };
            return Some(Admitted {
                permit,
                transition: None,
            });
        }
        let mut inner = self.inner.lock();
        let mut transition = None;
        match inner.state {
            State::Closed => {
                let permit = Permit {
                    generation: inner.generation,
                    kind: Kind::Ordinary,
                };
                return Some(Admitted { permit, transition });
            }
            State::Open if self.nanos(now) < inner.open_until => return None,
            State::Open => transition = Some(inner.enter(State::HalfOpen)),
            State::HalfOpen if inner.trials >= settings.half_open_max.max(1) => return None,
            State::HalfOpen => {}
        }
        inner.trials += 1;
        self.publish(&inner, settings);
        Some(Admitted {
            permit: Permit {
                generation: inner.generation,
                kind: Kind::Trial,
            },
            transition,
        })
    }

    /// A permit whatever the state, for the pool that has nobody better left.
    ///
    /// Its failure tells nothing new about a member that is open; its success counts as a trial's.
    pub fn force(&self) -> Permit {
        Permit {
            generation: self.word.load(Ordering::Relaxed) >> 2,
            kind: Kind::Forced,
        }
    }

    /// Gives a trial's place back while how it went still has to show. Its word counts as before, for as long as the
    /// state does not change.
    pub fn vacate(&self, permit: &mut Permit, settings: &Settings) {
        if permit.kind != Kind::Trial {
            return;
        }
        permit.kind = Kind::Late;
        let mut inner = self.inner.lock();
        if permit.generation == inner.generation {
            inner.trials = inner.trials.saturating_sub(1);
            self.publish(&inner, settings);
        }
    }

    /// Tells what came of an attempt, and gives its permit back.
    ///
    /// Nothing happens where the state changed since the permit was given.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is spent")]
    pub fn record(
        &self,
        permit: Permit,
        outcome: Outcome,
        settings: &Settings,
        now: Instant,
    ) -> Option<Transition> {
        // Switched off meanwhile: a trial's place is given back all the same.
        let outcome = if settings.enabled {
            outcome
        } else {
            Outcome::Excused
        };
        if self.is_calm(&permit, outcome) {
            return None;
        }
        let mut inner = self.inner.lock();
        if permit.generation != inner.generation {
            return None;
        }
        if permit.kind == Kind::Trial {
            inner.trials = inner.trials.saturating_sub(1);
        }
        let transition = match outcome {
            Outcome::Excused => None,
            Outcome::Success => inner.succeed(settings),
            Outcome::Failure => inner.fail(&permit, settings, self.nanos(now)),
        };
        self.publish(&inner, settings);
        transition
    }

    /// Ends the rest of an open breaker: the next admission is its first trial. Nothing happens in other states.
    ///
    /// For whoever knows from elsewhere that the member works again. It says nothing of requests, so it closes nothing.
    pub fn end_rest(&self, now: Instant) {
        let mut inner = self.inner.lock();
        if inner.state == State::Open {
            inner.open_until = inner.open_until.min(self.nanos(now));
            self.publish(&inner, &Settings::default());
        }
    }

    /// Closes it and forgets all it knew: the member was changed, or the breaker switched off.
    pub fn reset(&self) -> Option<Transition> {
        let mut inner = self.inner.lock();
        let from = inner.state;
        let transition = inner.enter(State::Closed);
        self.publish(&inner, &Settings::default());
        (from != State::Closed).then_some(transition)
    }

    /// Whether there is nothing to do: a success, or an excuse, without a streak of failures to end.
    fn is_calm(&self, permit: &Permit, outcome: Outcome) -> bool {
        // Relaxed: a failure recorded at the same moment may come before or after this, either order is true.
        permit.kind == Kind::Ordinary
            && (outcome == Outcome::Excused
                || outcome == Outcome::Success && self.failures.load(Ordering::Relaxed) == 0)
    }

    fn publish(&self, inner: &Inner, settings: &Settings) {
        let gate = match inner.state {
            State::Closed => 0,
            State::Open => inner.open_until.max(1),
            State::HalfOpen if inner.trials >= settings.half_open_max.max(1) => NEVER,
            State::HalfOpen => 0,
        };
        self.gate.store(gate, Ordering::Relaxed);
        self.failures.store(inner.failures, Ordering::Relaxed);
        self.word.store(inner.word(), Ordering::Relaxed);
    }

    fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

impl Inner {
    fn word(&self) -> u64 {
        let state = match self.state {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        self.generation << 2 | state
    }

    fn enter(&mut self, to: State) -> Transition {
        let from = self.state;
        self.state = to;
        self.generation += 1;
        (self.failures, self.successes, self.trials) = (0, 0, 0);
        Transition { from, to }
    }

    fn succeed(&mut self, settings: &Settings) -> Option<Transition> {
        if self.state == State::Closed {
            self.failures = 0;
            return None;
        }
        // A forced attempt went well through an open breaker: the rest is over, and this was the first trial.
        let transition = (self.state == State::Open).then(|| self.enter(State::HalfOpen));
        self.successes += 1;
        if self.successes < settings.success_threshold.max(1) {
            return transition;
        }
        let from = transition.map_or(State::HalfOpen, |transition| transition.from);
        Some(Transition {
            from,
            ..self.enter(State::Closed)
        })
    }

    fn fail(&mut self, permit: &Permit, settings: &Settings, now: u64) -> Option<Transition> {
        match self.state {
            State::Closed => self.failures = self.failures.saturating_add(1),
            State::HalfOpen if matches!(permit.kind, Kind::Trial | Kind::Late) => {}
            State::HalfOpen | State::Open => return None,
        }
        if self.state == State::Closed && self.failures < settings.failure_threshold.max(1) {
            return None;
        }
        self.open_until = now.saturating_add(nanos(settings.timeout)).min(NEVER - 1);
        Some(self.enter(State::Open))
    }
}

/// 2⁶⁴ nanoseconds are 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER - 1)
}

fn state_of(word: u64) -> State {
    match word & 3 {
        0 => State::Closed,
        1 => State::HalfOpen,
        _ => State::Open,
    }
}

#[cfg(test)]
mod tests;
