//! What lives as long as the server: the pools, the way out, the front door's settings, the configuration in force.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;

use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_admin::{ControlError, Feed, Gate, Metrics};
use pcs_config::{Config, Sources};
use pcs_health::ChainProbe;
use pcs_health::checker::Driver;
use pcs_pool::{ChangeError, Pools};
use pcs_server::Shared;
use pcs_tunnel::{
    BoxFuture, ChainConnector, Dial, DialError, DialRequest, Dialed, Network, OwnListeners, PreparedChain,
    WarmStream,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::control;
use crate::desks::Desks;
use crate::front::FrontDoor;
use crate::health::{self, Checks};
use crate::logging::Logs;
use crate::observe::{Observer, Watcher};
use crate::overlay::StateFile;
use crate::watch::Watched;
use crate::wiring;

/// The heart of a running server. Shared by the front door, the admin API, the health checks and reloads.
pub(crate) struct Core {
    pub(crate) pools: Pools,
    pub(crate) checks: Arc<Checks>,
    pub(crate) shared: Arc<Shared>,
    dial: Arc<SwitchDial>,
    probe: Arc<ChainProbe>,
    /// Everything we listen on: never dialled.
    own: OwnListeners,
    listening: Mutex<[Option<SocketAddr>; Place::COUNT]>,
    pub(crate) config: ArcSwap<Config>,
    /// Where the configuration is read again from; `None` for a server that was handed a finished one.
    pub(crate) sources: Option<Sources>,
    pub(crate) state: Option<StateFile>,
    pub(crate) logs: Option<Logs>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) feed: Feed,
    /// Who may use the admin API.
    pub(crate) gate: Arc<ArcSwap<Gate>>,
    last_reload_ok: AtomicBool,
    watched: Mutex<Watched>,
    /// The state file is written by one change at a time.
    saving: Semaphore,
    /// Admin API and metrics.
    pub(crate) desks: Desks,
    /// Reloads happen one at a time.
    pub(crate) reloading: Semaphore,
    /// Front doors that a reload opened, for the run loop.
    pub(crate) doors: mpsc::Sender<FrontDoor>,
}

impl Core {
    /// Wires the rooms together. Opens nothing.
    ///
    /// # Errors
    ///
    /// A state file that cannot be read, or settings that do not fit together.
    pub(crate) fn new(
        config: &Config,
        sources: Option<Sources>,
        logs: Option<Logs>,
        doors: mpsc::Sender<FrontDoor>,
    ) -> anyhow::Result<(Arc<Self>, Driver<ChainProbe>)> {
        let own = OwnListeners::default();
        let network = network(config, &own);
        let dial = Arc::new(SwitchDial::new(config, &network));
        let state = config.admin.state_file.clone().map(StateFile::new);
        let overlay = state
            .as_ref()
            .map(StateFile::load)
            .transpose()?
            .unwrap_or_default();
        let kept = overlay.clone();
        let metrics = Metrics::new(config.metrics.max_proxy_series, Instant::now().into_std());
        let metrics = Arc::new(metrics.begun_at(wall_time()));
        let feed = Feed::default();
        let gate = Arc::new(ArcSwap::from_pointee(wiring::gate(&config.admin)));
        let watcher = Arc::new(Watcher::new(Arc::clone(&metrics), feed.clone()));
        let pools = Pools::new(
            wiring::pools(config),
            overlay,
            Arc::<SwitchDial>::clone(&dial),
            Arc::<Watcher>::clone(&watcher),
        )
        .context("the configuration and admin.state_file do not fit together")?;
        // Changes whose entry was edited meanwhile have lost their ground, and are not to come back with it.
        if let Some(state) = state.as_ref().filter(|_| pools.overlay() != kept)
            && let Err(error) = state.save(&pools.overlay())
        {
            tracing::error!(event = "state_file", error = format!("{error:#}"));
        }
        let probe = Arc::new(ChainProbe::new(Arc::<SwitchDial>::clone(&dial), network));
        let (checks, driver) = health::checks(&probe, &pools);
        let checks = Arc::new(checks);
        watcher.tell(Arc::clone(&checks));
        health::follow(&checks, &pools, config);
        let observer = Observer::new(logs.as_ref(), Arc::clone(&metrics));
        let shared = Shared::new(
            wiring::server(&config.server),
            Arc::new(pools.clone()),
            Arc::new(observer),
        );
        let config = ArcSwap::from_pointee(config.clone());
        let core = Self {
            pools,
            checks,
            shared,
            dial,
            probe,
            own,
            config,
            sources,
            state,
            logs,
            metrics,
            feed,
            gate,
            last_reload_ok: AtomicBool::new(true),
            watched: Mutex::default(),
            saving: Semaphore::new(1),
            desks: Desks::default(),
            listening: Mutex::default(),
            reloading: Semaphore::new(1),
            doors,
        };
        Ok((Arc::new(core), driver))
    }

    /// Makes a change of the admin API, and keeps it: it is answered once it is in the state file.
    pub(crate) async fn changed<T>(
        &self,
        change: impl FnOnce(&Pools) -> Result<T, ChangeError>,
    ) -> Result<T, ControlError> {
        let Ok(_one_at_a_time) = self.saving.acquire().await else {
            return Err(ControlError::Failed("the server is stopping".to_owned()));
        };
        let changed = change(&self.pools).map_err(control::refused)?;
        self.members_changed(&self.config.load());
        self.save().await.map_err(|error| {
            ControlError::Failed(format!(
                "the change is in force, but will not outlive a restart: {error:#}"
            ))
        })?;
        Ok(changed)
    }

    /// Writes the state file, where there is one.
    async fn save(&self) -> anyhow::Result<()> {
        let Some(state) = self.state.clone() else {
            return Ok(());
        };
        let overlay = self.pools.overlay();
        tokio::task::spawn_blocking(move || state.save(&overlay))
            .await
            .context("writing the state file")?
    }

    /// A reload may have dropped changes that lost their ground.
    pub(crate) async fn save_after_reload(&self) {
        let Ok(_one_at_a_time) = self.saving.acquire().await else {
            return;
        };
        if let Err(error) = self.save().await {
            tracing::error!(event = "state_file", error = format!("{error:#}"));
        }
    }

    /// The files whose change is a change of the configuration.
    pub(crate) fn watched(&self) -> Watched {
        self.watched.lock().clone()
    }

    /// These files were read; `before` is how they looked before that.
    pub(crate) fn watch(&self, files: Vec<PathBuf>, before: &Watched) {
        *self.watched.lock() = Watched::new(files, before);
    }

    pub(crate) fn last_reload_ok(&self) -> bool {
        // Relaxed: for display.
        self.last_reload_ok.load(Relaxed)
    }

    pub(crate) fn note_reload(&self, ok: bool) {
        self.last_reload_ok.store(ok, Relaxed);
    }

    /// Members came, went or changed: the health checks follow.
    pub(crate) fn members_changed(&self, config: &Config) {
        health::follow(&self.checks, &self.pools, config);
    }

    /// Dials and checks by another configuration from now on.
    pub(crate) fn switch_network(&self, config: &Config) {
        let network = network(config, &self.own);
        self.dial.switch(config, &network);
        self.probe.use_network(network);
    }

    /// Never dial this address, where we listen from now on; the one before it is anybody's.
    pub(crate) fn listens(&self, place: Place, address: Option<SocketAddr>) {
        let mut listening = self.listening.lock();
        listening[place as usize] = address;
        self.own.set(listening.iter().flatten().copied().collect());
    }

    /// Where we listen for this.
    pub(crate) fn listening(&self, place: Place) -> Option<SocketAddr> {
        self.listening.lock()[place as usize]
    }
}

/// What we listen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Proxy,
    Admin,
    Metrics,
}

impl Place {
    const COUNT: usize = 3;

    /// The name in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

/// The production connector, replaced whole when a reload changes how chains are dialled. Dials under way end with
/// the one they began with.
pub(crate) struct SwitchDial {
    current: ArcSwap<ChainConnector>,
}

impl SwitchDial {
    fn new(config: &Config, network: &Arc<Network>) -> Self {
        Self {
            current: ArcSwap::from_pointee(connector(config, network)),
        }
    }

    /// Dials by another configuration from now on; names, authority files and trust roots are read anew.
    fn switch(&self, config: &Config, network: &Arc<Network>) {
        self.current.store(Arc::new(connector(config, network)));
    }
}

fn network(config: &Config, own: &OwnListeners) -> Arc<Network> {
    Arc::new(Network::new(wiring::network(config)).guarding(own.clone()))
}

fn connector(config: &Config, network: &Arc<Network>) -> ChainConnector {
    ChainConnector::new(Arc::clone(network), wiring::timeouts(config))
}

impl Dial for SwitchDial {
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        let connector = self.current.load_full();
        Box::pin(async move { connector.build(chain, &request).await })
    }

    fn warm<'a>(
        &'a self,
        chain: &'a PreparedChain,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<WarmStream, DialError>> {
        let connector = self.current.load_full();
        Box::pin(async move { connector.warm(chain, deadline).await })
    }

    fn finish<'a>(
        &'a self,
        warm: WarmStream,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        let connector = self.current.load_full();
        Box::pin(async move { connector.finish(warm, chain, request).await })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: everything below takes it as an argument"
)]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// Says where a listener is, in the words that scripts wait for.
pub(crate) fn announce(place: Place, address: SocketAddr) {
    tracing::info!(event = "listening", listener = place.as_str(), addr = %address);
}
