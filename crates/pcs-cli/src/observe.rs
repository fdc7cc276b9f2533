//! Who is told what the front door and the pools do: the access log, and the log of changes.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use pcs_models::{PoolName, ProxyId};
use pcs_pool::{Circuit, Events, Member};
use pcs_server::{Access, AccessRecord, Rejection};

use crate::access::AccessLog;
use crate::health::Checks;
use crate::logging::Logs;

/// Told of every request.
#[derive(Debug)]
pub(crate) struct Observer {
    log: Option<AccessLog>,
}

impl Observer {
    pub(crate) fn new(logs: Option<&Logs>) -> Self {
        Self {
            log: logs.map(|logs| AccessLog::new(logs.sink(), logs.format())),
        }
    }
}

impl Access for Observer {
    fn finished(&self, record: &AccessRecord<'_>) {
        if let Some(log) = &self.log {
            log.write(record);
        }
    }

    fn turned_away(&self, client: SocketAddr, reason: Rejection) {
        match reason {
            Rejection::UnknownProtocol => tracing::warn!(
                event = "turned_away",
                %client,
                reason = reason.as_str(),
                "A client spoke neither HTTP nor SOCKS5: is it talking TLS to the proxy port? Use http:// in its proxy URL"
            ),
            _ => tracing::debug!(event = "turned_away", %client, reason = reason.as_str()),
        }
    }

    fn panicked(&self) {
        tracing::error!(event = "panic", "A connection ended by a panic: this is a bug");
    }
}

/// Told of every change of a member.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    /// There only once the pools are: they are made first.
    checks: OnceLock<Arc<Checks>>,
}

impl Watcher {
    /// Asks these checks about members that failed a request.
    pub(crate) fn tell(&self, checks: Arc<Checks>) {
        // Told once, by the one place that wires.
        let _ = self.checks.set(checks);
    }
}

impl Events for Watcher {
    fn health_changed(&self, pool: &PoolName, proxy: &ProxyId, healthy: bool) {
        if healthy {
            tracing::info!(event = "health_changed", %pool, %proxy, healthy);
        } else {
            tracing::warn!(event = "health_changed", %pool, %proxy, healthy);
        }
    }

    fn circuit_changed(&self, pool: &PoolName, proxy: &ProxyId, from: Circuit, to: Circuit) {
        tracing::info!(event = "circuit_changed", %pool, %proxy, from = from.as_str(), to = to.as_str());
    }

    fn charged(&self, member: &Arc<Member>) {
        if let Some(checks) = self.checks.get() {
            checks.suspect(member.id());
        }
    }
}
