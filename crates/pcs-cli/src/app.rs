//! The server from its bound ports to its last drained connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pcs_config::{Config, Loaded, Sources};
use pcs_health::ChainProbe;
use pcs_health::checker::Driver;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::args::ConfigArgs;
use crate::core::{Core, Place, announce};
use crate::desks::{BoundDesks, Which};
use crate::front::{Bound, FrontDoor};
use crate::logging::Logs;
use crate::signals::{self, Signal, Signals};
use crate::watch::Watched;
use crate::{Exit, complain, limits, memory, service, setup};

/// How long calls of the admin API may take to end.
const DESKS_CLOSE: Duration = Duration::from_secs(2);

/// Front doors that a reload opened and the run loop has not taken over yet.
const DOORS_PENDING: usize = 4;

/// Runs `pcs run`.
///
/// # Errors
///
/// A configuration that does not load, a port in use, a worker that fails.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<Exit> {
    let sources = setup::sources(args);
    let loaded = setup::load_from(&sources)?;
    let logs = Logs::install(
        &loaded.config.logging,
        sources.env.get("RUST_LOG").map(String::as_str),
    )?;
    let stopped = control_runtime()?.block_on(async {
        let signals = signals::listen().context("taking over signals")?;
        App::build(&loaded, Some(sources), Some(logs))?.run(signals).await
    })?;
    if stopped.cut > 0 {
        complain(&format!(
            "pcs: {} connections were cut before they had ended",
            stopped.cut
        ));
    }
    Ok(Exit::Success)
}

/// The runtime of everything that is not traffic: signals, health checks, admin API, metrics, reloads.
pub(crate) fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the control runtime")
}

/// A server whose ports are bound and not yet served.
pub(crate) struct App {
    core: Arc<Core>,
    front: Bound,
    doors: mpsc::Receiver<FrontDoor>,
    checker: Driver<ChainProbe>,
    desks: BoundDesks,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("proxy", &self.front.address())
            .finish_non_exhaustive()
    }
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// Connections that were cut when the grace period ended, or by a second signal.
    pub(crate) cut: usize,
}

impl App {
    /// Wires everything and binds the ports. With `sources` the configuration can be read again.
    ///
    /// # Errors
    ///
    /// A port in use, a state file that cannot be read.
    pub(crate) fn build(
        loaded: &Loaded,
        sources: Option<Sources>,
        logs: Option<Logs>,
    ) -> anyhow::Result<Self> {
        let config = &loaded.config;
        for warning in &loaded.warnings {
            tracing::warn!(event = "configuration", %warning);
        }
        greet(config);
        limits::check_open_files(limits::raise_open_files(), config.server.max_connections);
        let front = Bound::bind(config.server.listen, &[])?;
        let both = Which {
            admin: true,
            metrics: true,
        };
        let desks = BoundDesks::bind(config, both, &[])?;
        let (opened, doors) = mpsc::channel(DOORS_PENDING);
        let (core, checker) = Core::new(config, sources, logs, opened)?;
        core.listens(Place::Proxy, Some(front.address()));
        core.watch(loaded.watched.clone(), &Watched::default());
        Ok(Self {
            core,
            front,
            doors,
            checker,
            desks,
        })
    }

    /// Where the proxy port listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Where the admin API listens, if it does.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.desks.admin_address()
    }

    /// Serves until a signal says stop, then drains.
    ///
    /// # Errors
    ///
    /// A worker that ended by itself.
    pub(crate) async fn run(self, mut signals: Signals) -> anyhow::Result<Stopped> {
        let Self {
            core,
            front,
            mut doors,
            checker,
            desks,
        } = self;
        let mut door = front.serve(&core.shared, &core.pools)?;
        announce(Place::Proxy, door.address());
        let config = core.config.load_full();
        core.open_desks(
            desks,
            &config,
            Which {
                admin: true,
                metrics: true,
            },
        );
        let mut tasks = JoinSet::new();
        let pools = core.pools.clone();
        tasks.spawn(async move { pools.maintain().await });
        // Ended by its own signal: checks that are dropped count as dead, and that is an error in the log.
        let checks_end = CancellationToken::new();
        let mut checks = JoinSet::new();
        checks.spawn(checker.run(checks_end.clone().cancelled_owned()));
        let mut reloads = JoinSet::new();
        let mut retired: Vec<FrontDoor> = Vec::new();
        let watching = Arc::clone(&core);
        tasks.spawn(async move { watching.watch_files().await });
        let ebbing = Arc::clone(&core);
        tasks.spawn(async move { memory::watch(&ebbing).await });
        tracing::info!(event = "ready");
        service::ready();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break,
                    Signal::Reload => {
                        let core = Arc::clone(&core);
                        reloads.spawn(async move { core.reload_and_log("SIGHUP").await });
                    }
                },
                Some(new) = doors.recv() => {
                    // The new listener is open; what the old one carries lives on.
                    announce(Place::Proxy, new.address());
                    door.drain(None);
                    retired.push(std::mem::replace(&mut door, new));
                }
                ended = door.ended() => {
                    ended?;
                    anyhow::bail!("the proxy port is no longer served");
                }
                Some(_) = reloads.join_next() => {}
                Some(ended) = checks.join_next() => {
                    ended.context("the health checks failed")?;
                    anyhow::bail!("the health checks ended by themselves");
                }
                Some(ended) = tasks.join_next() => {
                    ended.context("a task of the server failed")?;
                    anyhow::bail!("a task of the server ended by itself");
                }
            }
        }
        retired.push(door);
        service::stopping();
        let cut = drain(&core, &mut retired, &mut signals).await?;
        reloads.shutdown().await;
        checks_end.cancel();
        // Whatever is left after the time is dropped with the set.
        let _ = timeout(DESKS_CLOSE, checks.join_next()).await;
        tasks.shutdown().await;
        // Last, so that the drain can be watched.
        if timeout(DESKS_CLOSE, core.close_desks()).await.is_err() {
            tracing::warn!(event = "drain_cut", "A call of the admin API did not end in time");
        }
        tracing::info!(event = "stopped", cut);
        Ok(Stopped { cut })
    }
}

/// Closes the listeners and waits for connections to end, at most for the grace period. A second signal ends it.
async fn drain(core: &Core, doors: &mut [FrontDoor], signals: &mut Signals) -> anyhow::Result<usize> {
    let grace = core.config.load().server.shutdown_grace;
    tracing::info!(
        event = "draining",
        grace_seconds = grace.as_secs_f64(),
        connections = core.shared.active_connections()
    );
    let deadline = Instant::now() + grace.min(Duration::from_secs(86_400));
    doors.iter().for_each(|door| door.drain(Some(deadline)));
    core.pools.close_idle();
    let (mut cut, mut hurried) = (0, false);
    for index in 0..doors.len() {
        loop {
            let ended = tokio::select! {
                ended = doors[index].ended() => Some(ended?),
                signal = signals.next() => {
                    if signal == Signal::Stop {
                        hurried = true;
                        doors.iter().for_each(FrontDoor::close);
                    }
                    None
                }
            };
            if let Some(count) = ended {
                cut += count;
                break;
            }
        }
    }
    if cut > 0 {
        let reason = if hurried {
            "A second signal came"
        } else {
            "The grace period ended"
        };
        tracing::warn!(
            event = "drain_cut",
            connections = cut,
            "{reason} before the last connection had ended"
        );
    }
    Ok(cut)
}

fn greet(config: &Config) {
    if config.plain_mode {
        tracing::warn!(
            event = "plain_mode",
            "No corporate proxy and no rotating proxy is configured: requests go straight to their targets"
        );
    }
}
