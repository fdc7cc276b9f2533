//! Pools of rotating proxies: members, selection, retries, blame, sticky sessions, routes.
//!
//! What for: [`Pools`] is a [`pcs_tunnel::Connect`] that finds a way for each request: a route, a pool, a member by
//! strategy or session, a kept stream or a fresh dial; and that tries another member before the client notices.
//!
//! What not: it opens no socket (that is `pcs-tunnel`'s), reads no configuration, runs no health check (it takes
//! their verdicts), and never leaves a chain out: where no member is left, the request fails.
//!
//! Start with [`Settings`] and [`Pools::new`]:
//!
//! ```
//! use pcs_models::{Hop, PoolName, Protocol, ProxyId};
//! use pcs_pool::{MemberSpec, PoolSettings, RouteAction, RouteSpec, Settings, Strategy};
//!
//! let hop = Hop::new(Protocol::Http, "proxy-fr-1.example:3128".parse()?);
//! let member = MemberSpec::new(ProxyId::try_new("proxy-fr-1")?, hop);
//! let mut pool = PoolSettings::new(PoolName::default(), vec![member]);
//! pool.strategy = Strategy::LeastConnections;
//! let route = RouteSpec { hosts: vec!["*.internal.example".parse()?], action: RouteAction::Direct };
//! let settings = Settings { pools: vec![pool], routes: vec![route], ..Settings::default() };
//! assert_eq!(settings.retry.max_retries, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blame;
mod budget;
mod changes;
mod connector;
mod dead;
mod error;
mod events;
mod guard;
mod hearsay;
mod idle;
mod in_flight;
mod inner;
mod lane;
mod leave;
mod member;
mod outage;
mod overlay;
mod pool;
mod pools;
mod registry;
mod rehearse;
mod route;
mod settings;
mod snapshot;
mod sticky;
mod suspicion;
mod trail;
mod verdicts;
mod view;
mod warm;

pub use changes::Applied;
pub use error::{ChangeError, SettingsError};
pub use events::{AttemptReport, Events, NoEvents};
pub use member::{CheckRecord, Member};
pub use overlay::{Change, Overlay, Patch, fingerprint};
pub use pcs_health::breaker::{Settings as BreakerSettings, State as Circuit};
pub use pcs_health::flip::Health;
pub use pcs_models::{ErrorLabel, Traffic};
pub use pcs_strategies::Strategy;
pub use pools::Pools;
pub use route::{HostPattern, PatternError, RouteAction, RouteSpec};
pub use settings::{
    MemberSpec, Mode, Origin, PoolSettings, RetrySettings, Settings, StickySettings, TunnelSettings,
    WarmConnections, WhenExhausted,
};
pub use view::{Filter, ProxyStats, ProxyView, Totals};
