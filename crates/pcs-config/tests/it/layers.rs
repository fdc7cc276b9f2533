//! Which source wins.

use crate::Fixture;

const FILE: &str = "server: {port: 1, max_connections: 1}\nlogging: {level: ERROR}\nrotation: {strategy: random, proxies: [f:1]}\n";

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let port = |fixture: Fixture| fixture.config().server.listen.port();
    assert_eq!(port(Fixture::new("")), 8888);
    assert_eq!(port(Fixture::new(FILE)), 1);
    assert_eq!(port(Fixture::new(FILE).env("PCS__SERVER__PORT", "2")), 2);
    assert_eq!(
        port(
            Fixture::new(FILE)
                .env("PCS__SERVER__PORT", "2")
                .set("server.port=3")
        ),
        3
    );
    assert_eq!(
        port(Fixture::new(FILE).set("server.port=3").set("server.port=4")),
        4,
        "the later one wins"
    );
    let config = Fixture::new(FILE).set("server.port=3").config();
    assert_eq!(config.server.max_connections, 1, "the rest of the section stays");
}

#[test]
fn lists_are_replaced_and_maps_are_merged() {
    let config = Fixture::new(FILE)
        .set("rotation.proxies=[a:1, 'b:2']")
        .set("pools.x={proxies: ['c:3']}")
        .config();
    assert_eq!(config.pools[0].strategy.as_str(), "random");
    assert_eq!(config.pools[0].members.len(), 2);
    assert_eq!(config.pool("x").unwrap().members.len(), 1);
    let config = Fixture::new("")
        .env("PCS__SERVER__ALLOW_FROM", "10.0.0.0/8, 127.0.0.1")
        .config();
    assert_eq!(config.server.allow_from.len(), 2, "commas make a list too");
    let config = Fixture::new("")
        .env("PCS__RETRY__RETRY_ON_STATUS", "[500]")
        .config();
    assert_eq!(config.retry.retry_on_status, [500]);
}

#[test]
fn what_a_flag_or_variable_replaces_is_not_even_expanded() {
    let text = "corporate_proxy: {host: c, port: 1, username: u, password: $<NOT_SET>}\nrotation: {proxies: [h:1]}\n";
    assert!(Fixture::new(text).load().is_err());
    let config = Fixture::new(text)
        .env("PCS__CORPORATE_PROXY__PASSWORD", "${A}$$")
        .config();
    let credentials = config.corporate.unwrap().credentials.unwrap();
    assert_eq!(
        credentials.password().expose(),
        "${A}$$",
        "environment values are taken as they are"
    );
}

#[test]
fn scalars_of_flags_and_variables_are_texts_whatever_they_look_like() {
    for value in ["12345", "true", "[x", "{a: b}", "a: b", "'", "null", "~", " x "] {
        let config = Fixture::new("corporate_proxy: {host: c, port: 1, username: u}")
            .set(&format!("corporate_proxy.password={value}"))
            .config();
        assert_eq!(
            config.corporate.unwrap().credentials.unwrap().password().expose(),
            value
        );
    }
    let config = Fixture::new("logging: {file: /x}")
        .set("logging.file=null")
        .config();
    assert_eq!(config.logging.file, None, "an optional key can be unset");
}

#[test]
fn upstreams_follow_the_proxies_of_the_file() {
    let config = Fixture::new(FILE)
        .upstream("http://u:p@x:2")
        .upstream("y")
        .config();
    let hosts: Vec<_> = config.pools[0]
        .members
        .iter()
        .map(|member| member.hop.endpoint.to_string())
        .collect();
    assert_eq!(hosts, ["f:1", "x:2", "y:80"]);
    for text in ["", "rotation:", "rotation: {proxies: }"] {
        let config = Fixture::new(text).upstream("${x").load();
        assert!(config.is_err(), "flags are not expanded, and this is no host");
        assert_eq!(
            Fixture::new(text).upstream("x:1").config().pools[0].members.len(),
            1,
            "{text}"
        );
    }
}

#[test]
fn the_log_level_flag_wins() {
    let mut fixture = Fixture::new(FILE)
        .env("PCS__LOGGING__LEVEL", "warn")
        .set("logging.level=info");
    fixture.sources.log_level = Some("debug".to_owned());
    assert_eq!(fixture.config().logging.level.as_str(), "DEBUG");
    fixture.sources.log_level = Some("loud".to_owned());
    assert!(
        fixture
            .errors()
            .starts_with("--log-level: logging.level: expected `TRACE`")
    );
}

#[test]
fn variables_with_one_underscore_are_somebody_elses() {
    let config = Fixture::new("")
        .env("PCS_SERVER_PORT", "tcp://10.0.0.1:80")
        .env("PCS_PORT", "x")
        .config();
    assert_eq!(config.server.listen.port(), 8888);
}

#[test]
fn a_skipped_corporate_proxy_is_not_even_looked_at() {
    let text = "corporate_proxy: {host: $<NOT_SET>, port: x}\nrotation: {proxies: [h:1]}\nroutes: [{hosts: [a], via: corporate}]\n";
    let mut fixture = Fixture::new(text);
    fixture.sources.no_corporate = true;
    let config = fixture.config();
    assert!(config.corporate.is_none() && !config.plain_mode);
    assert!(
        fixture
            .warnings()
            .iter()
            .any(|warning| warning.contains("the corporate proxy is off"))
    );
}

#[test]
fn a_disabled_corporate_proxy_is_none() {
    let config =
        Fixture::new("corporate_proxy: {host: c, port: 1, enabled: false}\nrotation: {proxies: [h:1]}")
            .config();
    assert!(config.corporate.is_none());
}
