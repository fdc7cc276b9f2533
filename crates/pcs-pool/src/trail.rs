//! What one request has been through: who failed it, and who is still to be charged for that.

use std::sync::Arc;
use std::time::Duration;

use pcs_models::{FailureKind, ProxyId, Target};
use tokio::time::Instant;

use crate::blame::Charge;
use crate::hearsay::Hearsay;
use crate::leave::Leave;
use crate::member::Member;
use crate::pool::Pool;

/// The attempts of one request, as far as they matter for the next and for charging.
#[derive(Default)]
pub(crate) struct Trail {
    /// Members tried, each once, in order.
    pub(crate) tried: Vec<Arc<Member>>,
    /// Members among them that a session does not stay with: those that gave no answer at all.
    left: Vec<ProxyId>,
    /// Failures that may be the target's.
    doubtful: Vec<Doubtful>,
    /// Members that the corporate proxy told against, and since when it kept silent where it said nothing at all.
    told: Vec<(Arc<Member>, Option<Instant>)>,
    /// Retries made or granted.
    pub(crate) retries: u32,
    /// A kept stream turned out stale: this member once more, by a fresh dial.
    pub(crate) again: Option<ProxyId>,
    /// What became of the stream handed out last.
    pub(crate) handed: Handed,
    /// How long to wait before the next attempt.
    pub(crate) pause: Option<Duration>,
    /// Where the request wanted to go, once a stream was handed back.
    target: Option<Target>,
}

/// What became of a stream that was handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Handed {
    /// Nobody said so far.
    #[default]
    Out,
    /// It was a kept one that had ended meanwhile: no attempt at all.
    Stale,
    /// It failed, and another attempt was granted.
    Failed(FailureKind),
}

/// Why nobody else was asked about a failure that only another member could have explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// There is nobody to ask: one member, or retries off.
    Nobody,
    /// This request could not be repeated: its status is not listed, or its body is gone.
    Unrepeatable,
    /// Others could have been asked, but the budget or the time was used up.
    Refused,
}

/// A failed attempt.
pub(crate) struct Failure {
    pub(crate) charge: Charge,
    pub(crate) began: Instant,
    /// Whether nobody said a word.
    pub(crate) silent: bool,
}

struct Doubtful {
    leave: Leave,
    began: Instant,
    silent: bool,
}

impl Trail {
    /// Notes a failed attempt; what is proven is charged at once. Silence is charged only if no outage of the corporate
    /// proxy explains it.
    pub(crate) fn fail(&mut self, leave: Leave, failure: &Failure, hearsay: &Hearsay, now: Instant) {
        if !self.tried.iter().any(|tried| Arc::ptr_eq(tried, leave.member())) {
            self.tried.push(Arc::clone(leave.member()));
        }
        let Failure {
            charge,
            began,
            silent,
        } = *failure;
        if silent && leave.pool().outage().covers(began) {
            return;
        }
        match charge {
            Charge::Excused => {}
            Charge::Proven => Pool::charge(leave, 1, now),
            Charge::Doubtful => self.doubtful.push(Doubtful { leave, began, silent }),
            Charge::Hearsay => {
                let member = Arc::clone(leave.member());
                // A member tried again and again by one request fails once.
                if !self.told.iter().any(|(told, _)| Arc::ptr_eq(told, &member)) {
                    hearsay.note(leave, (began, now), silent);
                }
                self.told.push((member, silent.then_some(began)));
            }
        }
    }

    /// A member did not even say that it failed: whatever the target, a session had better move.
    pub(crate) fn leave(&mut self, member: &Member) {
        self.left.push(member.id().clone());
    }

    /// Whether a session leaves this member.
    pub(crate) fn leaves(&self, member: &ProxyId) -> bool {
        self.left.contains(member)
    }

    /// A stream that was handed out failed, and another attempt may follow.
    pub(crate) fn hand_back(&mut self, handed: Handed, target: &Target) {
        self.handed = handed;
        self.target = Some(target.clone());
    }

    /// Since when the corporate proxy has kept silent about one member after the other, two at least.
    pub(crate) fn hushed(&self) -> Option<Instant> {
        let mut silent = self.told.iter().filter(|(_, silence)| silence.is_some());
        let (first, since) = silent.next()?;
        let another = silent.any(|(other, _)| !Arc::ptr_eq(first, other));
        since.filter(|_| another)
    }

    /// The request went well through `member`: whoever failed it before is charged, unless its target was dead then.
    pub(crate) fn succeed(&mut self, member: &Arc<Member>, target: &Target, now: Instant) {
        for Doubtful { leave, began, silent } in self.doubtful.drain(..) {
            let explained = leave.pool().dead.explain(target, began, now)
                || silent && leave.pool().outage().covers(began);
            if !explained && !Arc::ptr_eq(leave.member(), member) {
                Pool::charge(leave, 1, now);
            }
        }
    }

    /// The corporate proxy is down: nobody is charged.
    pub(crate) fn forgive(&mut self) {
        self.doubtful.clear();
        self.told.clear();
    }

    /// One of those that the corporate proxy told against.
    pub(crate) fn accused(&self) -> Option<&Member> {
        self.told.first().map(|(member, _)| &**member)
    }

    /// The request failed for good. Members that agree are believed: nobody is charged. One alone is remembered until
    /// enough targets failed through it; but where only budget or time forbade to ask another member, one alone proves
    /// nothing and is remembered by nobody.
    ///
    /// Says whether two members agreed that the target is at fault.
    pub(crate) fn give_up(&mut self, target: &Target, unheard: Unheard, now: Instant) -> bool {
        self.told.clear();
        let mut members = self.doubtful.iter().map(|doubtful| doubtful.leave.member());
        let agreed = members
            .next()
            .is_some_and(|first| members.any(|other| !Arc::ptr_eq(first, other)));
        // A member tried again and again by one request fails once.
        let Some(Doubtful { leave, .. }) = self.doubtful.drain(..).next() else {
            return false;
        };
        if agreed {
            leave.pool().dead.note(target);
        } else if unheard != Unheard::Refused {
            Pool::doubt(leave, target, unheard, now);
        }
        agreed
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        // Another attempt was granted, but the request could not be sent twice, so nobody took it.
        if let (Handed::Failed(_), Some(target)) = (self.handed, self.target.take()) {
            self.give_up(&target, Unheard::Unrepeatable, Instant::now());
        }
    }
}
