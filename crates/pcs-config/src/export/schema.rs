//! The JSON Schema of the file, for editors.

use serde_json::{Map, Value, json};

use super::preset;
use crate::keys::{MEMBER, ROOT};
use crate::table::{Form, Key, Kind, MIN_SECONDS, Preset, Section};

/// One whole reference, which may stand for a number or a flag.
const REFERENCE: &str = r"^\$(\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}|<[A-Za-z_][A-Za-z0-9_]*>)$";

/// The JSON Schema (draft 2020-12) of a configuration file, in the words of the one table.
///
/// Committed as `config/schema.json`; a test fails when that file is stale.
#[must_use]
#[expect(
    clippy::missing_panics_doc,
    reason = "the table holds nothing that JSON could not"
)]
pub fn json_schema() -> String {
    let mut schema = section(&ROOT, false);
    if let Some(map) = schema.as_object_mut() {
        map.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        map.insert("title".to_owned(), json!("Configuration of PCS"));
    }
    let mut text = serde_json::to_string_pretty(&schema).expect("a tree of texts and numbers can be written");
    text.push('\n');
    text
}

fn section(section: &'static Section, overrides: bool) -> Value {
    let properties: Map<String, Value> = section
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key, overrides)))
        .collect();
    let required: Vec<&str> = section
        .keys
        .iter()
        .filter(|key| matches!(key.default, Preset::Required) && !overrides)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": properties,
    });
    if let Some(map) = schema.as_object_mut() {
        if !required.is_empty() {
            map.insert("required".to_owned(), json!(required));
            map.insert("type".to_owned(), json!("object"));
        }
        if std::ptr::eq(section, &raw const MEMBER) {
            map.insert("type".to_owned(), json!("object"));
            map.insert(
                "anyOf".to_owned(),
                json!([{ "required": ["url"] }, { "required": ["host", "port"] }]),
            );
        }
    }
    schema
}

fn property(key: &'static Key, overrides: bool) -> Value {
    let mut schema = kind(&key.kind);
    // `null` is as good as leaving the key out.
    if !matches!(key.default, Preset::Required) {
        schema = nullable(schema);
    }
    let Some(map) = schema.as_object_mut() else {
        return schema;
    };
    map.insert("description".to_owned(), json!(key.doc.replace('`', "")));
    let default = preset(key.default)
        .filter(|_| !overrides)
        .and_then(|text| default_value(&text));
    if let Some(default) = default {
        map.insert("default".to_owned(), default);
    }
    schema
}

/// Defaults are JSON but for bare words.
fn default_value(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(_) if text.starts_with('[') => {
            let items = text
                .trim_matches(['[', ']'])
                .split(", ")
                .map(|item| json!(item))
                .collect();
            Some(Value::Array(items))
        }
        Err(_) => Some(json!(text)),
    }
}

fn nullable(schema: Value) -> Value {
    let Value::Object(mut map) = schema else {
        return schema;
    };
    match map.remove("type") {
        Some(Value::String(name)) => {
            map.insert("type".to_owned(), json!([name, "null"]));
            if let Some(Value::Array(names)) = map.get_mut("enum") {
                names.push(Value::Null);
            }
        }
        Some(Value::Array(mut names)) => {
            if !names.contains(&json!("null")) {
                names.push(json!("null"));
            }
            map.insert("type".to_owned(), Value::Array(names));
        }
        Some(_) => {}
        None => {
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.push(json!({ "type": "null" }));
            }
        }
    }
    Value::Object(map)
}

fn or_reference(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": REFERENCE }] })
}

fn kind(kind: &'static Kind) -> Value {
    match kind {
        Kind::Flag => or_reference(&json!({ "type": "boolean" })),
        Kind::Whole { min, max } => {
            or_reference(&json!({ "type": "integer", "minimum": min, "maximum": max }))
        }
        Kind::WholeOrAuto { max } => json!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": max },
            { "type": "string", "enum": ["auto"] },
            { "type": "string", "pattern": REFERENCE },
        ] }),
        Kind::Number { max } => {
            or_reference(&json!({ "type": "number", "exclusiveMinimum": 0, "maximum": max }))
        }
        Kind::Seconds { zero, max } => {
            let min = if *zero { 0.0 } else { MIN_SECONDS };
            or_reference(&json!({ "type": "number", "minimum": min, "maximum": max }))
        }
        // Digits without quotes are a text where a text is wanted.
        Kind::Text(Form::Free) | Kind::Secret => json!({ "type": ["string", "number", "boolean"] }),
        Kind::Text(Form::ProxyId | Form::PoolName) => json!({ "type": ["string", "number"] }),
        Kind::Text(_) | Kind::ProxyUrl => json!({ "type": "string" }),
        Kind::OneOf(names) => json!({ "anyOf": [
            { "type": "string", "enum": names },
            { "type": "string", "pattern": REFERENCE },
        ] }),
        Kind::List(item) => json!({ "type": "array", "items": self::kind(item) }),
        Kind::Named { value, .. } => json!({ "type": "object", "additionalProperties": self::kind(value) }),
        Kind::Section(inner) => section(inner, false),
        Kind::Overrides(inner) => section(inner, true),
        Kind::UrlOr(inner) => json!({ "anyOf": [{ "type": "string" }, section(inner, false)] }),
    }
}
