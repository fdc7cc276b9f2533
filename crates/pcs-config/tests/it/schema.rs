//! The schema agrees with the reader on whole files. A validator of just the words the schema uses.

use std::path::Path;

use pcs_config::json_schema;
use serde_json::{Value, json};

/// Where a value breaks the schema.
fn check(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        let only_required = choices
            .iter()
            .all(|choice| choice.as_object().is_some_and(|map| map.keys().eq(["required"])));
        let errors: Vec<_> = choices
            .iter()
            .filter_map(|choice| check(choice, value, path).err())
            .collect();
        if errors.len() == choices.len() {
            return Err(if only_required {
                format!("{path}: required")
            } else {
                errors.join(" | ")
            });
        }
    }
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the schema has an unknown type {other}"),
    };
    let fits = match &schema["type"] {
        Value::Null => true,
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
        other => panic!("the schema has a strange type {other}"),
    };
    let in_range = value.as_f64().is_none_or(|number| {
        schema["minimum"].as_f64().is_none_or(|min| number >= min)
            && schema["maximum"].as_f64().is_none_or(|max| number <= max)
            && schema["exclusiveMinimum"].as_f64().is_none_or(|min| number > min)
    });
    let in_names = schema["enum"]
        .as_array()
        .is_none_or(|names| names.contains(value));
    let is_reference =
        schema["pattern"].is_null() || value.as_str().is_some_and(|text| text.starts_with('$'));
    if !(fits && in_range && in_names && is_reference) {
        return Err(format!("{path}: {value}"));
    }
    if let Some(map) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten() {
            map.get(name.as_str().unwrap())
                .ok_or_else(|| format!("{path}.{name}: required"))?;
        }
        for (name, value) in map {
            let path = format!("{path}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => return Err(format!("{path}: unknown")),
                (Value::Null, Value::Null) => {}
                (Value::Null, schema) | (schema, _) => check(schema, value, &path)?,
            }
        }
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            check(&schema["items"], item, &format!("{path}[{index}]"))?;
        }
    }
    Ok(())
}

fn schema() -> Value {
    serde_json::from_str(&json_schema()).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn the_schema_takes_every_committed_file() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![
        workspace.join("config/default.yaml"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/original-config.yaml"),
    ];
    files.extend(
        std::fs::read_dir(workspace.join("config/examples"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    for file in files {
        let value = yaml(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(check(&schema(), &value, ""), Ok(()), "{}", file.display());
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let cases = [
        json!({ "rotation": { "stategy": "random" } }),
        json!({ "server": { "port": 99999 } }),
        json!({ "server": { "port": "8888" } }),
        json!({ "server": { "timeout_seconds": 0 } }),
        json!({ "rotation": { "strategy": "fancy" } }),
        json!({ "rotation": { "proxies": [{ "id": "x" }] } }),
        json!({ "corporate_proxy": { "host": "h" } }),
        json!({ "server": { "auth": {} } }),
        json!({ "tunnel": { "warm_connections": "many" } }),
        json!({ "pools": { "p": 1 } }),
        json!({ "routes": [{ "hosts": "a" }] }),
    ];
    for case in cases {
        assert!(check(&schema(), &case, "").is_err(), "the schema takes {case}");
        assert!(
            crate::Fixture::new(&case.to_string()).load().is_err(),
            "the reader takes {case}"
        );
    }
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    let cases = [
        json!({}),
        json!({ "server": null, "corporate_proxy": null, "pools": null }),
        json!({ "server": { "port": "${PORT}", "auth": null, "watch_config": "$<FLAG>" } }),
        json!({ "rotation": { "proxies": ["h:1", { "url": "h:2" }, { "host": "h", "port": 3, "tls": null, "password": null }] } }),
        json!({ "pools": { "p": "h:1", "q": { "health_check": { "method": "tcp" } } }, "tunnel": { "warm_connections": "auto" } }),
        json!({ "admin": { "token": 12345, "allowed_hosts": ["a"] }, "logging": { "file": null } }),
    ];
    for case in cases {
        assert_eq!(check(&schema(), &case, ""), Ok(()), "{case}");
        crate::Fixture::new(&case.to_string())
            .env("PORT", "1")
            .env("FLAG", "true")
            .config();
    }
}
