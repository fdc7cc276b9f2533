//! The table: every key of the configuration with its kind, default and meaning.

use crate::config::{HealthMethod, LogFormat, LogLevel, LogRotation, Strategy, WhenExhausted};
use crate::table::{Form, Key, Kind, Preset, Section};

const DAY: f64 = 86_400.0;
const WEEK: f64 = 604_800.0;

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

const PORT: Kind = whole(0, 65_535);
const PROTOCOLS: &[&str] = &["http", "https", "socks4", "socks5", "socks4a", "socks5h"];

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

static SERVER: Section = Section {
    doc: "An address that is not loopback needs `auth` or `allow_from`.",
    keys: &[
        key(
            "bind_address",
            Kind::Text(Form::Address),
            Preset::Text("127.0.0.1"),
            "Where the port listens.",
        ),
        key(
            "port",
            PORT,
            Preset::Whole(8888),
            "The port; 0 is any free one, told by the `listening` log event.",
        ),
        key(
            "max_connections",
            whole(1, 1_000_000),
            Preset::Whole(1000),
            "Client connections at once; over it new ones are answered 503, existing ones untouched.",
        ),
        key(
            "timeout_seconds",
            seconds(DAY),
            Preset::Seconds(30.0),
            "The whole budget for a client's head, and for building a chain or getting a response head (counted from \
             the last request body byte), retries included.",
        ),
        key(
            "idle_timeout_seconds",
            seconds(WEEK),
            Preset::Seconds(300.0),
            "How long a tunnel may carry no byte either way.",
        ),
        key(
            "shutdown_grace_seconds",
            Kind::Seconds { zero: true, max: DAY },
            Preset::Seconds(30.0),
            "How long open tunnels may go on after a stop was asked for.",
        ),
        key(
            "protocols",
            Kind::List(&Kind::OneOf(&["http", "socks5"])),
            Preset::Texts(&["http", "socks5"]),
            "What is spoken on the one port, told apart by the first byte.",
        ),
        key(
            "auth",
            Kind::Section(&AUTH),
            Preset::Unset,
            "Who may use the port, or `null` for everybody who can reach it.",
        ),
        key(
            "rate_limit",
            Kind::Section(&RATE_LIMIT),
            Preset::Unset,
            "Requests per client address, or `null` for no limit.",
        ),
        key(
            "max_head_bytes",
            whole(256, 1_048_576),
            Preset::Whole(65_536),
            "The longest request head, in bytes; over it: 431.",
        ),
        key(
            "allow_from",
            Kind::List(&Kind::Text(Form::Network)),
            Preset::Empty,
            "Networks clients may come from, others are closed before a byte is answered; empty allows all.",
        ),
        key(
            "watch_config",
            Kind::Flag,
            Preset::Flag(false),
            "Reload when the file changes.",
        ),
    ],
};

static AUTH: Section = Section {
    doc: "Asked as `Proxy-Authorization: Basic` and as SOCKS5 user and password.",
    keys: &[key(
        "users",
        Kind::List(&Kind::Section(&USER)),
        Preset::Required,
        "At least one user.",
    )],
};

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

static USER: Section = Section {
    doc: "",
    keys: &[
        key(
            "username",
            Kind::Text(Form::Free),
            Preset::Required,
            "The user's name, without `:`.",
        ),
        PASSWORD,
        PASSWORD_FILE,
    ],
};

static RATE_LIMIT: Section = Section {
    doc: "Over it requests are answered 429.",
    keys: &[
        key(
            "requests_per_second",
            Kind::Number { max: 1_000_000.0 },
            Preset::Required,
            "Requests per second in the long run.",
        ),
        key(
            "burst",
            whole(1, 1_000_000),
            Preset::Unset,
            "Requests at once after a silence; unset: `requests_per_second`, rounded up.",
        ),
    ],
};

const ENABLED: Key = key("enabled", Kind::Flag, Preset::Flag(true), "Whether it is used.");

static CORPORATE: Section = Section {
    doc: "",
    keys: &[
        key(
            "host",
            Kind::Text(Form::Host),
            Preset::Required,
            "Name or address.",
        ),
        key("port", whole(1, 65_535), Preset::Required, "TCP port."),
        key(
            "protocol",
            Kind::OneOf(PROTOCOLS),
            Preset::Text("http"),
            "What it speaks.",
        ),
        key(
            "username",
            Kind::Text(Form::Free),
            Preset::Unset,
            "User name, without `:`.",
        ),
        PASSWORD,
        PASSWORD_FILE,
        key(
            "auth",
            Kind::OneOf(&["auto", "basic", "ntlm"]),
            Preset::Text("auto"),
            "How credentials are shown; `auto` is the strongest its `Proxy-Authenticate` asks for.",
        ),
        key(
            "domain",
            Kind::Text(Form::Free),
            Preset::Unset,
            "Windows domain for NTLM; where set, Basic is never sent.",
        ),
        ENABLED,
        key(
            "tls",
            Kind::Section(&TLS),
            Preset::Unset,
            "How its certificate is proven (`https` only).",
        ),
    ],
};

static TLS: Section = Section {
    doc: "",
    keys: &[
        key(
            "ca_file",
            Kind::Text(Form::File),
            Preset::Unset,
            "PEM file of authorities to trust in place of the system's.",
        ),
        key(
            "server_name",
            Kind::Text(Form::Host),
            Preset::Unset,
            "The name to ask for and to prove; unset: `host`.",
        ),
        key(
            "insecure_skip_verify",
            Kind::Flag,
            Preset::Flag(false),
            "Accept any certificate. For tests only.",
        ),
    ],
};

pub(crate) static POOL: Section = Section {
    doc: "",
    keys: &[
        key(
            "strategy",
            Kind::OneOf(Strategy::NAMES),
            Preset::Text("round_robin"),
            "How a proxy is picked for a request.",
        ),
        key(
            "when_exhausted",
            Kind::OneOf(WhenExhausted::NAMES),
            Preset::Text("any"),
            "When no proxy is healthy: `any` tries unhealthy ones with a warning, `fail` answers 503. Disabled and \
             removed proxies are never used.",
        ),
        key(
            "proxies",
            Kind::List(&Kind::UrlOr(&MEMBER)),
            Preset::Empty,
            "The pool's proxies.",
        ),
        key(
            "sticky",
            Kind::Section(&STICKY),
            Preset::Empty,
            "Sticky sessions.",
        ),
        key(
            "fallback",
            Kind::Text(Form::PoolName),
            Preset::Unset,
            "A pool to use when this one is exhausted, before `any`.",
        ),
        key(
            "health_check",
            Kind::Overrides(&HEALTH),
            Preset::Empty,
            "Keys of the section `health_check` that differ for this pool.",
        ),
    ],
};

pub(crate) static MEMBER: Section = Section {
    doc: "Either `url`, or `host` and `port`.",
    keys: &[
        key(
            "id",
            Kind::Text(Form::ProxyId),
            Preset::Unset,
            "Unique name; unset: derived from protocol, host, port and user name.",
        ),
        key(
            "url",
            Kind::ProxyUrl,
            Preset::Unset,
            "Protocol, credentials, host and port in one.",
        ),
        key("host", Kind::Text(Form::Host), Preset::Unset, "Name or address."),
        key("port", whole(1, 65_535), Preset::Unset, "TCP port."),
        key(
            "protocol",
            Kind::OneOf(PROTOCOLS),
            Preset::Unset,
            "What it speaks; unset: `http`.",
        ),
        key(
            "username",
            Kind::Text(Form::Free),
            Preset::Unset,
            "User name, without `:`; `{session}` is replaced by the sticky id, or a fresh one per tunnel.",
        ),
        PASSWORD,
        PASSWORD_FILE,
        key(
            "weight",
            whole(1, 65_535),
            Preset::Whole(1),
            "Static weight for `weighted`.",
        ),
        ENABLED,
        key(
            "tags",
            Kind::Named {
                what: "name",
                value: &Kind::Text(Form::Free),
            },
            Preset::Empty,
            "Shown by the admin API.",
        ),
        key(
            "tls",
            Kind::Section(&TLS),
            Preset::Unset,
            "How its certificate is proven (`https` only).",
        ),
        key(
            "reuse",
            Kind::Flag,
            Preset::Flag(true),
            "`false` never keeps its plain-HTTP connections (gateways that rotate per connection).",
        ),
    ],
};

static STICKY: Section = Section {
    doc: "",
    keys: &[
        key(
            "ttl_seconds",
            seconds(30.0 * DAY),
            Preset::Seconds(600.0),
            "How long a session lives after its last use.",
        ),
        key(
            "max_sessions",
            whole(1, 10_000_000),
            Preset::Whole(100_000),
            "The most sessions remembered.",
        ),
    ],
};

static ROUTE: Section = Section {
    doc: "Either `pool` or `via`.",
    keys: &[
        key(
            "hosts",
            Kind::List(&Kind::Text(Form::HostPattern)),
            Preset::Required,
            "Hosts it is about, at least one. Networks match literal addresses only; names are never resolved for it.",
        ),
        key(
            "pool",
            Kind::Text(Form::PoolName),
            Preset::Unset,
            "The pool to use.",
        ),
        key(
            "via",
            Kind::OneOf(&["direct", "corporate", "reject"]),
            Preset::Unset,
            "Straight to the target, through the corporate proxy only, or nowhere (403).",
        ),
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
            "How long it stays open.",
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

static METRICS: Section = Section {
    doc: "An address that is not loopback needs `admin.token`, asked as Bearer here too.",
    keys: &[
        ENABLED,
        key(
            "bind_address",
            Kind::Text(Form::Address),
            Preset::Text("127.0.0.1"),
            "Where it listens.",
        ),
        key("port", PORT, Preset::Whole(9090), "The port; 0 is any free one."),
        key(
            "path",
            Kind::Text(Form::UrlPath),
            Preset::Text("/metrics"),
            "The path of the page.",
        ),
        key(
            "max_proxy_series",
            whole(0, 1_000_000),
            Preset::Whole(1000),
            "Proxies that have series of their own; the rest share `proxy=\"_other\"`.",
        ),
    ],
};

static ADMIN: Section = Section {
    doc: "An address that is not loopback needs `token`.",
    keys: &[
        ENABLED,
        key(
            "bind_address",
            Kind::Text(Form::Address),
            Preset::Text("127.0.0.1"),
            "Where it listens.",
        ),
        key("port", PORT, Preset::Whole(8889), "The port; 0 is any free one."),
        key(
            "token",
            Kind::Secret,
            Preset::Unset,
            "Asked as `Authorization: Bearer`; unset: nobody is asked.",
        ),
        key(
            "state_file",
            Kind::Text(Form::File),
            Preset::Unset,
            "Where changes made by the API live on across restarts; unset: nowhere.",
        ),
        key(
            "allowed_hosts",
            Kind::List(&Kind::Text(Form::Host)),
            Preset::Empty,
            "Further `Host` values to answer, besides loopback and the bind address.",
        ),
    ],
};
