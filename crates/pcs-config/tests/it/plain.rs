//! Plain mode, and what fails closed.

use crate::Fixture;

/// What there is: `plain`, `corporate` (it is the whole chain), or the pools by name with their sizes.
fn chain(fixture: &Fixture) -> String {
    let config = fixture.config();
    assert_eq!(
        config.plain_mode,
        config.pools.is_empty() && config.corporate.is_none()
    );
    if config.plain_mode {
        return "plain".to_owned();
    }
    let pools: Vec<_> = config
        .pools
        .iter()
        .map(|pool| format!("{} {}", pool.name, pool.members.len()))
        .collect();
    let corporate = config.corporate.map(|_| "corporate".to_owned());
    corporate.into_iter().chain(pools).collect::<Vec<_>>().join(", ")
}

#[test]
fn only_a_configuration_that_names_no_chain_is_plain() {
    let cases = [
        ("", "plain"),
        ("server: {port: 1}\nhealth_check: {enabled: false}", "plain"),
        (
            "corporate_proxy: null\npools: {}\nadmin: {state_file: null}\nroutes: []",
            "plain",
        ),
        ("corporate_proxy: {host: c, port: 1}", "corporate"),
        (
            "corporate_proxy: {host: c, port: 1}\nrotation: {proxies: [h:1]}",
            "corporate, default 1",
        ),
        ("corporate_proxy: {host: c, port: 1, enabled: false}", "default 0"),
        ("rotation: {proxies: []}", "default 0"),
        ("rotation: {}", "default 0"),
        ("rotation:\n#  proxies: [h:1]", "default 0"),
        ("pools:\n#  x: h:1", "default 0"),
        ("pools: {x: h:1}", "default 0, x 1"),
        ("pools: {b: h:1, default: h:2, a: h:3}", "default 1, a 1, b 1"),
        ("admin: {state_file: /tmp/state.json}", "default 0"),
        (
            "corporate_proxy: {host: c, port: 1}\nadmin: {state_file: /tmp/state.json}",
            "corporate, default 0",
        ),
        (
            "corporate_proxy: {host: c, port: 1}\nrotation: {}",
            "corporate, default 0",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(chain(&Fixture::new(text)), expected, "{text}");
    }
}

#[test]
fn environment_and_flags_name_a_chain_too() {
    assert_eq!(chain(&Fixture::new("").upstream("h:1")), "default 1");
    assert_eq!(
        chain(&Fixture::new("").set("rotation.strategy=hash")),
        "default 0"
    );
    assert_eq!(
        chain(&Fixture::new("").env("PCS__ROTATION__PROXIES", "[]")),
        "default 0"
    );
    assert_eq!(
        chain(&Fixture::new("").env("PCS__ADMIN__STATE_FILE", "/tmp/x")),
        "default 0"
    );
    assert_eq!(
        chain(&Fixture::new("").env("PCS__ROTATION", "")),
        "default 0",
        "an empty variable is a template gone wrong"
    );
    let mut skipped = Fixture::new("corporate_proxy: {host: c, port: 1}");
    skipped.sources.no_corporate = true;
    assert_eq!(
        chain(&skipped),
        "default 0",
        "skipping the only hop opens no way past it"
    );
}

#[test]
fn a_chain_without_proxies_is_worth_a_word() {
    let is_warned = |text: &str| {
        Fixture::new(text)
            .warnings()
            .iter()
            .any(|warning| warning.contains("are answered 503"))
    };
    assert!(is_warned("rotation: {}"));
    assert!(is_warned("pools: {x: h:1}"));
    assert!(!is_warned("pools: {x: h:1}\nroutes: [{hosts: ['*'], pool: x}]"));
    assert!(!is_warned("rotation: {fallback: x}\npools: {x: h:1}"));
    assert!(!is_warned("rotation: {proxies: [h:1]}"));
    assert!(
        !is_warned("admin: {state_file: /tmp/x}"),
        "members may come back from there"
    );
}
