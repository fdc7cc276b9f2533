//! Committed files that come out of the table. To write them anew: `cargo run -p pcs-config --example generate`.

use std::path::{Path, PathBuf};

use pcs_config::{DEFAULT_YAML, default_yaml, json_schema, reference_markdown};

use crate::Fixture;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[track_caller]
fn is_current(name: &str, current: &str) {
    let committed = std::fs::read_to_string(workspace().join(name)).unwrap();
    assert!(
        committed == current,
        "{name} is stale: run `cargo run -p pcs-config --example generate`"
    );
}

#[test]
fn the_reference_is_current() {
    is_current("docs/configuration.md", &reference_markdown());
}

#[test]
fn the_default_file_is_current() {
    is_current("config/default.yaml", &default_yaml());
    assert_eq!(
        DEFAULT_YAML,
        default_yaml(),
        "the embedded one is the committed one"
    );
}

#[test]
fn the_schema_is_current() {
    let committed = std::fs::read_to_string(workspace().join("config/schema.json")).unwrap();
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    // Compared as values: the order of keys hangs on a feature of serde_json that others may switch on.
    assert!(
        parse(&committed) == parse(&json_schema()),
        "config/schema.json is stale: run `cargo run -p pcs-config --example generate`"
    );
}

#[test]
fn the_default_file_changes_nothing() {
    let written = Fixture::new(DEFAULT_YAML).config();
    let nothing = Fixture::new("").config();
    assert_eq!(written.to_masked_yaml(), nothing.to_masked_yaml());
    assert!(written.plain_mode);
}

#[test]
fn what_the_default_file_comments_out_is_right_when_it_is_not() {
    // Blocks of comments that begin with a key: `# corporate_proxy:`, `#   auth:` and so on.
    let mut text = String::new();
    for line in DEFAULT_YAML.lines().skip_while(|line| line.starts_with('#')) {
        let live = line
            .strip_prefix("# ")
            .filter(|_| !line.starts_with("# More") && !line.starts_with("# The"));
        text.push_str(live.unwrap_or(line));
        text.push('\n');
    }
    for (off, on) in [
        ("corporate_proxy: null\n", ""),
        ("  auth: null\n", ""),
        ("  rate_limit: null\n", ""),
    ] {
        text = text.replacen(off, on, 1);
    }
    let prose: String = text
        .lines()
        .filter(|line| line.contains(':') || line.trim_start().starts_with('#'))
        .map(|line| {
            let is_prose = !line.trim_start().starts_with('#')
                && !line
                    .trim_start()
                    .split(':')
                    .next()
                    .unwrap()
                    .chars()
                    .all(|char| char.is_ascii_lowercase() || char == '_');
            if is_prose {
                String::from("\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let config = Fixture::new(&prose).env("ALICE_PASSWORD", "p").config();
    assert!(config.corporate.is_some() && config.server.auth.is_some() && config.server.rate_limit.is_some());
    assert_eq!(config.pools.len(), 1);
}

#[test]
fn the_reference_has_every_key_of_the_default_file() {
    let reference = reference_markdown();
    for line in DEFAULT_YAML.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line).trim_start();
        let Some((key, _)) = line.split_once(':') else {
            continue;
        };
        if !key.is_empty() && key.chars().all(|char| char.is_ascii_lowercase() || char == '_') {
            assert!(reference.contains(&format!("`{key}`")), "{key}");
        }
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let mut seen = 0;
    for entry in std::fs::read_dir(workspace().join("config/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let mut fixture = Fixture::new(&text);
        for name in [
            "CORP_PROXY_USER",
            "CORP_PROXY_PASS",
            "ROTATING_PROXY_PASS",
            "PROVIDER_CUSTOMER",
            "PROVIDER_PASS",
            "ALICE_PASSWORD",
            "BOB_PASSWORD",
            "RESIDENTIAL_PASS",
            "DATACENTER_PASS",
            "PCS_ADMIN_TOKEN",
        ] {
            let is_user = name.ends_with("_USER") || name.ends_with("_CUSTOMER");
            fixture = fixture.env(name, if is_user { "someone" } else { "hunter2" });
        }
        assert_eq!(fixture.warnings(), [""; 0], "{}", path.display());
        let config = fixture.config();
        assert!(
            !config.plain_mode && !config.pools[0].members.is_empty(),
            "{}",
            path.display()
        );
        assert!(!config.to_masked_yaml().contains("hunter2"), "{}", path.display());
    }
    assert!(seen >= 3);
}
