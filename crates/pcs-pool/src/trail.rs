//! What one request has been through: who failed it, and who is still to be charged for that.

use std::sync::Arc;
use std::time::Duration;

use pcs_models::{FailureKind, ProxyId, Target};
use tokio::time::Instant;

use crate::blame::Charge;
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
    /// Failures not settled yet.
    pending: Vec<Pending>,
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

struct Pending {
    leave: Leave,
    charge: Charge,
    /// When the attempt began, if it came to nothing but silence.
    silence: Option<Instant>,
}

impl Trail {
    /// Notes a failed attempt; what is proven is charged at once. `silence` is when it began, where nobody said a word:
    /// that is charged only if no outage of the corporate proxy explains it.
    pub(crate) fn fail(&mut self, leave: Leave, charge: Charge, silence: Option<Instant>, now: Instant) {
        if !self.tried.iter().any(|tried| Arc::ptr_eq(tried, leave.member())) {
            self.tried.push(Arc::clone(leave.member()));
        }
        if silence.is_some_and(|since| leave.pool().outage().covers(since)) {
            return;
        }
        match charge {
            Charge::Excused => {}
            Charge::Proven => Pool::charge(leave, 1, now),
            Charge::Hearsay | Charge::Doubtful => {
                if charge == Charge::Doubtful && silence.is_none() {
                    // This member was reached, so the corporate proxy lives, and told the truth about others.
                    self.charge_hearsay_but(leave.member(), now);
                }
                self.pending.push(Pending {
                    leave,
                    charge,
                    silence,
                });
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
        let silent = |pending: &&Pending| pending.charge == Charge::Hearsay && pending.silence.is_some();
        let mut silent = self.pending.iter().filter(silent);
        let first = silent.next()?;
        let another = silent.any(|other| !Arc::ptr_eq(first.leave.member(), other.leave.member()));
        first.silence.filter(|_| another)
    }

    /// The request went well through `member`: whoever failed it before is charged.
    pub(crate) fn succeed(&mut self, member: &Arc<Member>, now: Instant) {
        for pending in self.pending.drain(..) {
            let outage = pending.leave.pool().outage();
            let explained = pending.silence.is_some_and(|since| outage.covers(since));
            if !explained && !Arc::ptr_eq(pending.leave.member(), member) {
                Pool::charge(pending.leave, 1, now);
            }
        }
    }

    /// The corporate proxy is down: nobody is charged.
    pub(crate) fn forgive(&mut self) {
        self.pending.clear();
    }

    /// The request failed for good. Members that agree are believed: nobody is charged. One alone is charged
    /// where the corporate proxy told against it, else remembered until enough targets failed through it; but where
    /// only budget or time forbade to ask another member, one alone proves nothing and is remembered by nobody.
    ///
    /// Says whether two members agreed that the target is at fault.
    pub(crate) fn give_up(&mut self, target: &Target, unheard: Unheard, now: Instant) -> bool {
        let agreed = |charge: Charge| {
            let mut members = self
                .pending
                .iter()
                .filter(|pending| pending.charge == charge)
                .map(|pending| pending.leave.member());
            let first = members.next();
            first.is_some_and(|first| members.any(|other| !Arc::ptr_eq(first, other)))
        };
        let (hearsay_agreed, target_agreed) = (agreed(Charge::Hearsay), agreed(Charge::Doubtful));
        let (mut told, mut doubted) = (hearsay_agreed, target_agreed);
        for pending in self.pending.drain(..) {
            let done = if pending.charge == Charge::Hearsay {
                &mut told
            } else {
                &mut doubted
            };
            // A member tried again and again by one request fails once.
            if std::mem::replace(done, true) {
                continue;
            }
            match pending.charge {
                Charge::Hearsay => Pool::charge(pending.leave, 1, now),
                _ if unheard == Unheard::Refused => {}
                _ => Pool::doubt(pending.leave, target, unheard, now),
            }
        }
        target_agreed
    }

    fn charge_hearsay_but(&mut self, member: &Arc<Member>, now: Instant) {
        let settled = |pending: &mut Pending| {
            pending.charge == Charge::Hearsay && !Arc::ptr_eq(pending.leave.member(), member)
        };
        for pending in self.pending.extract_if(.., settled) {
            Pool::charge(pending.leave, 1, now);
        }
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
