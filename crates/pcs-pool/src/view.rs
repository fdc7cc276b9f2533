//! What pools show of themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use pcs_models::{Host, PoolName, Protocol, ProxyId};

use crate::member::{CheckRecord, Member};
use crate::snapshot::Entry;
use crate::{Circuit, Health, MemberSpec, Origin};

/// One rotating proxy as the admin API shows it. Holds no credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyView {
    /// Its id.
    pub id: ProxyId,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// Where it listens.
    pub host: Host,
    /// The port there.
    pub port: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// What health checks found.
    pub health: Health,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Its circuit breaker.
    pub circuit: Circuit,
    /// Who added it.
    pub origin: Origin,
    /// Its share of traffic under the weighted strategies.
    pub weight: u16,
    /// Whatever its owner wants to remember.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Streams in use or being dialled now.
    pub active_connections: u64,
    /// What went through it.
    pub stats: ProxyStats,
    /// The last health check.
    pub check: CheckRecord,
    /// Kept plain-HTTP streams.
    pub idle_connections: usize,
}

/// What went through one proxy since it was added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProxyStats {
    /// Attempts begun.
    pub total_requests: u64,
    /// Attempts that went well.
    pub successful_requests: u64,
    /// Attempts that failed.
    pub failed_requests: u64,
    /// Share of those that went well, 0 to 1; 1 before the first.
    pub success_rate: f64,
    /// Mean time to a stream or response head; 0 before the first.
    pub avg_latency_ms: f64,
    /// Bytes both ways.
    pub total_bytes: u64,
}

impl ProxyView {
    pub(crate) fn of(entry: &Entry) -> Self {
        let member: &Member = &entry.member;
        let traffic = member.traffic();
        Self {
            id: member.id().clone(),
            pool: member.pool().clone(),
            host: entry.hop.endpoint.host.clone(),
            port: entry.hop.endpoint.port,
            protocol: entry.hop.protocol,
            health: member.health(),
            enabled: member.enabled(),
            circuit: member.circuit(),
            origin: entry.origin,
            weight: member.weight(),
            tags: member.tags(),
            active_connections: traffic.active(),
            stats: ProxyStats {
                total_requests: traffic.requests(),
                successful_requests: traffic.succeeded(),
                failed_requests: traffic.failed(),
                success_rate: member.success_rate(),
                avg_latency_ms: traffic.mean_latency_ms(),
                total_bytes: traffic.bytes_up() + traffic.bytes_down(),
            },
            check: member.last_check(),
            idle_connections: entry.lane.idle.len(),
        }
    }

    /// Whether it may be used as far as health goes: unless checks found otherwise.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.health.is_usable()
    }
}

impl Entry {
    /// The settings as they are in force, changes made while running included.
    pub(crate) fn spec(&self) -> MemberSpec {
        MemberSpec {
            id: self.member.id().clone(),
            hop: pcs_models::Hop::clone(&self.hop),
            weight: self.member.weight(),
            enabled: self.member.enabled(),
            tags: BTreeMap::clone(&self.member.tags()),
            reuse: self.lane.reuses(),
            origin: self.origin,
        }
    }
}

/// Which proxies to list; `None` takes all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this pool.
    pub pool: Option<PoolName>,
    /// Usable as far as health goes, or not.
    pub healthy: Option<bool>,
    /// Enabled, or not.
    pub enabled: Option<bool>,
}

impl Filter {
    pub(crate) fn takes(&self, member: &Member) -> bool {
        self.healthy
            .is_none_or(|healthy| member.health().is_usable() == healthy)
            && self.enabled.is_none_or(|enabled| member.enabled() == enabled)
    }
}

/// Sums over all pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Enabled members that checks did not find unhealthy.
    pub healthy: usize,
    /// Enabled members that they did.
    pub unhealthy: usize,
    /// Members that are switched off.
    pub disabled: usize,
    /// Streams in use or being dialled now, those without a rotating proxy included.
    pub active: u64,
    /// Bytes towards targets.
    pub bytes_up: u64,
    /// Bytes towards clients.
    pub bytes_down: u64,
    /// Kept plain-HTTP streams.
    pub idle: usize,
    /// Warm chains.
    pub warm: usize,
    /// Sticky sessions remembered.
    pub sessions: usize,
}
