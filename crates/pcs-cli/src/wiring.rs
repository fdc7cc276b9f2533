//! From the configuration to the settings of each room.

use std::num::NonZeroU32;

use pcs_config::{
    AdminConfig, Config, HostPattern, MemberConfig, PoolConfig, Route, RouteTo, ServerConfig, Strategy,
    WarmConnections, WhenExhausted,
};
use pcs_pool::{
    BreakerSettings, MemberSpec, Mode, Origin, PoolSettings, RetrySettings, RouteAction, RouteSpec,
    StickySettings, TunnelSettings,
};
use pcs_tunnel::{DialTimeouts, NetworkSettings};

/// The front door.
pub(crate) fn server(config: &ServerConfig) -> pcs_server::Settings {
    pcs_server::Settings {
        max_connections: config.max_connections,
        budget: config.timeout,
        idle_timeout: config.idle_timeout,
        max_head_bytes: config.max_head_bytes,
        protocols: pcs_server::Protocols {
            http: config.http,
            socks5: config.socks5,
        },
        users: config
            .auth
            .as_ref()
            .map(|users| pcs_server::Users::new(users.iter().cloned())),
        rate_limit: config.rate_limit.map(|limit| pcs_server::RateLimit {
            requests_per_second: limit.requests_per_second,
            burst: NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN),
        }),
        allow_from: config.allow_from.clone(),
        advertised: None,
    }
}

/// Sockets, names and TLS.
pub(crate) fn network(config: &Config) -> NetworkSettings {
    NetworkSettings {
        dns_cache_ttl: config.tunnel.dns_cache_ttl,
        ..NetworkSettings::default()
    }
}

/// How long a hop may take.
pub(crate) fn timeouts(config: &Config) -> DialTimeouts {
    DialTimeouts {
        connect: config.tunnel.connect_timeout,
        read: config.tunnel.read_timeout,
    }
}

/// The pools, routes and everything that chooses.
pub(crate) fn pools(config: &Config) -> pcs_pool::Settings {
    pcs_pool::Settings {
        corporate: config.corporate.clone(),
        mode: if config.plain_mode {
            Mode::Plain
        } else {
            Mode::Chain
        },
        pools: config.pools.iter().map(pool).collect(),
        routes: config.routes.iter().map(route).collect(),
        breaker: BreakerSettings {
            enabled: config.circuit_breaker.enabled,
            failure_threshold: config.circuit_breaker.failure_threshold,
            success_threshold: config.circuit_breaker.success_threshold,
            timeout: config.circuit_breaker.timeout,
            half_open_max: config.circuit_breaker.half_open_max,
        },
        retry: RetrySettings {
            enabled: config.retry.enabled,
            max_retries: config.retry.max_retries,
            retry_on_status: config.retry.retry_on_status.clone(),
            backoff_initial: config.retry.backoff_initial,
            backoff_max: config.retry.backoff_max,
            budget_percent: config.retry.budget_percent,
            budget_min_per_second: config.retry.budget_min_per_second,
        },
        tunnel: TunnelSettings {
            idle_connections: config.tunnel.idle_connections,
            idle_for: config.tunnel.idle,
            warm: match config.tunnel.warm_connections {
                WarmConnections::Auto => pcs_pool::WarmConnections::Auto,
                WarmConnections::Fixed(0) => pcs_pool::WarmConnections::Off,
                WarmConnections::Fixed(count) => pcs_pool::WarmConnections::Fixed(count),
            },
            warm_max: config.tunnel.warm_max,
        },
    }
}

fn pool(config: &PoolConfig) -> PoolSettings {
    PoolSettings {
        name: config.name.clone(),
        strategy: strategy(config.strategy),
        when_exhausted: match config.when_exhausted {
            WhenExhausted::Any => pcs_pool::WhenExhausted::Any,
            WhenExhausted::Fail => pcs_pool::WhenExhausted::Fail,
        },
        sticky: StickySettings {
            ttl: config.sticky.ttl,
            max_sessions: config.sticky.max_sessions,
        },
        fallback: config.fallback.clone(),
        members: config
            .members
            .iter()
            .map(|entry| member(entry, Origin::Config))
            .collect(),
    }
}

/// One rotating proxy.
pub(crate) fn member(config: &MemberConfig, origin: Origin) -> MemberSpec {
    MemberSpec {
        id: config.id.clone(),
        hop: config.hop.clone(),
        weight: config.weight.get(),
        enabled: config.enabled,
        tags: config.tags.clone(),
        reuse: config.reuse,
        origin,
    }
}

/// A route.
pub(crate) fn route(config: &Route) -> RouteSpec {
    RouteSpec {
        hosts: config.hosts.iter().map(pattern).collect(),
        action: match &config.to {
            RouteTo::Pool(name) => RouteAction::Pool(name.clone()),
            RouteTo::Direct => RouteAction::Direct,
            RouteTo::Corporate => RouteAction::Corporate,
            RouteTo::Reject => RouteAction::Reject,
        },
    }
}

fn pattern(config: &HostPattern) -> pcs_pool::HostPattern {
    config
        .to_string()
        .parse()
        .expect("a proven host pattern reads back")
}

fn strategy(config: Strategy) -> pcs_strategies::Strategy {
    match config {
        Strategy::RoundRobin => pcs_strategies::Strategy::RoundRobin,
        Strategy::Random => pcs_strategies::Strategy::Random,
        Strategy::Weighted => pcs_strategies::Strategy::Weighted,
        Strategy::LeastUsed => pcs_strategies::Strategy::LeastUsed,
        Strategy::LeastConnections => pcs_strategies::Strategy::LeastConnections,
        Strategy::Fastest => pcs_strategies::Strategy::Fastest,
        Strategy::PeakEwma => pcs_strategies::Strategy::PeakEwma,
        Strategy::Hash => pcs_strategies::Strategy::Hash,
        Strategy::Failover => pcs_strategies::Strategy::Failover,
    }
}

/// A change of a rotating proxy in place.
pub(crate) fn patch(config: pcs_config::MemberPatch) -> pcs_pool::Patch {
    pcs_pool::Patch {
        enabled: config.enabled,
        weight: config.weight.map(std::num::NonZero::get),
        tags: config.tags,
    }
}

/// Who may use the admin API.
pub(crate) fn gate(config: &AdminConfig) -> pcs_admin::Gate {
    pcs_admin::Gate {
        token: config.token.clone(),
        bind: Some(config.listen.ip()).filter(|ip| !ip.is_unspecified()),
        allowed_hosts: config.allowed_hosts.clone(),
    }
}
