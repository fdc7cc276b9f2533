//! What pools are told to be; whoever reads a configuration fills these in.

use std::collections::BTreeMap;
use std::time::Duration;

use pcs_models::{Hop, PoolName, ProxyId};
use pcs_strategies::Strategy;

use crate::{BreakerSettings, RouteSpec};

/// Everything the pools of one process are made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The corporate proxy in front of every chain, if there is one (and it is not switched off).
    pub corporate: Option<Hop>,
    /// Whether targets may be dialled without any proxy where nothing else is said.
    pub mode: Mode,
    /// The pools; one named `default` takes what no route and no client steers elsewhere.
    pub pools: Vec<PoolSettings>,
    /// The routes, the first that matches counts.
    pub routes: Vec<RouteSpec>,
    /// When members are given a rest.
    pub breaker: BreakerSettings,
    /// How often a request is tried again.
    pub retry: RetrySettings,
    /// What is kept open.
    pub tunnel: TunnelSettings,
}

impl Default for Settings {
    /// No pool, no corporate proxy, and nothing may be dialled directly.
    fn default() -> Self {
        Self {
            corporate: None,
            mode: Mode::Chain,
            pools: Vec::new(),
            routes: Vec::new(),
            breaker: BreakerSettings::default(),
            retry: RetrySettings::default(),
            tunnel: TunnelSettings::default(),
        }
    }
}

/// What happens to a request for which neither a route nor a pool is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It goes through the corporate proxy where that is all that is configured, else it fails (503).
    #[default]
    Chain,
    /// It goes straight to the target: plain forward-proxy mode, only for a configuration that names no proxy at
    /// all. It ends for good with the first pool, member or corporate proxy.
    Plain,
}

/// One pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSettings {
    /// Its name.
    pub name: PoolName,
    /// How a member is picked.
    pub strategy: Strategy,
    /// What happens when no member is usable.
    pub when_exhausted: WhenExhausted,
    /// How long sessions stick.
    pub sticky: StickySettings,
    /// The pool asked when this one is exhausted.
    pub fallback: Option<PoolName>,
    /// Its members in order.
    pub members: Vec<MemberSpec>,
}

impl PoolSettings {
    /// A pool of these members with everything else by default.
    #[must_use]
    pub fn new(name: PoolName, members: Vec<MemberSpec>) -> Self {
        Self {
            name,
            strategy: Strategy::default(),
            when_exhausted: WhenExhausted::default(),
            sticky: StickySettings::default(),
            fallback: None,
            members,
        }
    }
}

/// What to do when a pool has no usable member left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenExhausted {
    /// Try members held unhealthy or resting, with a warning. Disabled ones never.
    #[default]
    Any,
    /// Fail the request: 503.
    Fail,
}

/// How long, and how many, sticky sessions are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickySettings {
    /// From the last use. Default 600 s.
    pub ttl: Duration,
    /// Sessions per pool; the one unused for longest makes room. Default 100,000.
    pub max_sessions: usize,
}

impl Default for StickySettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(600),
            max_sessions: 100_000,
        }
    }
}

/// One rotating proxy, as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberSpec {
    /// Its id, unique in the process.
    pub id: ProxyId,
    /// Where it is and what it speaks. The hop is renamed to the id.
    pub hop: Hop,
    /// Its share of traffic under the weighted strategies. Default 1.
    pub weight: u16,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Whatever its owner wants to remember.
    pub tags: BTreeMap<String, String>,
    /// Whether its plain-HTTP connections are kept for further requests. `false` for gateways that rotate by
    /// connection.
    pub reuse: bool,
    /// Who added it.
    pub origin: Origin,
}

impl MemberSpec {
    /// An enabled member of weight 1 without tags, from the configuration.
    #[must_use]
    pub fn new(id: ProxyId, hop: Hop) -> Self {
        let origin = Origin::Config;
        Self {
            id,
            hop,
            weight: 1,
            enabled: true,
            tags: BTreeMap::new(),
            reuse: true,
            origin,
        }
    }
}

/// Who added a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// The configuration.
    #[default]
    Config,
    /// The admin API.
    Admin,
}

impl Origin {
    /// `config` or `admin`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Admin => "admin",
        }
    }
}

/// How often, how fast and at whose expense a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// Off: one attempt a request.
    pub enabled: bool,
    /// Further attempts after the first. Default 3.
    pub max_retries: u32,
    /// Statuses worth another attempt, of a hop's answer to CONNECT and of plain responses.
    pub retry_on_status: Vec<u16>,
    /// Wait before the first retry. Default 0.
    pub backoff_initial: Duration,
    /// Longest wait before a retry. Default 1 s.
    pub backoff_max: Duration,
    /// Retries allowed, in percent of the pool's requests of the last 10 s. Default 20.
    pub budget_percent: u32,
    /// Retries a second allowed whatever the percentage says. Default 3.
    pub budget_min_per_second: u32,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            max_retries: 3,
            retry_on_status: vec![502, 503, 504],
            backoff_initial: Duration::ZERO,
            backoff_max: Duration::from_secs(1),
            budget_percent: 20,
            budget_min_per_second: 3,
        }
    }
}

/// What is kept open between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelSettings {
    /// Kept plain-HTTP upstreams per chain. Default 64.
    pub idle_connections: usize,
    /// How long they are kept. Default 60 s.
    pub idle_for: Duration,
    /// Chains kept built up to the member. Default none.
    pub warm: WarmConnections,
    /// Warm chains of all members together. Default 64.
    pub warm_max: usize,
}

impl Default for TunnelSettings {
    fn default() -> Self {
        Self {
            idle_connections: 64,
            idle_for: Duration::from_secs(60),
            warm: WarmConnections::Off,
            warm_max: 64,
        }
    }
}

/// How many warm chains each member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WarmConnections {
    /// None.
    #[default]
    Off,
    /// This many for every usable member of a pool.
    Fixed(usize),
    /// As many as the traffic of the last seconds calls for; none without traffic.
    Auto,
}
