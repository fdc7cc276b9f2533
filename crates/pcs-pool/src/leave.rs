//! Leave to make one attempt through a member, and the word on how it went.

use std::sync::Arc;

use pcs_health::breaker::{Outcome, Permit};
use tokio::time::Instant;

use crate::member::Member;
use crate::pool::Pool;

/// A breaker's permit with the member and pool it is for. Dropped without a word it is given back as excused: a
/// client that goes away charges nobody, and blocks no trial.
pub(crate) struct Leave {
    pool: Arc<Pool>,
    member: Arc<Member>,
    permit: Option<Permit>,
}

impl Leave {
    /// Asks the member's breaker.
    pub(crate) fn admit(pool: &Arc<Pool>, member: &Arc<Member>, now: Instant) -> Option<Self> {
        let settings = *pool.snapshot().breaker();
        let admitted = member.breaker().admit(&settings, now.into_std())?;
        let trial = admitted.permit.is_trial();
        let leave = Self {
            pool: Arc::clone(pool),
            member: Arc::clone(member),
            permit: Some(admitted.permit),
        };
        match admitted.transition {
            Some(transition) => pool.moved(member, transition, now),
            // The last place may be taken now: nobody should pick this member until it is free again.
            None if trial => pool.refresh(member, now),
            None => {}
        }
        Some(leave)
    }

    /// Takes leave without asking, where nobody better is left.
    pub(crate) fn force(pool: &Arc<Pool>, member: &Arc<Member>) -> Self {
        let permit = Some(member.breaker().force());
        Self {
            pool: Arc::clone(pool),
            member: Arc::clone(member),
            permit,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// How it went shows later: a trial's place is free again.
    pub(crate) fn vacate(&mut self) {
        let Some(permit) = self.permit.as_mut().filter(|permit| permit.is_trial()) else {
            return;
        };
        let settings = *self.pool.snapshot().breaker();
        self.member.breaker().vacate(permit, &settings);
        self.pool.refresh(&self.member, Instant::now());
    }

    /// Says how it went. Only the first word counts.
    pub(crate) fn record(&mut self, outcome: Outcome, now: Instant) {
        let Some(permit) = self.permit.take() else { return };
        let trial = permit.is_trial();
        let settings = *self.pool.snapshot().breaker();
        match self
            .member
            .breaker()
            .record(permit, outcome, &settings, now.into_std())
        {
            Some(transition) => self.pool.moved(&self.member, transition, now),
            None if trial => self.pool.refresh(&self.member, now),
            None => {}
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.record(Outcome::Excused, Instant::now());
        }
    }
}
