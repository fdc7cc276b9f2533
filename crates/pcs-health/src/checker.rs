//! Active checks: members are tested through their own chain on a schedule, and mass failures are doubted first.
//!
//! One task with one timer heap serves all pools: a member that waits for its check costs one entry, not a task.
//!
//! - The first check of a member is due at once; many new ones are spread 10 ms apart over at most an interval.
//! - Intervals vary by 10 %. Members whose checks go well five times in a row are checked every 1.5 intervals, after
//!   ten every 2; members with an open streak of failures, or on their way back, four times as often. Unhealthy
//!   ones keep the plain interval.
//! - Traffic counts: a due check is put off to twice the interval after the last one where requests succeeded since
//!   and none failed; a failed request asks for a check at once ([`Checker::suspect`]).
//! - Verdicts have hysteresis ([`crate::flip`]).
//! - A mass failure, more than half of a pool's usable members in one round, is questioned: failures are held back,
//!   the corporate proxy is asked first. If it is down, what failed since is forgotten. Then `test_url`: if members
//!   failed at the target and nobody at all still reaches it, it is the suspect and the members stay. What then
//!   remains is believed.
//! - Failures that are the corporate proxy's or our own never count.
//!
//! Start with [`Checker::new`], spawn [`Driver::run`] where somebody awaits it, and call [`Checker::update`]
//! whenever members change.

mod driver;
mod entry;
mod question;
mod roster;
mod schedule;
mod spec;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pcs_models::ProxyId;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

pub use driver::Driver;
pub use spec::{
    CheckFailure, CheckReport, CheckSpec, Fault, Method, PoolSubjects, Probe, Seen, Subject, TestUrl,
    Verdicts,
};

use driver::Command;

/// Suspects that wait to be looked at; more are dropped, since their next check comes anyway.
const SUSPECTS: usize = 1024;
/// Calls of [`Checker::check_now`] that wait to be begun; more wait at the door.
const COMMANDS: usize = 64;

/// The handle to the checks of all pools. Cheap to share by `Arc`.
#[derive(Debug)]
pub struct Checker<W> {
    pools: watch::Sender<Arc<[PoolSubjects<W>]>>,
    commands: mpsc::Sender<Command>,
    suspects: mpsc::Sender<ProxyId>,
    alive: Arc<AtomicBool>,
}

/// Why a check was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckNowError {
    /// No member has this id.
    #[error("no proxy has this id")]
    Unknown,
    /// The checker does not run (any more).
    #[error("health checks do not run")]
    Stopped,
}

impl<W: Clone + Send + Sync + 'static> Checker<W> {
    /// A checker without members, and the driver that has to run for anything to happen. `seed` starts the jitter.
    #[must_use]
    pub fn new<P: Probe<Way = W>>(
        probe: Arc<P>,
        verdicts: Arc<dyn Verdicts>,
        seed: u64,
    ) -> (Self, Driver<P>) {
        let (pools, pools_seen) = watch::channel(Arc::from(Vec::new()));
        let (commands, commands_in) = mpsc::channel(COMMANDS);
        let (suspects, suspects_in) = mpsc::channel(SUSPECTS);
        let alive = Arc::new(AtomicBool::new(false));
        let driver = Driver::new(
            probe,
            verdicts,
            seed,
            pools_seen,
            commands_in,
            suspects_in,
            Arc::clone(&alive),
        );
        (
            Self {
                pools,
                commands,
                suspects,
                alive,
            },
            driver,
        )
    }

    /// Tells the members of all pools from now on. Those known already, by serial number, keep their history.
    pub fn update(&self, pools: Vec<PoolSubjects<W>>) {
        self.pools.send_replace(pools.into());
    }

    /// Tells that a request failed by this member: it is checked soon. Never waits; costs one queue entry.
    pub fn suspect(&self, id: &ProxyId) {
        // A full queue means that many are looked at already.
        _ = self.suspects.try_send(id.clone());
    }

    /// Checks one member now, scheduled or not, or waits for the check of it that is under way.
    ///
    /// # Errors
    ///
    /// [`CheckNowError`] where there is nobody to check or to be checked.
    ///
    /// # Cancel safety
    ///
    /// The check goes on and counts.
    pub async fn check_now(&self, id: &ProxyId) -> Result<CheckReport, CheckNowError> {
        let (reply, answer) = oneshot::channel();
        let command = Command {
            id: id.clone(),
            reply,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| CheckNowError::Stopped)?;
        answer.await.map_err(|_| CheckNowError::Stopped)?
    }

    /// Whether the driver runs: while it does not, nobody's verdict should be believed.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // Relaxed: for display.
        self.alive.load(Ordering::Relaxed)
    }
}
