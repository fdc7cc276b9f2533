//! What good files come to.

use std::time::Duration;

use pcs_config::{
    Config, HealthMethod, HostPattern, LogFormat, LogLevel, LogRotation, RouteTo, Strategy, WarmConnections,
    WhenExhausted,
};
use pcs_models::{AuthScheme, Protocol};
use proptest::prelude::*;

use crate::Fixture;

const ORIGINAL: &str = include_str!("original-config.yaml");

fn original() -> Fixture {
    Fixture::new(ORIGINAL)
        .env("CORP_PROXY_USER", "corp")
        .env("CORP_PROXY_PASS", "hunter2: [")
        .env("ROTATING_PROXY_PASS", "0123456")
}

#[test]
fn the_file_of_early_users_loads_unchanged() {
    let fixture = original();
    assert_eq!(fixture.warnings(), [""; 0]);
    let config = fixture.config();
    let corporate = config.corporate.as_ref().unwrap();
    assert_eq!(corporate.name.as_str(), "corporate");
    assert_eq!(
        (corporate.protocol, corporate.endpoint.to_string()),
        (Protocol::Http, "proxy.entreprise.com:8080".into())
    );
    let credentials = corporate.credentials.as_ref().unwrap();
    assert_eq!(
        (credentials.username(), credentials.password().expose()),
        ("corp", "hunter2: [")
    );
    assert_eq!(corporate.auth, AuthScheme::Auto);
    let pool = &config.pools[0];
    assert_eq!(
        (pool.name.as_str(), pool.strategy, pool.when_exhausted),
        ("default", Strategy::RoundRobin, WhenExhausted::Any)
    );
    let ids: Vec<_> = pool.members.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(ids, ["proxy-fr-1", "proxy-de-1", "proxy-uk-1"]);
    let fr = &pool.members[0];
    assert_eq!(
        fr.hop.credentials.as_ref().unwrap().password().expose(),
        "0123456",
        "digits stay a text"
    );
    assert_eq!(
        (
            fr.hop.name.as_str(),
            fr.line,
            fr.weight.get(),
            fr.enabled,
            fr.reuse
        ),
        ("proxy-fr-1", Some(18), 1, true, true)
    );
    assert_eq!(config.server.listen, "127.0.0.1:8888".parse().unwrap());
    assert_eq!(
        config.logging.file.as_deref().unwrap().to_str(),
        Some("/var/log/proxy-chain/server.log")
    );
    assert_eq!(
        (config.logging.level, config.logging.format),
        (LogLevel::Info, LogFormat::Json)
    );
    assert!(!config.plain_mode);
}

#[test]
fn the_file_of_early_users_names_each_variable_and_key_that_is_missing() {
    let errors = Fixture::new(ORIGINAL).env("CORP_PROXY_USER", "u").errors();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(lines.len(), 4, "{errors}");
    assert_eq!(
        lines[0],
        "config.yaml:13:13: corporate_proxy.password: the environment variable `CORP_PROXY_PASS` is not set \
         (set it, or write `${CORP_PROXY_PASS:-default}`)"
    );
    assert!(
        lines[3].starts_with(
            "config.yaml:37:17: rotation.proxies[2].password: the environment variable `ROTATING_PROXY_PASS`"
        ),
        "{errors}"
    );
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Fixture::new("").config();
    let server = &config.server;
    assert_eq!(server.listen, "127.0.0.1:8888".parse().unwrap());
    assert_eq!((server.max_connections, server.max_head_bytes), (1000, 65_536));
    assert_eq!(
        (server.timeout, server.idle_timeout),
        (Duration::from_secs(30), Duration::from_secs(300))
    );
    assert_eq!(server.shutdown_grace, Duration::from_secs(30));
    assert!(server.http && server.socks5 && server.auth.is_none() && server.rate_limit.is_none());
    assert!(server.allow_from.is_empty() && !server.watch_config);
    assert!(config.corporate.is_none() && config.pools.is_empty() && config.routes.is_empty());
    let tunnel = &config.tunnel;
    assert_eq!(
        (tunnel.connect_timeout, tunnel.read_timeout),
        (Duration::from_secs(10), Duration::from_secs(30))
    );
    assert_eq!(
        (tunnel.warm_connections, tunnel.warm_max),
        (WarmConnections::Fixed(0), 64)
    );
    assert_eq!(
        (tunnel.idle_connections, tunnel.idle, tunnel.dns_cache_ttl),
        (64, Duration::from_secs(60), Duration::from_secs(60))
    );
    let health = &config.health_check;
    assert_eq!(
        (health.enabled, health.method, health.concurrency),
        (true, HealthMethod::Http, 64)
    );
    assert_eq!(
        (health.interval, health.timeout),
        (Duration::from_secs(60), Duration::from_secs(10))
    );
    assert_eq!((health.failure_threshold, health.success_threshold), (3, 2));
    assert_eq!(
        (
            health.test_url.to_string().as_str(),
            health.expect_status.as_slice()
        ),
        ("https://api.ipify.org:443/", &[200][..])
    );
    assert_eq!(health.expect_body, None);
    let breaker = &config.circuit_breaker;
    assert_eq!(
        (
            breaker.enabled,
            breaker.failure_threshold,
            breaker.success_threshold
        ),
        (true, 5, 3)
    );
    assert_eq!(
        (breaker.timeout, breaker.half_open_max),
        (Duration::from_secs(30), 1)
    );
    let retry = &config.retry;
    assert_eq!(
        (retry.enabled, retry.max_retries, retry.retry_on_status.as_slice()),
        (true, 3, &[502, 503, 504][..])
    );
    assert_eq!(
        (retry.backoff_initial, retry.backoff_max),
        (Duration::ZERO, Duration::from_secs(1))
    );
    assert_eq!((retry.budget_percent, retry.budget_min_per_second), (20, 3));
    let logging = &config.logging;
    assert_eq!(
        (logging.level, logging.format, logging.rotation),
        (LogLevel::Info, LogFormat::Json, LogRotation::Daily)
    );
    assert_eq!((logging.file.as_ref(), logging.keep_files), (None, 7));
    let metrics = &config.metrics;
    assert_eq!(
        (metrics.enabled, metrics.listen.to_string().as_str()),
        (true, "127.0.0.1:9090")
    );
    assert_eq!(
        (metrics.path.as_str(), metrics.max_proxy_series),
        ("/metrics", 1000)
    );
    let admin = &config.admin;
    assert_eq!(
        (admin.enabled, admin.listen.to_string().as_str()),
        (true, "127.0.0.1:8889")
    );
    assert!(admin.token.is_none() && admin.state_file.is_none() && admin.allowed_hosts.is_empty());
    let pool = &Fixture::new("rotation: {}").config().pools[0];
    assert_eq!(
        (pool.sticky.ttl, pool.sticky.max_sessions),
        (Duration::from_secs(600), 100_000)
    );
    assert_eq!(
        (pool.strategy, pool.when_exhausted, &pool.fallback),
        (Strategy::RoundRobin, WhenExhausted::Any, &None)
    );
}

#[test]
fn members_are_written_in_many_ways() {
    let text = "rotation:\n  proxies:\n    - http://u:p%40@h1:1\n    - h2\n    - socks5h://h3\n    \
                - {url: 'https://h4', username: u, password: 123, weight: 7, tags: {n: 1, ok: true}, reuse: false, enabled: false}\n    \
                - {host: '::1', port: 5, protocol: socks4a, id: six}\n    - {id: tls, host: h, port: 6, protocol: https, tls: {server_name: s, insecure_skip_verify: true}}\n";
    let fixture = Fixture::new(text);
    let config = fixture.config();
    let shown: Vec<_> = config.pools[0]
        .members
        .iter()
        .map(|member| {
            let user = member
                .hop
                .credentials
                .as_ref()
                .map(|known| format!("{}|{}", known.username(), known.password().expose()));
            format!(
                "{} {} {}",
                member.hop.protocol,
                member.hop.endpoint,
                user.unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "http h1:1 u|p@",
            "http h2:80 ",
            "socks5 h3:1080 ",
            "https h4:443 u|123",
            "socks4 [::1]:5 ",
            "https h:6 "
        ]
    );
    let fourth = &config.pools[0].members[3];
    assert_eq!(
        (fourth.weight.get(), fourth.reuse, fourth.enabled),
        (7, false, false)
    );
    assert_eq!(
        fourth
            .tags
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>(),
        ["n=1", "ok=true"]
    );
    assert_eq!(
        config.pools[0].members[5].hop.tls.server_name.as_deref(),
        Some("s")
    );
    assert_eq!(
        fixture.warnings().len(),
        1,
        "an unproven certificate is worth a word"
    );
}

#[test]
fn derived_ids_are_stable_and_do_not_tell_the_user_name() {
    let config = Fixture::new(
        "rotation: {proxies: ['http://customer-17:p@h:1', 'http://h:1']}\npools: {one: 'http://h:1', two: {proxies: [h:1]}}",
    )
    .config();
    let ids: Vec<_> = config
        .pools
        .iter()
        .flat_map(|pool| &pool.members)
        .map(|member| member.id.as_str())
        .collect();
    // Written out: another number here means that every user's statistics and overlays are lost.
    assert_eq!(
        ids,
        [
            "http-h-1-6cf6d1df93d89ced",
            "http-h-1",
            "http-h-1@one",
            "http-h-1@two"
        ]
    );
    let names: Vec<_> = config
        .pools
        .iter()
        .flat_map(|pool| &pool.members)
        .map(|member| member.hop.name.as_str())
        .collect();
    assert_eq!(ids, names);
}

#[test]
fn a_longest_host_name_still_has_an_id() {
    let host = format!("{}.{}.{}.example", "a".repeat(63), "b".repeat(63), "c".repeat(63));
    let config = Fixture::new(&format!("rotation: {{proxies: ['http://user:p@{host}:65535']}}")).config();
    assert!(config.pools[0].members[0].id.as_str().len() <= 128);
}

#[test]
fn pools_override_health_checks_key_by_key() {
    let text = "health_check: {interval_seconds: 7, timeout_seconds: 3}\n\
                rotation: {proxies: [h:1]}\npools:\n  p:\n    proxies: [h:2]\n    health_check: {method: tcp, interval_seconds: 0.5}\n";
    let config = Fixture::new(text).config();
    assert_eq!(config.pools[0].health, config.health_check);
    let own = &config.pool("p").unwrap().health;
    assert_eq!(
        (own.method, own.interval, own.timeout),
        (
            HealthMethod::Tcp,
            Duration::from_millis(500),
            Duration::from_secs(3)
        )
    );
}

#[test]
fn routes_keep_their_order_and_shape() {
    let text = "corporate_proxy: {host: c, port: 1}\nrotation: {proxies: [h:1]}\npools: {p: h:2}\nroutes:\n  \
                - {hosts: ['*.Binance.com', .x.example, 10.0.0.0/8, 1.2.3.4], pool: p}\n  - {hosts: [a], via: direct}\n  \
                - {hosts: [b], via: corporate}\n  - {hosts: ['*'], via: reject}\n";
    let routes = Fixture::new(text).config().routes;
    assert!(matches!(&routes[0].hosts[0], HostPattern::Glob(glob) if &**glob == "*.binance.com"));
    assert!(matches!(&routes[0].hosts[1], HostPattern::Suffix(domain) if &**domain == "x.example"));
    assert!(matches!(&routes[0].hosts[2], HostPattern::Net(net) if net.prefix_len() == 8));
    assert!(matches!(&routes[0].hosts[3], HostPattern::Net(net) if net.prefix_len() == 32));
    let to: Vec<_> = routes.iter().map(|route| route.to.clone()).collect();
    assert!(matches!(&to[0], RouteTo::Pool(name) if name.as_str() == "p"));
    assert_eq!(to[1..], [RouteTo::Direct, RouteTo::Corporate, RouteTo::Reject]);
}

#[test]
fn whole_references_fill_numbers_flags_and_names() {
    let text = "server: {port: $<PORT>, watch_config: '${WATCH:-true}', timeout_seconds: '${T:-1.5}'}\n\
                rotation: {strategy: $<STRATEGY>, proxies: [h:1]}\nlogging: {file: '${LOG:-}', level: debug}\n";
    let config = Fixture::new(text)
        .env("PORT", "9000")
        .env("STRATEGY", "hash")
        .config();
    assert_eq!(
        (config.server.listen.port(), config.server.watch_config),
        (9000, true)
    );
    assert_eq!(config.server.timeout, Duration::from_millis(1500));
    assert_eq!(
        (config.pools[0].strategy, config.logging.file),
        (Strategy::Hash, None)
    );
    assert_eq!(
        config.logging.level,
        LogLevel::Debug,
        "the case of a level does not matter"
    );
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "rotation:\n  proxies:\n    - &base {host: a, port: 1, username: u, password: p, weight: 3}\n    - {<<: *base, host: b}\n";
    let members = &Fixture::new(text).config().pools[0].members;
    assert_eq!(
        (
            members[1].hop.endpoint.to_string().as_str(),
            members[1].weight.get()
        ),
        ("b:1", 3)
    );
}

#[test]
fn a_socks4_password_is_worth_a_word() {
    for entry in ["'socks4://u:hunter2@h:1'", "{url: 'socks4://u:hunter2@h:1'}"] {
        let warnings = Fixture::new(&format!("rotation: {{proxies: [{entry}]}}")).warnings();
        assert!(
            warnings[0].contains("only the user name is sent") && !warnings[0].contains("hunter2"),
            "{warnings:?}"
        );
    }
}

/// Loads the masked dump again and compares what is no secret.
#[track_caller]
fn reload(config: &Config) -> Config {
    let again = Fixture::new(config.to_masked_yaml()).config();
    assert_eq!(
        again.to_masked_yaml(),
        config.to_masked_yaml(),
        "the dump of the dump is the dump"
    );
    assert_eq!(again.plain_mode, config.plain_mode);
    again
}

#[test]
fn the_masked_dump_loads_again_and_holds_no_secret() {
    let text = "server: {auth: {users: [{username: a, password: hunter2}]}, rate_limit: {requests_per_second: 0.5}}\n\
                corporate_proxy: {host: c, port: 1, username: 'a$b${X}', password: hunter2, domain: CORP}\n\
                rotation:\n  proxies: ['http://u%20{session}:hunter2@h:1', {url: 'socks5://x:hunter2@h:2'}, {host: h, port: 3, username: y, password: hunter2, tags: {k: '$$5'}}]\n\
                pools: {one: 'http://u:hunter2@o:1', two: {proxies: [], fallback: one, health_check: {method: tcp}}}\n\
                routes: [{hosts: [a], pool: one}]\nadmin: {token: hunter2}\n";
    let config = Fixture::new(text).env("X", "$y").config();
    let dump = config.to_masked_yaml();
    assert!(!dump.contains("hunter2"), "{dump}");
    assert!(
        dump.contains("token: '***'") && dump.contains("http://u:***@o:1"),
        "{dump}"
    );
    let again = reload(&config);
    assert_eq!(
        again.corporate.clone().unwrap().credentials.unwrap().username(),
        "a$b$y"
    );
    let hops = |config: &Config| {
        config
            .pools
            .iter()
            .flat_map(|pool| pool.members.clone())
            .collect::<Vec<_>>()
    };
    for (before, after) in hops(&config).iter().zip(hops(&again)) {
        assert_eq!(before.id, after.id);
        assert!(before.hop.is_same_proxy(&after.hop));
        assert_eq!(before.fingerprint(), after.fingerprint());
    }
    assert_eq!(again.routes, config.routes);
}

#[test]
fn dumps_of_every_kind_of_chain_load_again() {
    for text in [
        "",
        "rotation: {}",
        "corporate_proxy: {host: c, port: 1}",
        "pools: {p: h:1}",
        "admin: {state_file: /tmp/x}",
        "pools: {default: {proxies: [h:1]}}",
    ] {
        let config = Fixture::new(text).config();
        let again = reload(&config);
        let names = |config: &Config| {
            config
                .pools
                .iter()
                .map(|pool| pool.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&again), names(&config), "{text}");
    }
    reload(&original().config());
}

#[test]
fn debug_output_of_everything_holds_no_secret() {
    let fixture = Fixture::new(
        "corporate_proxy: {host: c, port: 1, username: u, password: hunter2}\nadmin: {token: hunter2}\n",
    )
    .env("PCS__ROTATION__PROXIES", "[\"http://u:hunter2@h:1\"]")
    .set("server.auth={users: [{username: u, password: hunter2}]}")
    .upstream("http://u:hunter2@h:2");
    let shown = format!("{:?} {:?}", fixture.sources, fixture.load().unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_value_of_the_environment_never_becomes_structure(value in "[-a:{}\\[\\]&*<!|>'\"#,~ \n\t0-9é?%@`$]{0,30}") {
        let fixture = Fixture::new("rotation:\n  proxies: [{id: x, host: h, port: 1, tags: {t: \"${V}\", u: 'a${V}b'}}]\n").env("V", &value);
        let config = fixture.config();
        prop_assert_eq!(config.pools.len(), 1);
        let tags = &config.pools[0].members[0].tags;
        prop_assert_eq!(tags.len(), 2);
        prop_assert_eq!(&tags["t"], &value);
        prop_assert_eq!(&tags["u"], &format!("a{value}b"));
    }

    #[test]
    fn whatever_a_password_is_no_error_and_no_dump_tells_it(value in "[a-z:@/?#%$\\[\\]{}&*! ]{0,8}hunter2[a-z:@/?#%$\\[\\]{}&*! ]{0,8}") {
        let keys = "corporate_proxy: {host: c, port: 1, username: u, password: $<V>}\nadmin: {token: $<V>}\n\
                    rotation: {proxies: ['http://u:${V}@h:1', {host: a, port: 1, username: u, password: $<V>}]}\n";
        match Fixture::new(keys).env("V", &value).load() {
            Ok(loaded) => {
                prop_assert!(!loaded.config.to_masked_yaml().contains("hunter2"), "{}", loaded.config.to_masked_yaml());
                prop_assert!(loaded.warnings.iter().all(|warning| !warning.to_string().contains("hunter2")));
            }
            Err(errors) => prop_assert!(!errors.to_string().contains("hunter2"), "{errors}"),
        }
    }

    #[test]
    fn no_file_panics(lines in proptest::collection::vec("(server|rotation|  port|  proxies|    - host|pools|routes|  - hosts|  - ): [-a-z{}\\[\\]0-9,:*&]{0,12}", 0..8)) {
        let _ = Fixture::new(&lines.join("\n")).load();
    }
}

#[test]
fn a_large_file_is_read_in_reasonable_time_and_exactly() {
    // Nearly the largest file there may be: more would be quadratic somewhere, and this would never end.
    let mut text = "rotation:\n  proxies:\n".to_owned();
    for index in 0..12_000 {
        text.push_str(&format!(
            "    - {{id: p{index}, host: h{index}.example, port: 8080, username: u, password: p}}\n"
        ));
    }
    assert!(text.len() < 1024 * 1024);
    let config = pcs_config::load_text(&pcs_config::Sources::default(), "large", &text)
        .unwrap()
        .config;
    let members = &config.pools[0].members;
    assert_eq!((members.len(), members[11_999].line), (12_000, Some(12_002)));
}
