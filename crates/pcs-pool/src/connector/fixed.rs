//! Ways without a rotating proxy.

use std::sync::Arc;

use parking_lot::Mutex;
use pcs_tunnel::{Attempt, ConnectRequest, Connected, DialError, Dialed, Purpose, Via};
use tokio::time::Instant;

use super::Found;
use crate::events::AttemptReport;
use crate::guard::FixedGuard;
use crate::in_flight::InFlight;
use crate::inner::Inner;
use crate::registry::Way;
use crate::trail::Trail;

impl Inner {
    /// Straight to the target or through the corporate proxy alone: one way, so one attempt.
    pub(super) async fn fixed(
        self: &Arc<Self>,
        way: Way,
        request: &mut ConnectRequest,
        fresh: bool,
    ) -> Result<Connected, DialError> {
        let began = Instant::now();
        request.attempts.push(Attempt {
            via: way.via.clone(),
            traffic: Arc::clone(&way.traffic),
            failure: None,
        });
        let in_flight = InFlight::begin(&way.traffic);
        let found = self.found(&way, request, began, fresh).await;
        let latency = Instant::now().saturating_duration_since(began);
        let number = request.attempts.len();
        let (timings, failure, reused) = match &found {
            Ok(found) => (&found.dialed.timings[..], None, found.reused),
            Err(error) => (error.timings(), Some((error.kind(), error.blame())), false),
        };
        if !reused {
            self.events.attempted(&AttemptReport {
                member: None,
                number,
                elapsed: latency,
                timings,
                failure,
            });
        }
        if let Some(last) = request.attempts.last_mut() {
            last.failure = failure;
        }
        let corporate = way.via == Via::Corporate;
        let Found {
            dialed:
                Dialed {
                    stream,
                    form,
                    timings,
                },
            reused,
        } = found.inspect_err(|error| {
            way.traffic.count_failure(error.kind());
            if corporate {
                self.judge(error);
            }
        })?;
        if corporate && !reused {
            self.corporate_answered(Instant::now());
        }
        // A tunnel went well when its chain stood; a plain request when it is answered.
        let trail = (request.purpose == Purpose::Forward).then(|| Arc::new(Mutex::new(Trail::default())));
        request.memory = trail.as_ref().map(|trail| Arc::clone(trail) as _);
        if trail.is_none() {
            way.traffic.count_success(latency);
        }
        let (via, traffic) = (way.via.clone(), Arc::clone(&way.traffic));
        let outcome = Box::new(FixedGuard {
            inner: Arc::clone(self),
            way,
            in_flight,
            target: request.target.clone(),
            session: request.session.clone(),
            trail,
            form: form.clone(),
            reused,
            latency,
            judged: false,
        });
        Ok(Connected {
            stream,
            form,
            via,
            traffic,
            reused,
            timings,
            outcome,
        })
    }

    /// A kept stream, or a dial.
    async fn found(
        &self,
        way: &Way,
        request: &ConnectRequest,
        now: Instant,
        fresh: bool,
    ) -> Result<Found, DialError> {
        if request.purpose == Purpose::Forward && !fresh {
            let max_age = self.registry.load().tunnel.idle_for;
            let kept = way
                .lane
                .idle
                .take(&request.target, request.session.as_ref(), now, max_age);
            if let Some((stream, form)) = kept {
                return Ok(Found {
                    dialed: Dialed {
                        stream,
                        form,
                        timings: Vec::new(),
                    },
                    reused: true,
                });
            }
        }
        let dialed = self.dial(&way.lane, request, request.deadline).await?;
        Ok(Found {
            dialed,
            reused: false,
        })
    }
}
