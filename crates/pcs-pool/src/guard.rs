//! What becomes of a stream that was handed out.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pcs_models::{Blame, FailureKind, SessionId, Target, Traffic};
use pcs_tunnel::{ChainStream, DialError, Form, Outcome, Verdict};
use tokio::time::Instant;

use crate::blame::{Charge, Judgement, Next};
use crate::idle::ReuseKey;
use crate::in_flight::InFlight;
use crate::inner::{Inner, Plea};
use crate::lane::Lane;
use crate::leave::Leave;
use crate::member::Member;
use crate::pool::Pool;
use crate::registry::Way;
use crate::trail::{Failure, Handed, Trail};

/// Nobody but the member asks for proxy credentials.
const UNWELCOME: Judgement = Judgement {
    charge: Charge::Proven,
    next: Next::Another,
    outage: false,
};

/// The way back from a stream through a member.
pub(crate) struct MemberGuard {
    pub(crate) inner: Arc<Inner>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) in_flight: InFlight<Member>,
    pub(crate) target: Target,
    pub(crate) session: Option<SessionId>,
    /// For plain HTTP: success is an answer, and until then another attempt may follow. A tunnel went well when
    /// its chain stood.
    pub(crate) forwarding: Option<Forwarding>,
    /// Whether this tunnel was told to have died before a byte came down.
    pub(crate) lied: bool,
}

/// What a plain-HTTP stream needs to be judged.
pub(crate) struct Forwarding {
    /// The request's memory, shared with the request itself.
    pub(crate) trail: Arc<Mutex<Trail>>,
    /// Taken by the first word on how the request went.
    pub(crate) leave: Option<Leave>,
    /// For a request of a session: the pool that it asked for.
    pub(crate) asked: Option<Arc<Pool>>,
    pub(crate) form: Form,
    pub(crate) reused: bool,
    pub(crate) picked_at: Instant,
    /// When the answer should be there, so that another member has time left.
    pub(crate) patience: Instant,
    pub(crate) deadline: Instant,
}

impl MemberGuard {
    fn member(&self) -> &Arc<Member> {
        self.in_flight.owner()
    }

    /// One request over the stream failed: charges what can be charged, and asks for another attempt.
    fn fail(&mut self, kind: FailureKind, judgement: Judgement, replayable: bool, now: Instant) -> Verdict {
        let Some(forwarding) = &mut self.forwarding else {
            return Verdict::Pass;
        };
        let Some(leave) = forwarding.leave.take() else {
            return Verdict::Pass;
        };
        if judgement.charge != Charge::Excused {
            leave.member().traffic().count_failure(kind);
        }
        let mut trail = forwarding.trail.lock();
        if kind != FailureKind::Status {
            trail.leave(leave.member());
        }
        let failure = Failure {
            charge: judgement.charge,
            began: forwarding.picked_at,
            silent: kind == FailureKind::Timeout,
        };
        trail.fail(leave, &failure, &self.inner.hearsay, now);
        let another = replayable && judgement.next == Next::Another;
        let (began, deadline) = (forwarding.picked_at, forwarding.deadline);
        let plea = Plea {
            charge: judgement.charge,
            kind,
            began,
            deadline,
        };
        match another
            .then(|| self.inner.grant(&self.pool, &mut trail, &plea, now))
            .flatten()
        {
            Some(pause) => {
                trail.hand_back(Handed::Failed(kind), &self.target);
                trail.pause = Some(pause);
                Verdict::Retry
            }
            None => {
                let unheard = self.inner.unheard(&self.pool, another);
                self.inner.give_up(&mut trail, &self.target, unheard, now);
                Verdict::Pass
            }
        }
    }
}

impl Outcome for MemberGuard {
    fn response(&mut self, status: u16, replayable: bool) -> Verdict {
        let now = Instant::now();
        let Some(forwarding) = &mut self.forwarding else {
            return Verdict::Pass;
        };
        let listed = self.inner.registry.load().retry.retry_on_status.contains(&status);
        if forwarding.leave.is_none() {
            // A stream that is pinned to its client serves one request after the other under one guard.
            self.member().traffic().count_repeat(!listed);
            return Verdict::Pass;
        }
        if status == 407 && matches!(forwarding.form, Form::Absolute { .. }) {
            return self.fail(FailureKind::Auth, UNWELCOME, replayable, now);
        }
        if listed {
            let judgement = Judgement {
                charge: Charge::Doubtful,
                next: Next::Another,
                outage: false,
            };
            return self.fail(FailureKind::Status, judgement, replayable, now);
        }
        if let Some(leave) = forwarding.leave.take() {
            let member = Arc::clone(leave.member());
            member.lies.clear();
            Pool::succeeded(leave, now.saturating_duration_since(forwarding.picked_at), now);
            let mut trail = forwarding.trail.lock();
            if let (Some(session), Some(asked)) = (&self.session, &forwarding.asked) {
                self.inner
                    .settle_session((session, member.id()), (asked, &self.pool), &trail, now);
            }
            trail.succeed(&member, &self.target, now);
        }
        Verdict::Pass
    }

    fn failed(&mut self, error: &DialError) -> Verdict {
        let now = Instant::now();
        let Some(forwarding) = &mut self.forwarding else {
            let ours = matches!(error.blame(), Blame::Client | Blame::Local);
            if !ours && !std::mem::replace(&mut self.lied, true) {
                self.pool.lied(self.member(), &self.target, now);
            }
            return Verdict::Pass;
        };
        if forwarding.leave.is_none() {
            return Verdict::Pass;
        }
        if forwarding.reused && error.kind() == FailureKind::Reset && now < forwarding.deadline {
            forwarding.leave = None;
            let mut trail = forwarding.trail.lock();
            trail.again = Some(self.in_flight.owner().id().clone());
            trail.hand_back(Handed::Stale, &self.target);
            return Verdict::Retry;
        }
        let judgement = match error.kind() {
            FailureKind::Auth => {
                // It changed its mind about credentials: the next dial asks anew.
                self.lane.chain.forget_login();
                UNWELCOME
            }
            _ => self.inner.judge(error),
        };
        self.fail(error.kind(), judgement, true, now)
    }

    fn patience(&self) -> Option<Instant> {
        let forwarding = self.forwarding.as_ref()?;
        (forwarding.patience < forwarding.deadline).then_some(forwarding.patience)
    }

    fn moved(&mut self, up: u64, down: u64) {
        self.member().traffic().count_bytes(up, down);
        if down > 0 {
            self.member().lies.clear();
        }
    }

    fn park(self: Box<Self>, stream: ChainStream) {
        let Some(forwarding) = &self.forwarding else {
            return;
        };
        let key = ReuseKey::of(&forwarding.form, &self.target, self.session.as_ref());
        let settings = self.inner.registry.load().tunnel;
        self.lane
            .park(key, stream, forwarding.form.clone(), Instant::now(), &settings);
    }
}

impl Drop for MemberGuard {
    fn drop(&mut self) {
        // A session is in use for as long as its tunnels are.
        if let Some(session) = &self.session {
            self.pool
                .snapshot()
                .sticky()
                .touch(session, self.member().id(), Instant::now());
        }
    }
}

/// The way back from a stream that leads through no member.
pub(crate) struct FixedGuard {
    pub(crate) inner: Arc<Inner>,
    pub(crate) way: Way,
    pub(crate) in_flight: InFlight<Traffic>,
    pub(crate) target: Target,
    pub(crate) session: Option<SessionId>,
    pub(crate) trail: Option<Arc<Mutex<Trail>>>,
    pub(crate) form: Form,
    pub(crate) reused: bool,
    pub(crate) latency: Duration,
    pub(crate) judged: bool,
}

impl Outcome for FixedGuard {
    fn response(&mut self, _status: u16, _replayable: bool) -> Verdict {
        if self.trail.is_some() && !std::mem::replace(&mut self.judged, true) {
            self.in_flight.owner().count_success(self.latency);
        }
        Verdict::Pass
    }

    fn failed(&mut self, error: &DialError) -> Verdict {
        let Some(trail) = &self.trail else {
            return Verdict::Pass;
        };
        if std::mem::replace(&mut self.judged, true) {
            return Verdict::Pass;
        }
        if self.reused && error.kind() == FailureKind::Reset {
            trail.lock().hand_back(Handed::Stale, &self.target);
            return Verdict::Retry;
        }
        if error.kind() == FailureKind::Auth {
            self.way.lane.chain.forget_login();
        }
        self.in_flight.owner().count_failure(error.kind());
        Verdict::Pass
    }

    fn moved(&mut self, up: u64, down: u64) {
        self.in_flight.owner().count_bytes(up, down);
    }

    fn park(self: Box<Self>, stream: ChainStream) {
        let key = ReuseKey::of(&self.form, &self.target, self.session.as_ref());
        let settings = self.inner.registry.load().tunnel;
        self.way
            .lane
            .park(key, stream, self.form.clone(), Instant::now(), &settings);
    }
}
