//! Members that arrive as JSON.

use std::num::NonZeroU16;

use pcs_config::{MemberPatch, member_from_json, parse_proxy_url, patch_from_json};
use serde_json::json;

fn member_errors(body: serde_json::Value) -> Vec<String> {
    member_from_json(body)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_member_has_the_keys_of_the_file() {
    let member = member_from_json(json!({
        "id": "x", "host": "h", "port": 1, "protocol": "socks5", "username": "u-{session}", "password": "hunter2",
        "weight": 3, "enabled": false, "tags": { "a": "b", "n": 1 }, "reuse": false,
    }))
    .unwrap();
    assert_eq!(
        (
            member.id.as_str(),
            member.id_given,
            member.weight.get(),
            member.enabled,
            member.reuse
        ),
        ("x", true, 3, false, false)
    );
    assert!(member.hop.credentials.as_ref().unwrap().is_session_template());
    assert_eq!(
        (member.tags["a"].as_str(), member.tags["n"].as_str(), member.line),
        ("b", "1", None)
    );
    let derived = member_from_json(json!({ "host": "h", "port": 1 })).unwrap();
    assert_eq!((derived.id.as_str(), derived.id_given), ("http-h-1", false));
    let by_url = member_from_json(json!({ "url": "http://u:${X}@h:1" })).unwrap();
    let credentials = by_url.hop.credentials.unwrap();
    assert_eq!(credentials.password().expose(), "${X}", "nothing is expanded");
}

#[test]
fn every_mistake_is_told_and_no_secret() {
    let errors = member_errors(json!({
        "port": 70000, "protocol": "ftp", "wieght": 1, "weight": 0, "password": ["hunter2"], "id": "a b",
    }));
    assert_eq!(
        errors,
        [
            "wieght: unknown key `wieght`, did you mean `weight`?",
            "port: expected a whole number from 1 to 65535, found `70000`",
            "protocol: expected `http`, `https`, `socks4`, `socks5`, `socks4a`, `socks5h`, found `ftp`",
            "password: expected text (never shown), found a list",
            "weight: expected a whole number from 1 to 65535, found `0`",
            "id: the name holds a character that is not allowed (letters, digits, `.`, `_`, `-`, `:`, `@`, `~`, `+`)",
            "host: required: host name or IP address (or give `url`)",
        ]
    );
    assert_eq!(
        member_errors(json!(null)),
        ["body: expected a map, found nothing"]
    );
    assert_eq!(member_errors(json!([])), ["body: expected a map, found a list"]);
    assert_eq!(
        member_errors(json!({ "url": "ftp://u:hunter2@h" })),
        [
            "url: expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: unknown protocol (allowed: http, https, socks4, socks5)"
        ]
    );
}

#[test]
fn a_caller_of_the_api_makes_us_read_no_file() {
    let errors =
        member_errors(json!({ "host": "h", "port": 1, "username": "u", "password_file": "/etc/passwd" }));
    assert_eq!(
        errors,
        ["password_file: files can be named by the configuration only, not through the API"]
    );
    let errors = member_errors(
        json!({ "host": "h", "port": 1, "protocol": "https", "tls": { "ca_file": "/etc/passwd" } }),
    );
    assert_eq!(
        errors,
        ["tls.ca_file: files can be named by the configuration only, not through the API"]
    );
}

#[test]
fn a_patch_changes_three_things() {
    let patch = patch_from_json(json!({ "enabled": false, "weight": 5, "tags": { "a": "b" } })).unwrap();
    let mut member = member_from_json(json!({ "host": "h", "port": 1, "tags": { "old": "x" } })).unwrap();
    patch.apply(&mut member);
    assert_eq!(
        (member.enabled, member.weight),
        (false, NonZeroU16::new(5).unwrap())
    );
    assert_eq!(member.tags.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(
        patch_from_json(json!({})),
        Ok(MemberPatch::default()),
        "what is not named stays"
    );
    assert_eq!(
        patch_from_json(json!({ "tags": {} }))
            .unwrap()
            .tags
            .map(|tags| tags.len()),
        Some(0)
    );
    for name in ["enabled", "weight", "tags"] {
        let errors = patch_from_json(json!({ name: null })).unwrap_err();
        assert_eq!((errors.len(), errors[0].field.as_str()), (1, name), "{errors:?}");
    }
    let errors = patch_from_json(json!({ "host": "x", "weight": -1, "colour": 1 })).unwrap_err();
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(
        shown
            .iter()
            .any(|line| line == "host: cannot be changed (allowed: `enabled`, `weight`, `tags`)"),
        "{shown:?}"
    );
}

#[test]
fn a_url_makes_a_hop() {
    let hop = parse_proxy_url("https://u:p@h").unwrap().into_hop();
    assert_eq!((hop.name.as_str(), hop.endpoint.port), ("h:443", 443));
}
