//! What lives as long as the server: the pools, the way out, the front door's settings, the configuration in force.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_config::{Config, Sources};
use pcs_health::ChainProbe;
use pcs_health::checker::Driver;
use pcs_pool::Pools;
use pcs_server::Shared;
use pcs_tunnel::{
    BoxFuture, ChainConnector, Dial, DialError, DialRequest, Dialed, Network, OwnListeners, PreparedChain,
    WarmStream,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::front::FrontDoor;
use crate::health::{self, Checks};
use crate::logging::Logs;
use crate::observe::{Observer, Watcher};
use crate::overlay::StateFile;
use crate::wiring;

/// The heart of a running server. Shared by the front door, the admin API, the health checks and reloads.
pub(crate) struct Core {
    pub(crate) pools: Pools,
    pub(crate) checks: Arc<Checks>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) dial: Arc<SwitchDial>,
    /// Everything we listen on: never dialled.
    pub(crate) own: OwnListeners,
    listeners: Mutex<Vec<SocketAddr>>,
    pub(crate) config: ArcSwap<Config>,
    /// Where the configuration is read again from; `None` for a server that was handed a finished one.
    pub(crate) sources: Option<Sources>,
    pub(crate) state: Option<StateFile>,
    pub(crate) logs: Option<Logs>,
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
        let dial = Arc::new(SwitchDial::new(config, &own));
        let state = config.admin.state_file.clone().map(StateFile::new);
        let overlay = state
            .as_ref()
            .map(StateFile::load)
            .transpose()?
            .unwrap_or_default();
        let watcher = Arc::new(Watcher::default());
        let pools = Pools::new(
            wiring::pools(config),
            overlay,
            Arc::<SwitchDial>::clone(&dial),
            Arc::<Watcher>::clone(&watcher),
        )
        .context("the configuration and admin.state_file do not fit together")?;
        let network = Arc::new(Network::new(wiring::network(config)).guarding(own.clone()));
        let (checks, driver) = health::checks(Arc::<SwitchDial>::clone(&dial), network, &pools);
        let checks = Arc::new(checks);
        watcher.tell(Arc::clone(&checks));
        health::follow(&checks, &pools, config);
        let observer = Observer::new(logs.as_ref());
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
            own,
            config,
            sources,
            state,
            logs,
            listeners: Mutex::default(),
            reloading: Semaphore::new(1),
            doors,
        };
        Ok((Arc::new(core), driver))
    }

    /// Members came, went or changed: the health checks follow.
    pub(crate) fn members_changed(&self, config: &Config) {
        health::follow(&self.checks, &self.pools, config);
    }

    /// Never dial this address either, one of our listeners from now on.
    pub(crate) fn listens(&self, address: SocketAddr) {
        let mut listeners = self.listeners.lock();
        if !listeners.contains(&address) {
            listeners.push(address);
        }
        self.own.set(listeners.clone());
    }
}

/// The production connector, replaced whole when a reload changes how chains are dialled. Dials under way end with
/// the one they began with.
pub(crate) struct SwitchDial {
    current: ArcSwap<ChainConnector>,
}

impl SwitchDial {
    fn new(config: &Config, own: &OwnListeners) -> Self {
        Self {
            current: ArcSwap::from_pointee(connector(config, own)),
        }
    }

    /// Dials by another configuration from now on; names, authority files and trust roots are read anew.
    pub(crate) fn switch(&self, config: &Config, own: &OwnListeners) {
        self.current.store(Arc::new(connector(config, own)));
    }
}

fn connector(config: &Config, own: &OwnListeners) -> ChainConnector {
    let network = Network::new(wiring::network(config)).guarding(own.clone());
    ChainConnector::new(Arc::new(network), wiring::timeouts(config))
}

impl Dial for SwitchDial {
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        let connector = self.current.load_full();
        Box::pin(async move { connector.dial(chain, request).await })
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

/// Says where a listener is, in the words that scripts wait for.
pub(crate) fn announce(listener: &'static str, address: SocketAddr) {
    tracing::info!(event = "listening", listener, addr = %address);
}
