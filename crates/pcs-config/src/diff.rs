//! What a reload changes.

use std::collections::BTreeMap;

use pcs_models::{PoolName, ProxyId};

use crate::config::{Config, MemberConfig, PoolConfig};

/// One of the three listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The proxy port.
    Server,
    /// The admin API.
    Admin,
    /// The metrics page.
    Metrics,
}

/// One difference between a running configuration and a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A pool that was not there. Its members follow as [`Change::MemberAdded`].
    PoolAdded(PoolName),
    /// A pool that is no longer there. Its members precede as [`Change::MemberRemoved`].
    PoolRemoved(PoolName),
    /// Another strategy, `when_exhausted`, sticky section, fallback or health check; members are told apart.
    PoolChanged(PoolName),
    /// The same members in another order, which `failover` reads.
    PoolReordered(PoolName),
    /// A member that was not in this pool.
    MemberAdded {
        /// Its pool.
        pool: PoolName,
        /// Its id.
        id: ProxyId,
    },
    /// A member that is no longer in this pool.
    MemberRemoved {
        /// Its pool.
        pool: PoolName,
        /// Its id.
        id: ProxyId,
    },
    /// A member whose entry is another.
    MemberChanged {
        /// Its pool.
        pool: PoolName,
        /// Its id.
        id: ProxyId,
        /// Whether it is another proxy (protocol, host, port or user name): its counters start anew.
        identity: bool,
    },
    /// The corporate proxy is another, came or went: every chain is.
    CorporateChanged,
    /// Other routes.
    RoutesChanged,
    /// The address of a listener, or whether it is on: the new one opens first, then the old one closes.
    ListenerChanged(Listener),
    /// Limits, timeouts, credentials or networks of the proxy port.
    ServerChanged,
    /// How chains are dialled and kept.
    TunnelChanged,
    /// The breaker's thresholds.
    CircuitBreakerChanged,
    /// Retries.
    RetryChanged,
    /// The level of logs.
    LogLevelChanged,
    /// The path or the number of series of the metrics page.
    MetricsChanged,
    /// The admin API's token or allowed hosts.
    AdminChanged,
    /// A key that is read at start only.
    NeedsRestart(&'static str),
}

/// Whether taking `new` in place of `old` would open a way past the chain. Such a reload is refused.
#[must_use]
pub const fn loses_chain(old: &Config, new: &Config) -> bool {
    !old.plain_mode && new.plain_mode
}

/// Every difference, in an order in which they can be applied: what goes before what comes, pools before members.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    pools(old, new, &mut changes);
    let mut note = |differs: bool, change: Change| {
        if differs {
            changes.push(change);
        }
    };
    note(old.corporate != new.corporate, Change::CorporateChanged);
    note(old.routes != new.routes, Change::RoutesChanged);
    note(
        old.server.listen != new.server.listen,
        Change::ListenerChanged(Listener::Server),
    );
    let admin = |config: &Config| (config.admin.enabled, config.admin.listen);
    note(admin(old) != admin(new), Change::ListenerChanged(Listener::Admin));
    let metrics = |config: &Config| (config.metrics.enabled, config.metrics.listen);
    note(
        metrics(old) != metrics(new),
        Change::ListenerChanged(Listener::Metrics),
    );
    let mut server = old.server.clone();
    (server.listen, server.watch_config) = (new.server.listen, new.server.watch_config);
    note(server != new.server, Change::ServerChanged);
    note(old.tunnel != new.tunnel, Change::TunnelChanged);
    note(
        old.circuit_breaker != new.circuit_breaker,
        Change::CircuitBreakerChanged,
    );
    note(old.retry != new.retry, Change::RetryChanged);
    note(old.logging.level != new.logging.level, Change::LogLevelChanged);
    let page = |config: &Config| (config.metrics.path.clone(), config.metrics.max_proxy_series);
    note(page(old) != page(new), Change::MetricsChanged);
    let gate = |config: &Config| (config.admin.token.clone(), config.admin.allowed_hosts.clone());
    note(gate(old) != gate(new), Change::AdminChanged);
    restarts(old, new, &mut note);
    changes
}

fn restarts(old: &Config, new: &Config, note: &mut impl FnMut(bool, Change)) {
    let (before, after) = (&old.logging, &new.logging);
    note(
        before.format != after.format,
        Change::NeedsRestart("logging.format"),
    );
    note(before.file != after.file, Change::NeedsRestart("logging.file"));
    note(
        before.rotation != after.rotation,
        Change::NeedsRestart("logging.rotation"),
    );
    note(
        before.keep_files != after.keep_files,
        Change::NeedsRestart("logging.keep_files"),
    );
    note(
        old.admin.state_file != new.admin.state_file,
        Change::NeedsRestart("admin.state_file"),
    );
}

fn pools(old: &Config, new: &Config, changes: &mut Vec<Change>) {
    for pool in &old.pools {
        match new.pool(pool.name.as_str()) {
            Some(after) => members_gone(pool, after, changes),
            None => {
                let gone = pool.members.iter().map(|member| removed(pool, member));
                changes.extend(gone);
                changes.push(Change::PoolRemoved(pool.name.clone()));
            }
        }
    }
    for pool in &new.pools {
        match old.pool(pool.name.as_str()) {
            Some(before) => members_come(before, pool, changes),
            None => {
                changes.push(Change::PoolAdded(pool.name.clone()));
                changes.extend(pool.members.iter().map(|member| added(pool, member)));
            }
        }
    }
}

fn removed(pool: &PoolConfig, member: &MemberConfig) -> Change {
    Change::MemberRemoved {
        pool: pool.name.clone(),
        id: member.id.clone(),
    }
}

fn added(pool: &PoolConfig, member: &MemberConfig) -> Change {
    Change::MemberAdded {
        pool: pool.name.clone(),
        id: member.id.clone(),
    }
}

fn by_id(pool: &PoolConfig) -> BTreeMap<&ProxyId, &MemberConfig> {
    pool.members.iter().map(|member| (&member.id, member)).collect()
}

fn members_gone(before: &PoolConfig, after: &PoolConfig, changes: &mut Vec<Change>) {
    let kept = by_id(after);
    changes.extend(
        before
            .members
            .iter()
            .filter(|member| !kept.contains_key(&member.id))
            .map(|member| removed(before, member)),
    );
}

fn members_come(before: &PoolConfig, after: &PoolConfig, changes: &mut Vec<Change>) {
    let settings = |pool: &PoolConfig| {
        (
            pool.strategy,
            pool.when_exhausted,
            pool.sticky,
            pool.fallback.clone(),
            pool.health.clone(),
        )
    };
    if settings(before) != settings(after) {
        changes.push(Change::PoolChanged(after.name.clone()));
    }
    let known = by_id(before);
    for member in &after.members {
        match known.get(&member.id) {
            None => changes.push(added(after, member)),
            Some(old) if **old != *member => changes.push(Change::MemberChanged {
                pool: after.name.clone(),
                id: member.id.clone(),
                identity: !old.hop.is_same_proxy(&member.hop),
            }),
            Some(_) => {}
        }
    }
    let kept = by_id(after);
    let order_before = before
        .members
        .iter()
        .map(|member| &member.id)
        .filter(|id| kept.contains_key(id));
    let order_after = after
        .members
        .iter()
        .map(|member| &member.id)
        .filter(|id| known.contains_key(id));
    if !order_before.eq(order_after) {
        changes.push(Change::PoolReordered(after.name.clone()));
    }
}
