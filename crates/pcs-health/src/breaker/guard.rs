//! A permit that gives itself back.

use std::fmt;
use std::ops::Deref;
use std::time::Instant;

use super::{Admitted, Breaker, Outcome, Permit, Settings, Transition};

/// Something that has a breaker: a member, or the breaker itself.
pub trait HasBreaker {
    /// The breaker.
    fn breaker(&self) -> &Breaker;
}

impl HasBreaker for Breaker {
    fn breaker(&self) -> &Breaker {
        self
    }
}

/// A permit that is given back, as excused, when it is dropped before anything was recorded: a client that goes
/// away in the middle of a trial neither blocks its place nor counts against the member.
///
/// `P` points to the member: a reference or an `Arc`.
#[must_use]
pub struct Guard<P: Deref<Target: HasBreaker>> {
    owner: P,
    permit: Option<Permit>,
    settings: Settings,
}

impl<P: Deref<Target: HasBreaker>> Guard<P> {
    /// Asks for an attempt, as [`Breaker::admit`].
    pub fn admit(owner: P, settings: Settings, now: Instant) -> Option<(Self, Option<Transition>)> {
        let Admitted { permit, transition } = owner.breaker().admit(&settings, now)?;
        Some((
            Self {
                owner,
                permit: Some(permit),
                settings,
            },
            transition,
        ))
    }

    /// Takes an attempt whatever the state, as [`Breaker::force`].
    pub fn force(owner: P, settings: Settings) -> Self {
        let permit = Some(owner.breaker().force());
        Self {
            owner,
            permit,
            settings,
        }
    }

    /// Whether this is one of the few trials of a half-open breaker.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_trial)
    }

    /// Tells what came of the attempt. Only the first call counts: an attempt counts once.
    pub fn record(&mut self, outcome: Outcome, now: Instant) -> Option<Transition> {
        let permit = self.permit.take()?;
        self.owner.breaker().record(permit, outcome, &self.settings, now)
    }
}

impl<P: Deref<Target: HasBreaker>> Drop for Guard<P> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let breaker = self.owner.breaker();
            // An excuse asks for no time.
            breaker.record(permit, Outcome::Excused, &self.settings, breaker.epoch);
        }
    }
}

impl<P: Deref<Target: HasBreaker>> fmt::Debug for Guard<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}
