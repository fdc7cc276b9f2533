//! The sections that make chains: the corporate proxy, pools, their members, routes.

use super::{DAY, ENABLED, HEALTH, PASSWORD, PASSWORD_FILE, key, seconds, whole};
use crate::config::{Strategy, WhenExhausted};
use crate::table::{Form, Kind, Preset, Section};

const PROTOCOLS: &[&str] = &["http", "https", "socks4", "socks5", "socks4a", "socks5h"];

pub(super) static CORPORATE: Section = Section {
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
            "PEM file of authorities (or of the proxy's own certificate) to trust in place of the system's.",
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

pub(super) static ROUTE: Section = Section {
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
