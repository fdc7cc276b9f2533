//! The proven configuration: what the rest of PCS reads.

mod pool;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use pcs_models::{Credentials, Hop, Host, PoolName, Secret, Target};

pub use pool::{HostPattern, MemberConfig, PoolConfig, Route, RouteTo, StickyConfig};

/// A proven configuration: every value is in range and every name leads somewhere.
///
/// `plain_mode` is the same as "no pools and no corporate proxy was named": see [`Config::plain_mode`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The proxy port.
    pub server: ServerConfig,
    /// The corporate proxy, named `corporate`; `None` where none is configured, or it is disabled or skipped.
    pub corporate: Option<Hop>,
    /// The pools, `default` first. Empty only in plain mode or where the corporate proxy is the whole chain.
    pub pools: Vec<PoolConfig>,
    /// Where requests go by host; the first match wins.
    pub routes: Vec<Route>,
    /// How chains are dialled and kept.
    pub tunnel: TunnelConfig,
    /// Health checks of pools that override nothing.
    pub health_check: HealthCheckConfig,
    /// The breaker of each member.
    pub circuit_breaker: CircuitBreakerConfig,
    /// Further attempts after a failure.
    pub retry: RetryConfig,
    /// Logs.
    pub logging: LoggingConfig,
    /// The metrics listener.
    pub metrics: MetricsConfig,
    /// The admin listener.
    pub admin: AdminConfig,
    /// Whether nothing names a chain, so that requests go straight to their targets.
    ///
    /// True only if file, environment and flags name no `corporate_proxy`, `rotation`, `pools`, `--upstream` and
    /// no `admin.state_file`.
    pub plain_mode: bool,
    pub(crate) effective: Arc<str>,
}

impl Config {
    /// The effective configuration as YAML with every secret masked as `***`.
    ///
    /// It has the shape of a configuration file and would load again.
    #[must_use]
    pub fn to_masked_yaml(&self) -> &str {
        &self.effective
    }

    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&PoolConfig> {
        self.pools.iter().find(|pool| pool.name.as_str() == name)
    }
}

/// The `server` section.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where the proxy port listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// The most client connections at once.
    pub max_connections: usize,
    /// The whole budget for a client's head, and for building a chain or getting a response head.
    pub timeout: Duration,
    /// How long a tunnel may carry no byte either way.
    pub idle_timeout: Duration,
    /// How long open tunnels may go on after a stop was asked for.
    pub shutdown_grace: Duration,
    /// Whether HTTP is spoken on the port.
    pub http: bool,
    /// Whether SOCKS5 is spoken on the port.
    pub socks5: bool,
    /// Who may use the port; `None` asks nobody.
    pub auth: Option<Vec<Credentials>>,
    /// Requests per client address.
    pub rate_limit: Option<RateLimitConfig>,
    /// The longest request head, in bytes.
    pub max_head_bytes: usize,
    /// Networks clients may come from; empty allows all.
    pub allow_from: Vec<IpNet>,
    /// Whether to reload when the file changes.
    pub watch_config: bool,
}

/// The `server.rate_limit` section, per client address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateLimitConfig {
    /// Requests per second in the long run; greater than 0.
    pub requests_per_second: f64,
    /// Requests at once after a silence; at least 1.
    pub burst: u32,
}

/// The `tunnel` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelConfig {
    /// One hop's TCP connect, with TLS.
    pub connect_timeout: Duration,
    /// One hop's answer to CONNECT.
    pub read_timeout: Duration,
    /// Chains kept built per proxy.
    pub warm_connections: WarmConnections,
    /// Warm chains of all proxies together.
    pub warm_max: usize,
    /// Kept-alive plain-HTTP upstreams per chain; 0 keeps none.
    pub idle_connections: usize,
    /// How long one is kept.
    pub idle: Duration,
    /// How long a positive DNS answer is remembered at most; zero remembers none.
    pub dns_cache_ttl: Duration,
}

/// `tunnel.warm_connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmConnections {
    /// As many as the arrival rate asks for.
    Auto,
    /// This many per proxy; 0 is none.
    Fixed(usize),
}

/// The `health_check` section, or what it is for one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheckConfig {
    /// Whether members are checked actively.
    pub enabled: bool,
    /// How.
    pub method: HealthMethod,
    /// Time between two checks of a member.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// What `http` fetches, and whose host and port `connect` asks for.
    pub test_url: TestUrl,
    /// Statuses that mean well; never empty.
    pub expect_status: Vec<u16>,
    /// A text the answer must contain.
    pub expect_body: Option<String>,
    /// Consecutive failures until a member is unhealthy.
    pub failure_threshold: u32,
    /// Consecutive successes until it is back.
    pub success_threshold: u32,
    /// Checks at once.
    pub concurrency: usize,
}

/// A URL that health checks fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestUrl {
    /// Whether the target speaks TLS (`https`).
    pub tls: bool,
    /// Host and port.
    pub target: Target,
    /// Path and query, beginning with `/`.
    pub path: String,
}

impl fmt::Display for TestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            if self.tls { "https" } else { "http" },
            self.target,
            self.path
        )
    }
}

/// The `circuit_breaker` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitBreakerConfig {
    /// Whether members have one.
    pub enabled: bool,
    /// Consecutive failures that open it.
    pub failure_threshold: u32,
    /// Consecutive successes in half-open that close it.
    pub success_threshold: u32,
    /// How long it stays open, unless health checks bring the proxy back sooner.
    pub timeout: Duration,
    /// Trial requests at once while half-open.
    pub half_open_max: u32,
}

/// The `retry` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryConfig {
    /// Whether to try again at all.
    pub enabled: bool,
    /// Further attempts after the first.
    pub max_retries: u32,
    /// Statuses of a hop that call for another attempt.
    pub retry_on_status: Vec<u16>,
    /// The first pause.
    pub backoff_initial: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Retries allowed, in percent of requests.
    pub budget_percent: u32,
    /// Retries allowed per second whatever the percentage says.
    pub budget_min_per_second: u32,
}

/// The `logging` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormat,
    /// Where to; `None` is standard output.
    pub file: Option<PathBuf>,
    /// When a new file is begun.
    pub rotation: LogRotation,
    /// How many files are kept.
    pub keep_files: usize,
}

/// The `metrics` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether metrics are served.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// The path, beginning with `/`.
    pub path: String,
    /// Proxies that have series of their own; the rest share `_other`.
    pub max_proxy_series: usize,
}

/// The `admin` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Whether the admin API is served.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// The bearer token; never empty.
    pub token: Option<Secret>,
    /// Where changes made by the API live on.
    pub state_file: Option<PathBuf>,
    /// Further `Host` values to answer.
    pub allowed_hosts: Vec<Host>,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The names, in the order they are documented.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The name used in the configuration.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// The variant of that name.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// How a pool picks a member.
    Strategy {
        /// One after the other.
        RoundRobin = "round_robin",
        /// Any.
        Random = "random",
        /// By weight, measured success and latency.
        Weighted = "weighted",
        /// The one with the fewest requests so far.
        LeastUsed = "least_used",
        /// The one with the fewest open tunnels.
        LeastConnections = "least_connections",
        /// Mostly from the fastest half.
        Fastest = "fastest",
        /// The cheaper of two by moving average and load.
        PeakEwma = "peak_ewma",
        /// By session, else by target host.
        Hash = "hash",
        /// The first usable in order.
        Failover = "failover",
    }
}

names! {
    /// What to do when no member of a pool is healthy.
    WhenExhausted {
        /// Try unhealthy ones.
        Any = "any",
        /// Answer 503.
        Fail = "fail",
    }
}

names! {
    /// How a member is checked.
    HealthMethod {
        /// Fetch `test_url` through the chain.
        Http = "http",
        /// CONNECT to `test_url`'s host through the chain.
        Connect = "connect",
        /// TCP connect to the member.
        Tcp = "tcp",
        /// ICMP echo to the member.
        Ping = "ping",
    }
}

names! {
    /// How severe a log line is.
    LogLevel {
        /// Every step.
        Trace = "TRACE",
        /// What a developer wants to see.
        Debug = "DEBUG",
        /// One line a request, state changes.
        Info = "INFO",
        /// An operator should act.
        Warn = "WARN",
        /// Something is broken.
        Error = "ERROR",
    }
}

names! {
    /// How log lines look.
    LogFormat {
        /// One flat object a line.
        Json = "json",
        /// For people.
        Text = "text",
    }
}

names! {
    /// When a new log file is begun.
    LogRotation {
        /// Every day.
        Daily = "daily",
        /// Every hour.
        Hourly = "hourly",
        /// Never.
        Never = "never",
    }
}

impl Config {
    /// The name of the pool of requests that ask for none, if there is any pool.
    #[must_use]
    pub fn default_pool(&self) -> Option<&PoolName> {
        self.pools
            .iter()
            .map(|pool| &pool.name)
            .find(|name| name.as_str() == PoolName::DEFAULT)
    }
}
