//! What happens, told to whoever listens.

use pcs_models::{PoolName, ProxyId};
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// Events that a slow listener may be behind; then it is told how many it missed.
const PENDING: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A proxy was found healthy or unhealthy.
    Health {
        /// Its pool.
        pool: PoolName,
        /// Its id.
        proxy: ProxyId,
        /// What it was found.
        healthy: bool,
    },
    /// A circuit breaker moved.
    Circuit {
        /// Its pool.
        pool: PoolName,
        /// Its id.
        proxy: ProxyId,
        /// From this state.
        from: &'static str,
        /// To this state.
        to: &'static str,
    },
    /// The configuration was read again.
    Reload {
        /// New proxies.
        added: Vec<ProxyId>,
        /// Those that are gone.
        removed: Vec<ProxyId>,
        /// Those that are not as they were.
        changed: Vec<ProxyId>,
    },
    /// The admin API added, changed or removed a proxy.
    Proxy {
        /// Its id.
        proxy: ProxyId,
        /// `added`, `patched` or `removed`.
        change: &'static str,
    },
}

impl Event {
    /// The name of its kind in the stream.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Health { .. } => "health",
            Self::Circuit { .. } => "circuit",
            Self::Reload { .. } => "reload",
            Self::Proxy { .. } => "proxy",
        }
    }

    pub(crate) fn data(&self) -> Value {
        let names = |ids: &[ProxyId]| ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>();
        match self {
            Self::Health { pool, proxy, healthy } => {
                json!({ "pool": pool.as_str(), "proxy": proxy.as_str(), "healthy": healthy })
            }
            Self::Circuit {
                pool,
                proxy,
                from,
                to,
            } => {
                json!({ "pool": pool.as_str(), "proxy": proxy.as_str(), "from": from, "to": to })
            }
            Self::Reload {
                added,
                removed,
                changed,
            } => {
                json!({ "added": names(added), "removed": names(removed), "changed": names(changed) })
            }
            Self::Proxy { proxy, change } => json!({ "proxy": proxy.as_str(), "change": change }),
        }
    }
}

/// Where events go. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<Event>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(PENDING))
    }
}

impl Feed {
    /// Tells everybody who listens. Never waits.
    pub fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.0.send(event);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
