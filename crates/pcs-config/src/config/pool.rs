//! Pools, members and routes.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pcs_models::{Hop, PoolName, ProxyId};

use super::{HealthCheckConfig, Strategy, WhenExhausted};
use crate::identity::Fingerprint;

/// One pool of rotating proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Its name.
    pub name: PoolName,
    /// How a member is picked.
    pub strategy: Strategy,
    /// What to do when no member is healthy.
    pub when_exhausted: WhenExhausted,
    /// Its members, in the order of the file.
    pub members: Vec<MemberConfig>,
    /// Sticky sessions.
    pub sticky: StickyConfig,
    /// The pool to use when this one is exhausted.
    pub fallback: Option<PoolName>,
    /// The section `health_check` with this pool's overrides.
    pub health: HealthCheckConfig,
}

/// The `sticky` section of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickyConfig {
    /// How long a session lives after its last use.
    pub ttl: Duration,
    /// The most sessions remembered.
    pub max_sessions: usize,
}

/// One rotating proxy.
#[derive(Debug, Clone)]
pub struct MemberConfig {
    /// Its id, given or derived.
    pub id: ProxyId,
    /// Whether the id was written in the configuration; else it was derived from the proxy's identity.
    pub id_given: bool,
    /// How it is dialled; named by the id.
    pub hop: Hop,
    /// Its static weight.
    pub weight: NonZeroU16,
    /// Whether it may be used.
    pub enabled: bool,
    /// What its owner calls it, shown by the admin API.
    pub tags: BTreeMap<String, String>,
    /// Whether its plain-HTTP connections may be kept.
    pub reuse: bool,
    /// The line of the file it stands in, from 1; `None` for `--upstream`, environment and API. No part of
    /// equality: an entry that moved is the same entry.
    pub line: Option<u32>,
}

impl PartialEq for MemberConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            id,
            id_given: _,
            hop,
            weight,
            enabled,
            tags,
            reuse,
            line: _,
        } = self;
        *id == other.id
            && *hop == other.hop
            && *weight == other.weight
            && *enabled == other.enabled
            && *tags == other.tags
            && *reuse == other.reuse
    }
}

impl Eq for MemberConfig {}

impl MemberConfig {
    /// A number that changes when the entry is edited, stable across restarts and releases of PCS.
    ///
    /// The password has no part in it, so the number can be stored without giving anything away.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let hop = &self.hop;
        let mut print = Fingerprint::new();
        print.text(self.id.as_str());
        print.text(hop.protocol.as_str());
        print.text(&hop.endpoint.to_string());
        print.text(
            hop.credentials
                .as_ref()
                .map_or("", |credentials| credentials.username()),
        );
        print.text(&self.weight.to_string());
        print.text(if self.enabled { "enabled" } else { "disabled" });
        print.text(if self.reuse { "reuse" } else { "fresh" });
        for (name, value) in &self.tags {
            print.text(name);
            print.text(value);
        }
        let tls = &hop.tls;
        print.text(
            &tls.ca_file
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
        );
        print.text(tls.server_name.as_deref().unwrap_or_default());
        print.text(if tls.insecure_skip_verify {
            "insecure"
        } else {
            "verified"
        });
        print.finish()
    }
}

/// One entry of `routes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Hosts it is about; never empty.
    pub hosts: Vec<HostPattern>,
    /// Where they go.
    pub to: RouteTo,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTo {
    /// A pool (behind the corporate proxy, where there is one).
    Pool(PoolName),
    /// Straight to the target.
    Direct,
    /// Through the corporate proxy only. With `--no-corporate` there is none: such requests must fail.
    Corporate,
    /// Nowhere: 403.
    Reject,
}

/// Which hosts a route is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// A name in lower case in which each `*` stands for any run of characters, dots included.
    Glob(Arc<str>),
    /// The domain and everything below it; written `.example.com`, kept without the dot, in lower case.
    Suffix(Arc<str>),
    /// Literal addresses of this network; names never match.
    Net(IpNet),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glob(glob) => f.write_str(glob),
            Self::Suffix(domain) => write!(f, ".{domain}"),
            Self::Net(net) => net.fmt(f),
        }
    }
}
