//! The page: every name of the contract, read from the live pools and counters.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use pcs_models::ErrorLabel;
use pcs_pool::{Circuit, Member, Pools};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::series::{Counts, Histogram, OTHER};
use super::{HopKind, Metrics, process};

/// What others know and the page shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Client connections open now.
    pub active_connections: u64,
    /// The most there may be.
    pub max_connections: u64,
    /// The memory limit of the process's control group; 0 is none.
    pub memory_limit_bytes: u64,
    /// Whether the last reload went well.
    pub last_reload_ok: bool,
    /// Bytes moved without copying.
    pub spliced_bytes: u64,
    /// How often a direction of a tunnel went over to that.
    pub splice_engagements: u64,
}

pub(super) fn encode(metrics: Arc<Metrics>, pools: Pools, gauges: Gauges, now: Instant) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Page {
        metrics,
        pools,
        gauges,
        now,
    }));
    let mut page = String::new();
    // Writing into a String cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut page, &registry);
    page
}

struct Page {
    metrics: Arc<Metrics>,
    pools: Pools,
    gauges: Gauges,
    now: Instant,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let members = self.pools.members();
        // First: it says who has series of its own, which holds for all families.
        let (own, others) = self.metrics.shares.share_out(&members);
        let mut proxies: Vec<(&str, Counts)> = own
            .iter()
            .map(|member| (member.id().as_str(), Counts::of(member.traffic())))
            .collect();
        proxies.extend(others.map(|counts| (OTHER, counts)));
        let ways = [
            ("_corporate", Counts::of(self.pools.corporate_traffic())),
            ("_direct", Counts::of(self.pools.direct_traffic())),
        ];
        let out = &mut encoder;
        self.requests(out, &proxies, &ways)?;
        self.connects(out, &proxies)?;
        attempts(out, &proxies, &ways)?;
        let own: Vec<_> = own.iter().map(|member| (member.id().as_str(), *member)).collect();
        health(out, &own)?;
        self.counts(out)?;
        self.gauges(out)?;
        process_figures(out, self.metrics.started)
    }
}

type Out<'a, 'b> = &'a mut DescriptorEncoder<'b>;

impl Page {
    fn requests(&self, out: Out<'_, '_>, proxies: &[(&str, Counts)], ways: &[(&str, Counts)]) -> fmt::Result {
        let none = [("_none", Counts::of(&self.metrics.none))];
        let mut family = out.encode_descriptor(
            "proxy_chain_requests",
            "Requests by outcome and the last proxy used",
            None,
            MetricType::Counter,
        )?;
        for (name, counts) in ways.iter().chain(&none).chain(proxies) {
            for (status, count) in [("success", counts.served), ("error", counts.unserved)] {
                counter(
                    family.encode_family(&[("status", status), ("proxy", *name)])?,
                    count,
                )?;
            }
        }
        let age = self.metrics.age(self.now);
        let quantiles = self.metrics.requests.quantiles([0.5, 0.9, 0.99], age);
        let mut family = out.encode_descriptor(
            "proxy_chain_request_duration_seconds",
            "Time until the chain is up or the response head came, over the last 60 s",
            None,
            MetricType::Gauge,
        )?;
        for (label, value) in ["0.5", "0.9", "0.99"].into_iter().zip(quantiles) {
            gauge(family.encode_family(&[("quantile", label)])?, value)?;
        }
        let durations = Histogram::of(&self.metrics.durations);
        let (sum, count, _) = durations.read();
        single(
            out,
            "proxy_chain_request_duration_seconds_sum",
            "Sum of all durations",
            sum,
        )?;
        single(
            out,
            "proxy_chain_request_duration_seconds_count",
            "Number of durations",
            as_f64(count),
        )?;
        let family = out.encode_descriptor(
            "proxy_chain_request_duration_hist_seconds",
            "Time until the chain is up or the response head came",
            None,
            MetricType::Histogram,
        )?;
        histogram(family, &durations)
    }

    fn connects(&self, out: Out<'_, '_>, proxies: &[(&str, Counts)]) -> fmt::Result {
        let mut family = out.encode_descriptor(
            "proxy_chain_connect_duration_seconds",
            "Time one stretch of the way took, by the hop at its end",
            None,
            MetricType::Histogram,
        )?;
        for (kind, label) in HopKind::ALL {
            histogram(
                family.encode_family(&[("hop", label)])?,
                &Histogram::of(&self.metrics.hops[kind as usize]),
            )?;
        }
        let mut family = out.encode_descriptor(
            "proxy_chain_proxy_connect_duration_seconds",
            "Time until a chain through this proxy was up",
            None,
            MetricType::Histogram,
        )?;
        for (name, counts) in proxies {
            histogram(family.encode_family(&[("proxy", *name)])?, &counts.connects)?;
        }
        Ok(())
    }

    fn counts(&self, out: Out<'_, '_>) -> fmt::Result {
        let mut family = out.encode_descriptor(
            "proxy_chain_retries",
            "Further attempts by what the attempt before failed of",
            None,
            MetricType::Counter,
        )?;
        for (kind, count) in self.pools.retries() {
            counter(family.encode_family(&[("reason", kind.as_str())])?, count)?;
        }
        let mut family = out.encode_descriptor(
            "proxy_chain_rejected",
            "Clients refused for what they asked",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in self.metrics.rejected.read() {
            counter(family.encode_family(&[("reason", &*reason)])?, count)?;
        }
        let (warm, dead) = self.pools.warm_counts();
        let mut family = out.encode_descriptor(
            "proxy_chain_warm_chains",
            "Warm chains taken: those that served, those that were found dead",
            None,
            MetricType::Counter,
        )?;
        for (result, count) in [("hit", warm), ("stale", dead)] {
            counter(family.encode_family(&[("result", result)])?, count)?;
        }
        let family = out.encode_descriptor(
            "proxy_chain_spliced_bytes",
            "Bytes moved without copying by the workers now alive",
            None,
            MetricType::Counter,
        )?;
        counter(family, self.gauges.spliced_bytes)?;
        let family = out.encode_descriptor(
            "proxy_chain_splice_engagements",
            "How often a direction of a tunnel went over to moving without copying",
            None,
            MetricType::Counter,
        )?;
        counter(family, self.gauges.splice_engagements)
    }

    fn gauges(&self, out: Out<'_, '_>) -> fmt::Result {
        let totals = self.pools.totals();
        let mut family = out.encode_descriptor(
            "proxy_chain_proxies_total",
            "Enabled rotating proxies by health",
            None,
            MetricType::Gauge,
        )?;
        for (status, count) in [("healthy", totals.healthy), ("unhealthy", totals.unhealthy)] {
            gauge(family.encode_family(&[("status", status)])?, as_f64(count as u64))?;
        }
        let pooled = as_f64((totals.idle + totals.warm) as u64);
        let gauges = &self.gauges;
        single(
            out,
            "proxy_chain_active_connections",
            "Client connections",
            as_f64(gauges.active_connections),
        )?;
        single(
            out,
            "proxy_chain_max_connections",
            "The most client connections",
            as_f64(gauges.max_connections),
        )?;
        single(
            out,
            "proxy_chain_connection_pool_size",
            "Warm and idle upstream connections",
            pooled,
        )?;
        let limit = as_f64(gauges.memory_limit_bytes);
        single(
            out,
            "proxy_chain_memory_limit_bytes",
            "Memory limit of the control group, 0 is none",
            limit,
        )?;
        let reloaded = if gauges.last_reload_ok { 1.0 } else { 0.0 };
        single(
            out,
            "proxy_chain_config_last_reload_success",
            "Whether the last reload went well",
            reloaded,
        )
    }
}

/// What is counted for each way by itself. Proxies past the bound are added up under one label.
fn attempts(out: Out<'_, '_>, proxies: &[(&str, Counts)], ways: &[(&str, Counts)]) -> fmt::Result {
    let all = || proxies.iter().chain(ways);
    let mut family = out.encode_descriptor(
        "proxy_chain_proxy_requests",
        "Attempts through each proxy",
        None,
        MetricType::Counter,
    )?;
    for (name, counts) in all() {
        counter(family.encode_family(&[("proxy", *name)])?, counts.requests)?;
    }
    let mut family = out.encode_descriptor(
        "proxy_chain_proxy_errors",
        "Failed attempts through each proxy by kind",
        None,
        MetricType::Counter,
    )?;
    for label in ErrorLabel::ALL {
        for (name, counts) in all() {
            let labels = [("proxy", *name), ("error", label.as_str())];
            counter(family.encode_family(&labels)?, counts.errors[label as usize])?;
        }
    }
    let mut family = out.encode_descriptor("proxy_chain_bytes", "Bytes moved", None, MetricType::Counter)?;
    for (at, direction) in ["up", "down"].into_iter().enumerate() {
        for (name, counts) in all() {
            let labels = [("direction", direction), ("proxy", *name)];
            counter(family.encode_family(&labels)?, counts.bytes[at])?;
        }
    }
    Ok(())
}

fn health(out: Out<'_, '_>, own: &[(&str, &Arc<Member>)]) -> fmt::Result {
    let mut family = out.encode_descriptor(
        "proxy_chain_circuit_state",
        "Circuit breaker: 0 closed, 1 half-open, 2 open",
        None,
        MetricType::Gauge,
    )?;
    for (name, member) in own {
        gauge(
            family.encode_family(&[("proxy", *name)])?,
            circuit_number(member.circuit()),
        )?;
    }
    let mut family = out.encode_descriptor(
        "proxy_chain_proxy_healthy",
        "Whether a proxy is held healthy",
        None,
        MetricType::Gauge,
    )?;
    for (name, member) in own {
        let healthy = member.health().is_usable();
        gauge(
            family.encode_family(&[("proxy", *name)])?,
            if healthy { 1.0 } else { 0.0 },
        )?;
    }
    let mut family = out.encode_descriptor(
        "proxy_chain_health_check_duration_seconds",
        "How long the last successful health check took",
        None,
        MetricType::Gauge,
    )?;
    for (name, member) in own {
        let took = member
            .last_check()
            .latency
            .map_or(0.0, |latency| latency.as_secs_f64());
        gauge(family.encode_family(&[("proxy", *name)])?, took)?;
    }
    let mut family = out.encode_descriptor(
        "proxy_chain_health_check_failures",
        "Failed health checks",
        None,
        MetricType::Counter,
    )?;
    for (name, member) in own {
        counter(family.encode_family(&[("proxy", *name)])?, member.failed_checks())?;
    }
    Ok(())
}

fn process_figures(out: Out<'_, '_>, started: Option<SystemTime>) -> fmt::Result {
    let process = process::read();
    if let Some(seconds) = process.cpu_seconds {
        let family =
            out.encode_descriptor("process_cpu_seconds", "CPU time used", None, MetricType::Counter)?;
        ConstCounter::new(seconds).encode(family)?;
    }
    let whole = [
        (
            "process_resident_memory_bytes",
            "Resident memory",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory",
            process.virtual_bytes,
        ),
        ("process_open_fds", "Open file descriptors", process.open_fds),
        (
            "process_max_fds",
            "The most open file descriptors",
            process.max_fds,
        ),
        ("process_threads", "Threads", process.threads),
    ];
    for (name, help, value) in whole {
        if let Some(value) = value {
            single(out, name, help, as_f64(value))?;
        }
    }
    if let Some(Ok(since)) = started.map(|started| started.duration_since(SystemTime::UNIX_EPOCH)) {
        single(
            out,
            "process_start_time_seconds",
            "When the process began, in Unix time",
            since.as_secs_f64(),
        )?;
    }
    let mut family =
        out.encode_descriptor("pcs_build_info", "The version that runs", None, MetricType::Gauge)?;
    gauge(
        family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?,
        1.0,
    )
}

fn circuit_number(circuit: Circuit) -> f64 {
    match circuit {
        Circuit::Closed => 0.0,
        Circuit::HalfOpen => 1.0,
        Circuit::Open => 2.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn single(out: Out<'_, '_>, name: &str, help: &str, value: f64) -> fmt::Result {
    gauge(out.encode_descriptor(name, help, None, MetricType::Gauge)?, value)
}

fn counter(encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(encoder)
}

fn gauge(encoder: MetricEncoder<'_>, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder)
}

fn histogram(mut encoder: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let (sum, count, buckets) = histogram.read();
    encoder.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
}
