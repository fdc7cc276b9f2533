//! Who is told what the front door and the pools do: the access log, and the log of changes.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use pcs_admin::{Event, Feed, Metrics, RequestEnd};
use pcs_models::{PoolName, ProxyId};
use pcs_pool::{AttemptReport, Circuit, Events, Member};
use pcs_server::{Access, AccessRecord, Counted, Rejection};

use crate::access::AccessLog;
use crate::health::Checks;
use crate::logging::Logs;

/// Told of every request.
#[derive(Debug)]
pub(crate) struct Observer {
    log: Option<AccessLog>,
    metrics: Arc<Metrics>,
}

impl Observer {
    pub(crate) fn new(logs: Option<&Logs>, metrics: Arc<Metrics>) -> Self {
        metrics.reject_for(Rejection::ALL.iter().map(|reason| reason.as_str()));
        Self {
            log: logs.map(|logs| AccessLog::new(logs.sink(), logs.format())),
            metrics,
        }
    }
}

impl Access for Observer {
    fn answered(&self, record: &AccessRecord<'_>) {
        let end = match record.counted() {
            Counted::Success => RequestEnd::Success,
            Counted::Error => RequestEnd::Error,
            Counted::Rejected(reason) => RequestEnd::Rejected(reason.as_str()),
            Counted::Not => return,
        };
        let elapsed = record.connect.unwrap_or(record.duration);
        self.metrics
            .request(end, record.traffic, elapsed, record.at.into_std());
    }

    fn finished(&self, record: &AccessRecord<'_>) {
        if let Some(log) = &self.log {
            log.write(record);
        }
    }

    fn turned_away(&self, client: SocketAddr, reason: Rejection) {
        self.metrics.rejected(reason.as_str());
        tracing::debug!(event = "turned_away", %client, reason = reason.as_str());
    }

    fn not_understood(&self, client: SocketAddr, hint: &str) {
        let reason = Rejection::UnknownProtocol.as_str();
        self.metrics.rejected(reason);
        tracing::warn!(
            event = "turned_away",
            %client,
            reason,
            hint,
            "A client speaks a protocol that this port does not take"
        );
    }

    fn panicked(&self) {
        tracing::error!(event = "panic", "A connection ended by a panic: this is a bug");
    }
}

/// Told of every change of a member.
#[derive(Debug)]
pub(crate) struct Watcher {
    metrics: Arc<Metrics>,
    feed: Feed,
    /// There only once the pools are: they are made first.
    checks: OnceLock<Arc<Checks>>,
}

impl Watcher {
    pub(crate) fn new(metrics: Arc<Metrics>, feed: Feed) -> Self {
        Self {
            metrics,
            feed,
            checks: OnceLock::new(),
        }
    }

    /// Asks these checks about members that failed a request.
    pub(crate) fn tell(&self, checks: Arc<Checks>) {
        // Told once, by the one place that wires.
        let _ = self.checks.set(checks);
    }
}

impl Events for Watcher {
    fn health_changed(&self, pool: &PoolName, proxy: &ProxyId, healthy: bool) {
        self.feed.tell(Event::Health {
            pool: pool.clone(),
            proxy: proxy.clone(),
            healthy,
        });
        if healthy {
            tracing::info!(event = "health_changed", %pool, %proxy, healthy);
        } else {
            tracing::warn!(event = "health_changed", %pool, %proxy, healthy);
        }
    }

    fn attempted(&self, report: &AttemptReport<'_>) {
        self.metrics.attempted(report);
    }

    fn circuit_changed(&self, pool: &PoolName, proxy: &ProxyId, from: Circuit, to: Circuit) {
        let (pool_name, id) = (pool.clone(), proxy.clone());
        self.feed.tell(Event::Circuit {
            pool: pool_name,
            proxy: id,
            from: from.as_str(),
            to: to.as_str(),
        });
        tracing::info!(event = "circuit_changed", %pool, %proxy, from = from.as_str(), to = to.as_str());
    }

    fn charged(&self, member: &Arc<Member>) {
        if let Some(checks) = self.checks.get() {
            checks.suspect(member.id());
        }
    }
}
