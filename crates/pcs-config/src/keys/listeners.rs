//! The sections of the three listeners: server, metrics, admin.

use super::{DAY, ENABLED, PASSWORD, PASSWORD_FILE, key, seconds, whole};
use crate::table::{Form, Kind, Preset, Section};

const WEEK: f64 = 604_800.0;
const PORT: Kind = whole(0, 65_535);

pub(super) static SERVER: Section = Section {
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

pub(super) static METRICS: Section = Section {
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

pub(super) static ADMIN: Section = Section {
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
            "Further `Host` values to answer, besides loopback, the bind address and the address connected to.",
        ),
    ],
};
