//! Configuration of PCS: raw YAML and environment in, a proven configuration or all errors out.
//!
//! What for: [`load()`] finds the file, lays environment and flags over it and gives a [`Config`] in which every
//! value has its type and range and every name leads somewhere, or [`Errors`] with every mistake at once.
//! [`diff()`] says what a reload changes. One table describes every key; reading, suggestions for unknown keys,
//! [`json_schema`], [`reference_markdown`], [`default_yaml`] and [`Config::to_masked_yaml`] all walk it.
//!
//! What not: no process state (the environment comes as a snapshot in [`Sources`]), no network, no logging. The
//! only files touched are the configuration file and the password and authority files it names.
//!
//! Start with [`Sources`]:
//!
//! ```
//! use pcs_config::{Sources, load};
//!
//! let sources = Sources {
//!     upstream: vec!["http://user:pass@proxy.example:8080".into()],
//!     file: Some("/dev/null".into()),
//!     ..Sources::default()
//! };
//! let loaded = load(&sources)?;
//! assert_eq!(loaded.config.pools[0].members.len(), 1);
//! assert!(!loaded.config.to_masked_yaml().contains("pass@"));
//! # Ok::<(), pcs_config::Errors>(())
//! ```

mod api;
mod build;
mod config;
mod diff;
mod error;
mod expand;
mod export;
mod files;
mod fill;
mod identity;
mod keys;
mod layers;
mod load;
mod node;
mod proxy_url;
mod table;
mod yaml;

pub use api::{FieldError, MemberPatch, member_from_json, patch_from_json};
pub use config::{
    AdminConfig, CircuitBreakerConfig, Config, HealthCheckConfig, HealthMethod, HostPattern, LogFormat,
    LogLevel, LogRotation, LoggingConfig, MemberConfig, MetricsConfig, PoolConfig, RateLimitConfig,
    RetryConfig, Route, RouteTo, ServerConfig, StickyConfig, Strategy, TestUrl, TunnelConfig,
    WarmConnections, WhenExhausted,
};
pub use diff::{Change, Listener, diff, loses_chain};
pub use error::{ConfigError, ErrorKind, Errors, Place, Warning};
pub use export::{default_yaml, json_schema, reference_markdown};
pub use load::{DEFAULT_YAML, Loaded, Origin, Sources, discover, load, load_text};
pub use proxy_url::{MemberParts, ProxyUrlError, parse_proxy_url};
