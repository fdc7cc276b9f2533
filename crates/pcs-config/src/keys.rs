//! The table: every key of the configuration with its kind, default and meaning.

mod chain;
mod listeners;

use crate::config::{HealthMethod, LogFormat, LogLevel, LogRotation};
use crate::table::{Form, Key, Kind, Preset, Section};

use chain::{CORPORATE, ROUTE};
pub(crate) use chain::{MEMBER, POOL};
use listeners::{ADMIN, METRICS, SERVER};

const DAY: f64 = 86_400.0;

const fn key(name: &'static str, kind: Kind, default: Preset, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        doc,
    }
}

const fn seconds(max: f64) -> Kind {
    Kind::Seconds { zero: false, max }
}

const fn whole(min: u64, max: u64) -> Kind {
    Kind::Whole { min, max }
}

const ENABLED: Key = key("enabled", Kind::Flag, Preset::Flag(true), "Whether it is used.");

const PASSWORD: Key = key(
    "password",
    Kind::Secret,
    Preset::Unset,
    "The password; better `${VAR}` or `password_file`.",
);

const PASSWORD_FILE: Key = key(
    "password_file",
    Kind::Text(Form::File),
    Preset::Unset,
    "A file whose content is the password, without a line end; in place of `password`.",
);

/// The whole file.
pub(crate) static ROOT: Section = Section {
    doc: "",
    keys: &[
        key(
            "server",
            Kind::Section(&SERVER),
            Preset::Empty,
            "The proxy port that clients use.",
        ),
        key(
            "corporate_proxy",
            Kind::Section(&CORPORATE),
            Preset::Unset,
            "The proxy every connection passes first, or `null` for none.",
        ),
        key(
            "rotation",
            Kind::Section(&POOL),
            Preset::Empty,
            "The pool named `default`.",
        ),
        key(
            "pools",
            Kind::Named {
                what: "pool name",
                value: &Kind::UrlOr(&POOL),
            },
            Preset::Empty,
            "More pools by name, each of the shape of `rotation`, or a proxy's URL for a pool of one.",
        ),
        key(
            "routes",
            Kind::List(&Kind::Section(&ROUTE)),
            Preset::Empty,
            "Where requests go by host; the first match wins.",
        ),
        key(
            "tunnel",
            Kind::Section(&TUNNEL),
            Preset::Empty,
            "How chains are dialled and kept.",
        ),
        key(
            "health_check",
            Kind::Section(&HEALTH),
            Preset::Empty,
            "Active checks of rotating proxies.",
        ),
        key(
            "circuit_breaker",
            Kind::Section(&BREAKER),
            Preset::Empty,
            "The breaker of each rotating proxy.",
        ),
        key(
            "retry",
            Kind::Section(&RETRY),
            Preset::Empty,
            "Further attempts before the client notices a failure.",
        ),
        key("logging", Kind::Section(&LOGGING), Preset::Empty, "Logs."),
        key(
            "metrics",
            Kind::Section(&METRICS),
            Preset::Empty,
            "The Prometheus listener.",
        ),
        key("admin", Kind::Section(&ADMIN), Preset::Empty, "The admin API."),
    ],
};

static TUNNEL: Section = Section {
    doc: "",
    keys: &[
        key(
            "connect_timeout_seconds",
            seconds(DAY),
            Preset::Seconds(10.0),
            "One hop's TCP connect, with TLS.",
        ),
        key(
            "read_timeout_seconds",
            seconds(DAY),
            Preset::Seconds(30.0),
            "One hop's answer to CONNECT.",
        ),
        key(
            "warm_connections",
            Kind::WholeOrAuto { max: 10_000 },
            Preset::Whole(0),
            "Chains kept built up to the rotating proxy, per proxy; 0 is none, `auto` follows the arrival rate.",
        ),
        key(
            "warm_max",
            whole(0, 100_000),
            Preset::Whole(64),
            "Warm chains of all proxies together.",
        ),
        key(
            "idle_connections",
            whole(0, 100_000),
            Preset::Whole(64),
            "Kept-alive plain-HTTP upstreams per chain; 0 keeps none.",
        ),
        key(
            "idle_seconds",
            seconds(DAY),
            Preset::Seconds(60.0),
            "How long one is kept.",
        ),
        key(
            "dns_cache_ttl_seconds",
            Kind::Seconds { zero: true, max: DAY },
            Preset::Seconds(60.0),
            "How long a DNS answer is remembered; negative ones at most 1 s; 0 remembers none.",
        ),
    ],
};

pub(crate) static HEALTH: Section = Section {
    doc: "",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Preset::Flag(true),
            "Whether proxies are checked actively.",
        ),
        key(
            "method",
            Kind::OneOf(HealthMethod::NAMES),
            Preset::Text("http"),
            "`http` fetches `test_url` through the chain, `connect` only asks for its host, `tcp` reaches the proxy, \
             `ping` is ICMP (only where the proxy is the first hop).",
        ),
        key(
            "interval_seconds",
            seconds(DAY),
            Preset::Seconds(60.0),
            "Time between two checks of a proxy.",
        ),
        key(
            "timeout_seconds",
            seconds(3600.0),
            Preset::Seconds(10.0),
            "How long one check may take.",
        ),
        key(
            "test_url",
            Kind::Text(Form::TestUrl),
            Preset::Text("https://api.ipify.org"),
            "What is fetched.",
        ),
        key(
            "expect_status",
            Kind::List(&whole(100, 599)),
            Preset::Wholes(&[200]),
            "Statuses that mean well.",
        ),
        key(
            "expect_body",
            Kind::Text(Form::Free),
            Preset::Unset,
            "A text the answer must contain.",
        ),
        key(
            "failure_threshold",
            whole(1, 1000),
            Preset::Whole(3),
            "Consecutive failures until a proxy is unhealthy.",
        ),
        key(
            "success_threshold",
            whole(1, 1000),
            Preset::Whole(2),
            "Consecutive successes until it is back.",
        ),
        key(
            "concurrency",
            whole(1, 10_000),
            Preset::Whole(64),
            "Checks at once.",
        ),
    ],
};

static BREAKER: Section = Section {
    doc: "Counts consecutive failures; a success resets.",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Preset::Flag(true),
            "Whether proxies have one.",
        ),
        key(
            "failure_threshold",
            whole(1, 1_000_000),
            Preset::Whole(5),
            "Consecutive failures that open it.",
        ),
        key(
            "success_threshold",
            whole(1, 1_000_000),
            Preset::Whole(3),
            "Consecutive successes in half-open that close it.",
        ),
        key(
            "timeout_seconds",
            seconds(DAY),
            Preset::Seconds(30.0),
            "How long it stays open, unless health checks bring the proxy back sooner.",
        ),
        key(
            "half_open_max",
            whole(1, 10_000),
            Preset::Whole(1),
            "Trial requests at once while half-open.",
        ),
    ],
};

static RETRY: Section = Section {
    doc: "",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Preset::Flag(true),
            "Whether to try again at all.",
        ),
        key(
            "max_retries",
            whole(0, 100),
            Preset::Whole(3),
            "Further attempts after the first, another proxy each time while there is one.",
        ),
        key(
            "retry_on_status",
            Kind::List(&whole(400, 599)),
            Preset::Wholes(&[502, 503, 504]),
            "Statuses that call for another attempt: a hop's answer to CONNECT, and answers to idempotent plain requests.",
        ),
        key(
            "backoff",
            Kind::Section(&BACKOFF),
            Preset::Empty,
            "Pauses between attempts, with jitter.",
        ),
        key(
            "budget",
            Kind::Section(&BUDGET),
            Preset::Empty,
            "Keeps retries from hammering a dead pool.",
        ),
    ],
};

static BACKOFF: Section = Section {
    doc: "",
    keys: &[
        key(
            "initial_ms",
            whole(0, 60_000),
            Preset::Whole(0),
            "The first pause, in milliseconds.",
        ),
        key(
            "max_ms",
            whole(0, 600_000),
            Preset::Whole(1000),
            "The longest pause, in milliseconds.",
        ),
    ],
};

static BUDGET: Section = Section {
    doc: "A first retry after a failure proven on the proxy is free.",
    keys: &[
        key(
            "percent",
            whole(0, 1000),
            Preset::Whole(20),
            "Retries allowed, in percent of requests.",
        ),
        key(
            "min_per_second",
            whole(0, 100_000),
            Preset::Whole(3),
            "Retries allowed per second whatever the percentage says.",
        ),
    ],
};

static LOGGING: Section = Section {
    doc: "",
    keys: &[
        key(
            "level",
            Kind::OneOf(LogLevel::NAMES),
            Preset::Text("INFO"),
            "The least severe level that is written; case does not matter.",
        ),
        key(
            "format",
            Kind::OneOf(LogFormat::NAMES),
            Preset::Text("json"),
            "One JSON object a line, or text for people.",
        ),
        key(
            "file",
            Kind::Text(Form::File),
            Preset::Unset,
            "Where to; unset: standard output. A missing directory is created.",
        ),
        key(
            "rotation",
            Kind::OneOf(LogRotation::NAMES),
            Preset::Text("daily"),
            "When a new file is begun.",
        ),
        key(
            "keep_files",
            whole(1, 10_000),
            Preset::Whole(7),
            "How many files are kept.",
        ),
    ],
};
