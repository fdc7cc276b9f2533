//! The one task that runs all checks.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use pcs_models::{FailureKind, PoolName, ProxyId};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::CheckNowError;
use super::roster::{Job, Key, Roster};
use super::spec::{CheckFailure, CheckReport, CheckSpec, Fault, PoolSubjects, Probe, Verdicts};

/// Checks of all pools at once.
const MAX_CHECKS: usize = 512;
/// Pause before checks begin anew after they died.
const RESTART: Duration = Duration::from_secs(5);
/// A check that has not ended by itself so long after its deadline is ended.
const GRACE: Duration = Duration::from_secs(1);

/// A call of [`Checker::check_now`](super::Checker::check_now).
#[derive(Debug)]
pub(super) struct Command {
    pub(super) id: ProxyId,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<Result<CheckReport, CheckNowError>>;

/// What makes the checks of a [`Checker`](super::Checker) happen.
pub struct Driver<P: Probe> {
    probe: Arc<P>,
    verdicts: Arc<dyn Verdicts>,
    rng: SmallRng,
    pools: watch::Receiver<Arc<[PoolSubjects<P::Way>]>>,
    commands: mpsc::Receiver<Command>,
    suspects: mpsc::Receiver<ProxyId>,
    alive: Arc<AtomicBool>,
}

/// What runs and who waits for it.
struct Run<W> {
    roster: Roster<W>,
    tasks: JoinSet<Done>,
    /// Which member a check is of, for the one that panics.
    checking: HashMap<Id, Key>,
    waiters: HashMap<Key, Vec<Reply>>,
}

enum Done {
    Check(Key, Result<Duration, CheckFailure>),
    Corporate(PoolName, bool),
}

impl<P: Probe> Driver<P> {
    pub(super) fn new(
        probe: Arc<P>,
        verdicts: Arc<dyn Verdicts>,
        seed: u64,
        pools: watch::Receiver<Arc<[PoolSubjects<P::Way>]>>,
        commands: mpsc::Receiver<Command>,
        suspects: mpsc::Receiver<ProxyId>,
        alive: Arc<AtomicBool>,
    ) -> Self {
        Self {
            probe,
            verdicts,
            rng: SmallRng::seed_from_u64(seed),
            pools,
            commands,
            suspects,
            alive,
        }
    }

    /// Runs all checks until `shutdown` is there or the last [`Checker`](super::Checker) is gone.
    ///
    /// Where the checks themselves die, [`Verdicts::running`] is told at once, an error is logged, and after five
    /// seconds they begin anew without memory.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends all checks under way, and tells [`Verdicts::running`] that they died.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        loop {
            let guard = Alive::new(Arc::clone(&self.alive), Arc::clone(&self.verdicts));
            let ended = {
                let mut work = pin!(self.work());
                let caught = poll_fn(
                    |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
                        Ok(Poll::Pending) => Poll::Pending,
                        Ok(Poll::Ready(())) => Poll::Ready(true),
                        // The future is never polled again.
                        Err(_) => Poll::Ready(false),
                    },
                );
                tokio::select! {
                    ended = caught => ended,
                    () = shutdown.as_mut() => true,
                }
            };
            if ended {
                return guard.ends_well();
            }
            drop(guard);
            tracing::error!("Health checks died, health is left out of selection until they run again");
            tokio::select! {
                () = sleep(RESTART) => self.pools.mark_changed(),
                () = shutdown.as_mut() => return,
            }
        }
    }

    async fn work(&mut self) {
        let mut run = Run {
            roster: Roster::new(),
            tasks: JoinSet::new(),
            checking: HashMap::new(),
            waiters: HashMap::new(),
        };
        self.pools.mark_changed();
        loop {
            self.begin_due(&mut run);
            let due = run
                .roster
                .next_due()
                .filter(|_| run.tasks.len() < MAX_CHECKS)
                .map(Instant::from_std);
            let due = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // In this order: who calls for a check right after an update finds the member, and a flood of
                // suspects holds nothing up.
                biased;
                changed = self.pools.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let pools = Arc::clone(&self.pools.borrow_and_update());
                    let now = Instant::now().into_std();
                    run.roster.update(&pools, now, &mut self.rng, &*self.verdicts);
                    // Whoever waits for a member that is gone waits no longer.
                    run.waiters.retain(|key, _| run.roster.is_there(*key));
                }
                Some(command) = self.commands.recv() => self.check_now(&mut run, command),
                Some(done) = run.tasks.join_next_with_id() => self.take(&mut run, done),
                () = due => {}
                Some(id) = self.suspects.recv() => run.roster.suspect(&id, Instant::now().into_std()),
            }
        }
    }

    /// Begins every check that is due and has room.
    fn begin_due(&self, run: &mut Run<P::Way>) {
        let now = Instant::now().into_std();
        while run.tasks.len() < MAX_CHECKS
            && let Some(job) = run.roster.begin(now, &*self.verdicts)
        {
            self.begin(run, job);
        }
        while let Some(name) = run.roster.asks.pop_front() {
            let probe = Arc::clone(&self.probe);
            let Some((way, timeout)) = run.roster.way_of_one_behind_corporate(&name) else {
                // Nobody stands behind it any more: it is not to blame.
                run.roster.corporate_answered(&name, true, now, &*self.verdicts);
                continue;
            };
            let deadline = Instant::now() + timeout;
            run.tasks.spawn(async move {
                let works = timeout_at(deadline + GRACE, probe.corporate_works(&way, deadline)).await;
                Done::Corporate(name, works.unwrap_or(false))
            });
        }
    }

    fn begin(&self, run: &mut Run<P::Way>, job: Job<P::Way>) {
        let probe = Arc::clone(&self.probe);
        let Job { key, way, spec } = job;
        let task = run.tasks.spawn(async move {
            let deadline = Instant::now() + spec.timeout;
            let result = timeout_at(deadline + GRACE, probe.check(&way, &spec, deadline)).await;
            Done::Check(key, result.unwrap_or_else(|_| Err(overran(&spec))))
        });
        run.checking.insert(task.id(), key);
    }

    fn check_now(&self, run: &mut Run<P::Way>, Command { id, reply }: Command) {
        let Some(key) = run.roster.key_of(&id) else {
            _ = reply.send(Err(CheckNowError::Unknown));
            return;
        };
        run.waiters.entry(key).or_default().push(reply);
        if let Some(job) = run.roster.force(key, Instant::now().into_std()) {
            self.begin(run, job);
        }
    }

    fn take(&mut self, run: &mut Run<P::Way>, done: Result<(Id, Done), JoinError>) {
        let now = Instant::now().into_std();
        let (id, done) = match done {
            Ok((id, done)) => (id, Some(done)),
            Err(error) => {
                tracing::error!(%error, "Health check died");
                (error.id(), None)
            }
        };
        let checked = run.checking.remove(&id);
        let (key, result) = match (done, checked) {
            (Some(Done::Check(key, result)), _) => (key, result),
            (None, Some(key)) => (key, Err(died())),
            (Some(Done::Corporate(name, works)), _) => {
                return run.roster.corporate_answered(&name, works, now, &*self.verdicts);
            }
            // Who asked the corporate proxy died: nothing is known, nobody is marked.
            (None, None) => return run.roster.close_questions(&*self.verdicts),
        };
        let report = run
            .roster
            .finish(key, result, now, &mut self.rng, &*self.verdicts);
        for waiter in run.waiters.remove(&key).unwrap_or_default() {
            _ = waiter.send(report.clone().ok_or(CheckNowError::Unknown));
        }
    }
}

fn overran(spec: &CheckSpec) -> CheckFailure {
    let fault = if spec.method.reaches_target() {
        Fault::Target
    } else {
        Fault::Member
    };
    CheckFailure::new(FailureKind::Timeout, fault, "the check did not end in time")
}

fn died() -> CheckFailure {
    CheckFailure::new(
        FailureKind::Local,
        Fault::Ours,
        "the check ended by a fault of ours",
    )
}

impl<P: Probe> fmt::Debug for Driver<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}

/// Tells that checks run, and when it is dropped before they ended well, that they died.
struct Alive {
    alive: Arc<AtomicBool>,
    verdicts: Arc<dyn Verdicts>,
}

impl Alive {
    fn new(alive: Arc<AtomicBool>, verdicts: Arc<dyn Verdicts>) -> Self {
        alive.store(true, Ordering::Relaxed);
        verdicts.running(true);
        Self { alive, verdicts }
    }

    /// At shutdown the last verdicts serve until the end.
    fn ends_well(self) {
        self.alive.store(false, Ordering::Relaxed);
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.alive.swap(false, Ordering::Relaxed) {
            self.verdicts.running(false);
        }
    }
}
