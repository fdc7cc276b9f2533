//! The one attempt loop: pick, admit, take or dial, observe, try again.

mod choose;
mod fixed;

use std::sync::Arc;

use choose::Chosen;
use parking_lot::Mutex;
use pcs_models::{Blame, FailureKind, HopName, SessionId};
use pcs_tunnel::{
    Attempt, BoxFuture, Connect, ConnectRequest, Connected, DialError, DialRequest, Dialed, Purpose,
};
use tokio::time::Instant;

use crate::blame::{Charge, Judgement, Next, is_silence};

use crate::events::AttemptReport;
use crate::guard::{Forwarding, MemberGuard};
use crate::in_flight::InFlight;
use crate::inner::{Inner, Plea};
use crate::lane::Lane;
use crate::member::{Dialing, Member};
use crate::pool::Pool;
use crate::registry::{Steered, exhausted};
use crate::trail::{Failure, Handed, Trail, Unheard};
use crate::warm::WarmChains;
use crate::{Pools, WarmConnections};

impl Connect for Pools {
    fn connect<'a>(&'a self, request: &'a mut ConnectRequest) -> BoxFuture<'a, Result<Connected, DialError>> {
        Box::pin(self.inner.connect(request))
    }
}

/// What a dial or a kept stream gave.
struct Found {
    dialed: Dialed,
    reused: bool,
}

/// What came of one attempt through a member.
struct Tried {
    result: Result<Found, DialError>,
    /// Whether the chain was built from the ground up: one that stood before tells nothing new of its first hop.
    fresh: bool,
}

impl Inner {
    async fn connect(self: &Arc<Self>, request: &mut ConnectRequest) -> Result<Connected, DialError> {
        let steered = self.registry.load().steer(request)?;
        let mut trail = recall(request);
        let handed = std::mem::take(&mut trail.handed);
        match (handed, request.attempts.last_mut()) {
            // No attempt at all: only a kept stream that had ended meanwhile.
            (Handed::Stale, _) => _ = request.attempts.pop(),
            (Handed::Failed(kind), Some(last)) => _ = last.failure.get_or_insert((kind, Blame::Target)),
            _ => {}
        }
        let fresh = handed == Handed::Stale;
        match steered {
            Steered::Fixed(way) => self.fixed(way, request, fresh).await,
            Steered::Pool(pool) => self.pooled(&pool, request, trail, fresh).await,
        }
    }

    /// Through a pool, as often as it takes and is allowed.
    async fn pooled(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        request: &mut ConnectRequest,
        mut trail: Trail,
        mut fresh: bool,
    ) -> Result<Connected, DialError> {
        if trail.retries == 0 && !fresh {
            pool.budget.requested(pool.age(Instant::now()));
        }
        let mut last: Option<DialError> = None;
        loop {
            if let Some(pause) = trail.pause.take().filter(|pause| !pause.is_zero()) {
                tokio::time::sleep(pause).await;
            }
            let Some(chosen) = self.choose(pool, request, &mut trail, fresh) else {
                self.give_up(&mut trail, &request.target, Unheard::Nobody, Instant::now());
                return Err(last.unwrap_or_else(|| {
                    exhausted("no usable proxy is left in the pool").in_pool(pool.name().clone())
                }));
            };
            fresh = false;
            request.attempts.push(Attempt {
                via: chosen.via(),
                traffic: chosen.member().counters(),
                failure: None,
            });
            let in_flight = InFlight::begin(chosen.member());
            let Tried { result, fresh: built } = self.attempt(&chosen, request).await;
            let error = match result {
                Ok(found) => {
                    if built {
                        self.corporate_proven(chosen.member(), chosen.began);
                    }
                    return Ok(self.hand_out(pool, chosen, found, in_flight, request, trail));
                }
                Err(error) => error.in_pool(chosen.leave.pool().name().clone()),
            };
            drop(in_flight);
            if error.kind() == FailureKind::BadSession {
                // The client is told before anything was dialled.
                request.attempts.pop();
                return Err(error);
            }
            let judgement = self.judge(&error);
            let began = chosen.began;
            self.note_failure((chosen, built), request, &mut trail, &error, judgement);
            let now = Instant::now();
            let another = judgement.next == Next::Another;
            let plea = Plea {
                charge: judgement.charge,
                kind: error.kind(),
                began,
                deadline: request.deadline,
            };
            trail.pause = another
                .then(|| self.grant(pool, &mut trail, &plea, now))
                .flatten();
            if trail.pause.is_none() {
                let unheard = self.unheard(pool, another);
                let agreed = self.give_up(&mut trail, &request.target, unheard, now);
                let at_target = agreed && error.blame() == Blame::Target;
                return Err(if at_target {
                    error.at(HopName::target())
                } else if is_silence(&error) && self.outage.covers(began) {
                    error.at(HopName::corporate())
                } else {
                    error
                });
            }
            last = Some(error);
        }
    }

    /// One attempt through one member: a kept stream, or a dial.
    async fn attempt(&self, chosen: &Chosen, request: &ConnectRequest) -> Tried {
        let kept = |result| Tried { result, fresh: false };
        let lane = chosen.lane();
        if request.purpose == Purpose::Forward && !chosen.fresh {
            let max_age = self.registry.load().tunnel.idle_for;
            if let Some((stream, form)) =
                lane.idle
                    .take(&request.target, request.session.as_ref(), chosen.began, max_age)
            {
                let timings = Vec::new();
                return kept(Ok(Found {
                    dialed: Dialed {
                        stream,
                        form,
                        timings,
                    },
                    reused: true,
                }));
            }
        }
        if !chosen.fresh
            && let Some(found) = self.finish_warm(lane, request, chosen).await
        {
            return kept(found);
        }
        let dialing = Dialing::begin(chosen.member(), chosen.began);
        let dialed = self.dial(lane, request, chosen.deadline).await;
        if !dialed.as_ref().is_err_and(is_silence) {
            dialing.finish(Instant::now());
        }
        Tried {
            result: dialed.map(|dialed| Found {
                dialed,
                reused: false,
            }),
            fresh: true,
        }
    }

    /// By a chain that stands already, where one does; `None` where a fresh one has to be dialled.
    async fn finish_warm(
        &self,
        lane: &Arc<Lane>,
        request: &ConnectRequest,
        chosen: &Chosen,
    ) -> Option<Result<Found, DialError>> {
        if self.registry.load().tunnel.warm == WarmConnections::Off {
            return None;
        }
        let warm = WarmChains::take(lane, &self.warmth, chosen.began)?;
        let made_up = lane.made_up_session(request);
        let dial = dial_request(request, made_up.as_ref(), chosen.deadline);
        match self.dial.finish(warm, &lane.chain, dial).await {
            Ok(dialed) => {
                self.warmth.count_use();
                // Nothing was said on it yet: if it breaks before an answer it may have been dead before.
                let reused = request.purpose == Purpose::Forward;
                Some(Ok(Found { dialed, reused }))
            }
            Err(error) if error.kind() == FailureKind::Reset => {
                self.warmth.count_stale();
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    async fn dial(
        &self,
        lane: &Lane,
        request: &ConnectRequest,
        deadline: Instant,
    ) -> Result<Dialed, DialError> {
        let made_up = lane.made_up_session(request);
        self.dial
            .dial(&lane.chain, dial_request(request, made_up.as_ref(), deadline))
            .await
    }

    /// The stream goes to the caller.
    fn hand_out(
        self: &Arc<Self>,
        asked: &Arc<Pool>,
        chosen: Chosen,
        found: Found,
        in_flight: InFlight<Member>,
        request: &mut ConnectRequest,
        mut trail: Trail,
    ) -> Connected {
        let now = Instant::now();
        let member = chosen.member();
        let elapsed = now.saturating_duration_since(chosen.began);
        let Found {
            dialed:
                Dialed {
                    stream,
                    form,
                    timings,
                },
            reused,
        } = found;
        if !reused {
            self.corporate_answered(now);
            let number = request.attempts.len();
            let member = Some(member);
            self.events.attempted(&AttemptReport {
                member,
                number,
                elapsed,
                timings: &timings,
                failure: None,
            });
        }
        let pool = Arc::clone(chosen.leave.pool());
        if let Some(session) = request
            .session
            .as_ref()
            .filter(|_| request.purpose == Purpose::Tunnel)
        {
            self.settle_session((session, member.id()), (asked, &pool), &trail, now);
        }
        let (via, traffic) = (chosen.via(), member.counters());
        let lane = Arc::clone(chosen.lane());
        let forwarding = match request.purpose {
            Purpose::Tunnel => {
                trail.succeed(member, &request.target, now);
                Pool::succeeded(chosen.leave, elapsed, now);
                None
            }
            Purpose::Forward => {
                let trail = Arc::new(Mutex::new(trail));
                request.memory = Some(Arc::clone(&trail) as _);
                Some(Forwarding {
                    trail,
                    leave: Some(chosen.leave),
                    asked: request.session.is_some().then(|| Arc::clone(asked)),
                    form: form.clone(),
                    reused,
                    picked_at: chosen.began,
                    patience: chosen.deadline,
                    deadline: request.deadline,
                })
            }
        };
        let outcome = Box::new(MemberGuard {
            inner: Arc::clone(self),
            pool,
            lane,
            in_flight,
            target: request.target.clone(),
            session: request.session.clone(),
            forwarding,
            lied: false,
        });
        Connected {
            stream,
            form,
            via,
            traffic,
            reused,
            timings,
            outcome,
        }
    }

    /// Silence about one member after the other is the corporate proxy's, where nobody heard it meanwhile.
    fn suspect_corporate(&self, trail: &mut Trail, error: &DialError) {
        let hushed = trail.hushed().filter(|_| self.outage.applies());
        if hushed.is_some_and(|since| !self.outage.heard_since(since)) {
            if self.outage.begin() {
                tracing::warn!(%error, "Corporate proxy keeps silent, no rotating proxy is charged meanwhile");
            }
            trail.forgive();
            self.hearsay.forget();
        }
    }

    /// Writes a failed attempt down wherever it counts.
    fn note_failure(
        &self,
        (chosen, fresh): (Chosen, bool),
        request: &mut ConnectRequest,
        trail: &mut Trail,
        error: &DialError,
        judgement: Judgement,
    ) {
        let now = Instant::now();
        let failure = Some((error.kind(), error.blame()));
        if let Some(last) = request.attempts.last_mut() {
            last.failure = failure;
        }
        let member = chosen.member();
        if judgement.charge != Charge::Excused {
            member.traffic().count_failure(error.kind());
        } else if matches!(error.blame(), Blame::Hop(_)) {
            self.corporate_traffic.count_failure(error.kind());
        }
        self.events.attempted(&AttemptReport {
            member: Some(member),
            number: request.attempts.len(),
            elapsed: now.saturating_duration_since(chosen.began),
            timings: error.timings(),
            failure,
        });
        if error.blame() != Blame::Target || error.status().is_none() {
            trail.leave(chosen.member());
        }
        if judgement.outage {
            trail.forgive();
        } else {
            let failure = Failure {
                charge: judgement.charge,
                began: chosen.began,
                silent: is_silence(error),
            };
            if fresh && failure.charge == Charge::Doubtful && !failure.silent {
                // This member was reached, so the corporate proxy lives, and told the truth about others.
                self.corporate_proven(member, chosen.began);
            }
            trail.fail(chosen.leave, &failure, &self.hearsay, now);
            self.suspect_corporate(trail, error);
        }
    }
}

fn dial_request<'a>(
    request: &'a ConnectRequest,
    made_up: Option<&'a SessionId>,
    deadline: Instant,
) -> DialRequest<'a> {
    let session = request.session.as_ref().or(made_up);
    DialRequest {
        target: &request.target,
        purpose: request.purpose,
        session,
        deadline,
    }
}

/// What was remembered of the request when it was here before.
fn recall(request: &mut ConnectRequest) -> Trail {
    let memory = request
        .memory
        .take()
        .and_then(|memory| memory.downcast::<Mutex<Trail>>().ok());
    memory
        .map(|trail| std::mem::take(&mut *trail.lock()))
        .unwrap_or_default()
}
