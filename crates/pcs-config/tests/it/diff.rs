//! What a reload changes.

use pcs_config::{Change, Config, Listener, diff, loses_chain};

use crate::Fixture;

const BASE: &str = "corporate_proxy: {host: c, port: 1, username: u, password: p}\n\
    rotation:\n  proxies:\n    - {id: a, host: h, port: 1, username: u, password: p}\n    - {id: b, host: h, port: 2}\n\
    pools: {x: {proxies: [{id: c, host: h, port: 3}]}}\n";

fn changes(from: &str, to: &str) -> Vec<Change> {
    let config = |text: &str| -> Config { Fixture::new(text).config() };
    diff(&config(from), &config(to))
}

fn member(pool: &str, id: &str) -> (pcs_models::PoolName, pcs_models::ProxyId) {
    (pool.parse().unwrap(), id.parse().unwrap())
}

#[test]
fn the_same_is_no_change_and_neither_is_moving_a_line() {
    assert_eq!(changes(BASE, BASE), []);
    assert_eq!(changes(BASE, &format!("# a remark\n\n{BASE}")), []);
}

#[test]
fn each_difference_is_one_change() {
    let (pool, a) = member("default", "a");
    let (_, b) = member("default", "b");
    let (x, c) = member("x", "c");
    let cases: &[(&str, &str, &[Change])] = &[
        (
            "password: p}\n    - {id: b",
            "password: q}\n    - {id: b",
            &[Change::MemberChanged {
                pool: pool.clone(),
                id: a.clone(),
                identity: false,
            }],
        ),
        (
            "{id: b, host: h, port: 2}",
            "{id: b, host: h, port: 9}",
            &[Change::MemberChanged {
                pool: pool.clone(),
                id: b.clone(),
                identity: true,
            }],
        ),
        (
            "{id: b, host: h, port: 2}",
            "{id: b, host: h, port: 2, weight: 2}",
            &[Change::MemberChanged {
                pool: pool.clone(),
                id: b.clone(),
                identity: false,
            }],
        ),
        (
            "    - {id: b, host: h, port: 2}\n",
            "",
            &[Change::MemberRemoved {
                pool: pool.clone(),
                id: b.clone(),
            }],
        ),
        (
            "{id: b,",
            "{id: d,",
            &[
                Change::MemberRemoved {
                    pool: pool.clone(),
                    id: b.clone(),
                },
                Change::MemberAdded {
                    pool: pool.clone(),
                    id: "d".parse().unwrap(),
                },
            ],
        ),
        (
            "pools: {x: {proxies: [{id: c, host: h, port: 3}]}}\n",
            "",
            &[
                Change::MemberRemoved {
                    pool: x.clone(),
                    id: c.clone(),
                },
                Change::PoolRemoved(x.clone()),
            ],
        ),
        (
            "proxies: [{id: c",
            "strategy: hash, proxies: [{id: c",
            &[Change::PoolChanged(x.clone())],
        ),
        (
            "host: c, port: 1",
            "host: c, port: 2",
            &[Change::CorporateChanged],
        ),
        (
            "pools:",
            "routes: [{hosts: [a], via: direct}]\npools:",
            &[Change::RoutesChanged],
        ),
        (
            "pools:",
            "server: {port: 1}\npools:",
            &[Change::ListenerChanged(Listener::Server)],
        ),
        (
            "pools:",
            "server: {max_connections: 1}\npools:",
            &[Change::ServerChanged],
        ),
        (
            "pools:",
            "admin: {enabled: false}\npools:",
            &[Change::ListenerChanged(Listener::Admin)],
        ),
        ("pools:", "admin: {token: t}\npools:", &[Change::AdminChanged]),
        (
            "pools:",
            "admin: {state_file: /x}\npools:",
            &[Change::NeedsRestart("admin.state_file")],
        ),
        (
            "pools:",
            "metrics: {port: 1}\npools:",
            &[Change::ListenerChanged(Listener::Metrics)],
        ),
        ("pools:", "metrics: {path: /m}\npools:", &[Change::MetricsChanged]),
        (
            "pools:",
            "tunnel: {warm_max: 1}\npools:",
            &[Change::TunnelChanged],
        ),
        (
            "pools:",
            "circuit_breaker: {enabled: false}\npools:",
            &[Change::CircuitBreakerChanged],
        ),
        (
            "pools:",
            "retry: {enabled: false}\npools:",
            &[Change::RetryChanged],
        ),
        (
            "pools:",
            "logging: {level: DEBUG}\npools:",
            &[Change::LogLevelChanged],
        ),
        (
            "pools:",
            "logging: {file: /x}\npools:",
            &[Change::NeedsRestart("logging.file")],
        ),
        ("pools:", "server: {watch_config: true}\npools:", &[]),
        (
            "pools:",
            "health_check: {enabled: false}\npools:",
            &[Change::PoolChanged(pool.clone()), Change::PoolChanged(x.clone())],
        ),
    ];
    for (old, new, expected) in cases {
        let edited = BASE.replacen(old, new, 1);
        assert_ne!(edited, BASE, "{old} is in the base");
        assert_eq!(changes(BASE, &edited), *expected, "{new}");
    }
}

#[test]
fn another_order_is_told() {
    let one = "rotation: {proxies: [{id: a, host: h, port: 1}, {id: b, host: h, port: 2}]}";
    let two = "rotation: {proxies: [{id: b, host: h, port: 2}, {id: n, host: h, port: 3}, {id: a, host: h, port: 1}]}";
    let got = changes(one, two);
    assert!(
        got.contains(&Change::PoolReordered("default".parse().unwrap())),
        "{got:?}"
    );
    assert_eq!(got.len(), 2, "{got:?}");
}

#[test]
fn losing_the_chain_is_seen() {
    let chain = Fixture::new("rotation: {}").config();
    let plain = Fixture::new("").config();
    assert!(loses_chain(&chain, &plain));
    assert!(!loses_chain(&plain, &chain) && !loses_chain(&plain, &plain) && !loses_chain(&chain, &chain));
}

#[test]
fn a_fingerprint_changes_with_the_entry_but_not_with_its_password_or_line() {
    let print = |text: &str| Fixture::new(text).config().pools[0].members[0].fingerprint();
    let base = print(BASE);
    assert_eq!(base, print(&format!("# moved\n{BASE}")));
    assert_eq!(base, print(&BASE.replace("password: p", "password: q")));
    for (old, new) in [
        ("id: a, host: h", "id: a, host: i"),
        ("id: a,", "id: a, weight: 2,"),
        ("id: a,", "id: a, tags: {k: v},"),
        ("id: a,", "id: a, enabled: false,"),
    ] {
        assert_ne!(base, print(&BASE.replace(old, new)), "{new}");
    }
}
