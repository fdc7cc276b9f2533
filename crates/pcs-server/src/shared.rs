//! What all workers of a front door share.

use std::fmt;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_tunnel::{Connect, TunnelRegistry};

use crate::limits::{Connections, RequestRate};
use crate::request_id::RequestIds;
use crate::{Access, Settings};

/// The front door: settings, the way out, and who is told. Shared by all its workers.
pub struct Shared {
    live: ArcSwap<Live>,
    pub(crate) connector: Arc<dyn Connect>,
    pub(crate) access: Arc<dyn Access>,
    pub(crate) connections: Connections,
    /// Connections that are only being told that they are too many.
    pub(crate) refusals: Connections,
    pub(crate) ids: RequestIds,
    registries: Mutex<Vec<Weak<TunnelRegistry>>>,
}

/// What a request reads: loaded once per request.
pub(crate) struct Live {
    pub(crate) settings: Settings,
    pub(crate) rate: Option<Arc<RequestRate>>,
}

impl Shared {
    /// A front door that sends everything through `connector`.
    #[must_use]
    pub fn new(settings: Settings, connector: Arc<dyn Connect>, access: Arc<dyn Access>) -> Arc<Self> {
        let rate = settings.rate_limit.and_then(RequestRate::new).map(Arc::new);
        Arc::new(Self {
            live: ArcSwap::from_pointee(Live { settings, rate }),
            connector,
            access,
            connections: Connections::default(),
            refusals: Connections::default(),
            ids: RequestIds::new(),
            registries: Mutex::new(Vec::new()),
        })
    }

    /// Swaps the settings. Requests that have begun keep the old ones; the idle time of open tunnels changes; an
    /// unchanged rate limit keeps its counts.
    pub fn reload(&self, settings: Settings) {
        let old = self.live.load_full();
        let kept = old
            .rate
            .as_ref()
            .filter(|rate| Some(rate.limit()) == settings.rate_limit);
        let rate = match kept {
            Some(rate) => Some(Arc::clone(rate)),
            None => settings.rate_limit.and_then(RequestRate::new).map(Arc::new),
        };
        let idle = settings.idle_timeout;
        self.live.store(Arc::new(Live { settings, rate }));
        for registry in self.registries.lock().iter().filter_map(Weak::upgrade) {
            registry.set_idle(idle);
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.live.load().settings.clone()
    }

    /// Client connections open now.
    #[must_use]
    pub fn active_connections(&self) -> usize {
        self.connections.count()
    }

    /// Tunnels open now.
    #[must_use]
    pub fn open_tunnels(&self) -> usize {
        self.sum(|registry| registry.open())
    }

    /// Bytes that the workers now alive moved without copying.
    #[must_use]
    pub fn spliced_bytes(&self) -> u64 {
        self.sum(TunnelRegistry::spliced_bytes)
    }

    /// How often a tunnel's direction went over to moving without copying, by the workers now alive.
    #[must_use]
    pub fn splice_engagements(&self) -> u64 {
        self.sum(TunnelRegistry::splice_engagements)
    }

    fn sum<N: std::iter::Sum>(&self, read: impl Fn(&TunnelRegistry) -> N) -> N {
        self.registries
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .map(|registry| read(&registry))
            .sum()
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// A registry for one worker's tunnels.
    pub(crate) fn registry(&self) -> Arc<TunnelRegistry> {
        let registry = TunnelRegistry::new(self.live.load().settings.idle_timeout);
        let mut registries = self.registries.lock();
        registries.retain(|known| known.strong_count() > 0);
        registries.push(Arc::downgrade(&registry));
        registry
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.live.load().settings)
            .finish_non_exhaustive()
    }
}
