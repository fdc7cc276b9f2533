//! The shapes of the API's answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pcs_pool::ProxyView;
use serde::Serialize;
use utoipa::ToSchema;

/// One rotating proxy. Credentials are never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Proxy {
    /// Its id, unique in the process.
    id: String,
    /// The pool it belongs to.
    pool: String,
    /// Where it listens.
    host: String,
    /// The port there.
    port: u16,
    /// What it speaks.
    #[schema(value_type = Protocol)]
    protocol: String,
    /// Whether health checks hold it usable (true before the first).
    healthy: bool,
    /// Whether it may be used at all.
    enabled: bool,
    /// Its circuit breaker.
    #[schema(value_type = Circuit)]
    circuit: String,
    /// Who added it.
    #[schema(value_type = Origin)]
    origin: String,
    /// Its share of traffic under the weighted strategies.
    #[schema(minimum = 1)]
    weight: u16,
    /// Whatever its owner wants to remember.
    tags: BTreeMap<String, String>,
    /// Streams in use or being dialled now.
    active_connections: u64,
    /// What went through it.
    stats: Stats,
    /// What health checks saw.
    health: Health,
}

/// What went through one proxy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stats {
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    /// From 0 to 1.
    success_rate: f64,
    avg_latency_ms: f64,
    total_bytes: u64,
}

/// What health checks saw.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// When the last one ended (RFC 3339).
    last_check: Option<String>,
    last_latency_ms: Option<f64>,
    last_error: Option<String>,
    consecutive_failures: u32,
    consecutive_successes: u32,
}

/// One page of proxies.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing {
    pub(crate) proxies: Vec<Proxy>,
    /// Where the next page begins; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// One health check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    pub(crate) id: String,
    /// What is held of the proxy after it.
    pub(crate) healthy: bool,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) error: Option<String>,
}

/// Sums over everything.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Totals {
    pub(crate) uptime_seconds: f64,
    pub(crate) total_requests: u64,
    pub(crate) successful_requests: u64,
    pub(crate) failed_requests: u64,
    /// Over the last minute.
    pub(crate) requests_per_second: f64,
    pub(crate) active_connections: u64,
    pub(crate) healthy_proxies: usize,
    pub(crate) unhealthy_proxies: usize,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
}

/// Whether the server can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `degraded`: some proxies are down; `unhealthy`: all are.
    #[schema(value_type = Status)]
    pub(crate) status: String,
}

/// What a reload changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// A rotating proxy to be added: the keys of an entry of `rotation.proxies`, and the pool.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "for the document: the body is read by the configuration's own reader"
)]
pub(crate) struct NewProxy {
    /// Made up from the address where missing.
    id: Option<String>,
    /// The pool it joins, one of the configuration; `default` where missing.
    pool: Option<String>,
    /// `protocol://user:password@host:port`, in place of the single keys.
    url: Option<String>,
    host: Option<String>,
    #[schema(minimum = 1)]
    port: Option<u16>,
    #[schema(value_type = Option<Protocol>)]
    protocol: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[schema(minimum = 1)]
    weight: Option<u16>,
    enabled: Option<bool>,
    /// Whether its plain-HTTP connections are kept.
    reuse: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
    tls: Option<NewTls>,
}

/// How TLS with an `https` proxy is spoken.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "for the document: the body is read by the configuration's own reader"
)]
pub(crate) struct NewTls {
    /// The name its certificate has to bear, where that is not its host.
    server_name: Option<String>,
    /// Whether its certificate is taken unproven.
    insecure_skip_verify: Option<bool>,
}

/// What a proxy speaks.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum Protocol {
    Http,
    Https,
    Socks4,
    Socks5,
}

/// The state of a circuit breaker.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum Circuit {
    Closed,
    Open,
    HalfOpen,
}

/// Who added a proxy.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum Origin {
    Config,
    Admin,
}

/// How a server is.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "for the document")]
pub(crate) enum Status {
    Healthy,
    Degraded,
    Unhealthy,
}

/// What may be changed about a proxy in place; what is left out stays as it is.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "for the document: the body is read by the configuration's own reader"
)]
pub(crate) struct ProxyPatch {
    #[schema(nullable = false)]
    enabled: Option<bool>,
    #[schema(nullable = false, minimum = 1)]
    weight: Option<u16>,
    /// All of its tags, in place of those it has.
    #[schema(nullable = false)]
    tags: Option<BTreeMap<String, String>>,
}

impl Proxy {
    pub(crate) fn of(view: &ProxyView) -> Self {
        let check = &view.check;
        Self {
            id: view.id.to_string(),
            pool: view.pool.to_string(),
            // As users write it: no brackets around IPv6.
            host: view.host.to_string().trim_matches(['[', ']']).to_owned(),
            port: view.port,
            protocol: view.protocol.to_string(),
            healthy: view.is_healthy(),
            enabled: view.enabled,
            circuit: view.circuit.as_str().to_owned(),
            origin: view.origin.as_str().to_owned(),
            weight: view.weight,
            tags: BTreeMap::clone(&view.tags),
            active_connections: view.active_connections,
            stats: Stats {
                total_requests: view.stats.total_requests,
                successful_requests: view.stats.successful_requests,
                failed_requests: view.stats.failed_requests,
                success_rate: view.stats.success_rate,
                avg_latency_ms: view.stats.avg_latency_ms,
                total_bytes: view.stats.total_bytes,
            },
            health: Health {
                last_check: check.at.map(|at| {
                    let ago = jiff::SignedDuration::try_from(at.elapsed()).unwrap_or_default();
                    format!("{:.3}", Timestamp::now().saturating_sub(ago).unwrap_or_default())
                }),
                last_latency_ms: check.latency.map(|latency| latency.as_secs_f64() * 1000.0),
                last_error: check.error.as_deref().map(str::to_owned),
                consecutive_failures: check.consecutive_failures,
                consecutive_successes: check.consecutive_successes,
            },
        }
    }
}
