//! The pages of `docs/` about this crate, made from the code.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{Gauges, Metrics, openapi};

/// `docs/admin-api.md`.
#[must_use]
pub fn api_reference() -> String {
    let document = openapi::document();
    let mut page = String::from(
        "# Admin API\n\n<!-- Generated from the code by `cargo xtask docs`. -->\n\n\
         JSON on `http://127.0.0.1:8889/api/v1`, a page for people on `/`. With `admin.token`: `Authorization: Bearer TOKEN`.\n\
         Errors are `application/problem+json`. Requests whose `Host` is not loopback, the bind address, the\n\
         address connected to or one of `admin.allowed_hosts` get 421, state-changing calls of another `Origin`\n\
         403, bodies that are not JSON 415.\n\n\
         | call | does | answers |\n|---|---|---|\n",
    );
    for (path, item) in object(&document["paths"]) {
        for (method, call) in object(item) {
            let query: Vec<_> = array(&call["parameters"])
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| format!("`{}`", text(&parameter["name"])))
                .collect();
            let query = if query.is_empty() {
                String::new()
            } else {
                format!(" Query: {}.", query.join(", "))
            };
            let answers: Vec<_> = object(&call["responses"])
                .map(|(status, _)| status.as_str())
                .collect();
            let summary = [&call["summary"], &call["description"]]
                .into_iter()
                .map(text)
                .find(|text| !text.is_empty());
            // Writing into a String cannot fail.
            let _ = writeln!(
                page,
                "| `{} {path}` | {}{query} | {} |",
                method.to_uppercase(),
                summary.unwrap_or_default().replace('\n', " "),
                answers.join(", ")
            );
        }
    }
    for (name, schema) in object(&document["components"]["schemas"]) {
        let _ = write!(page, "\n## {name}\n\n{}\n\n", text(&schema["description"]));
        let values: Vec<_> = array(&schema["enum"])
            .map(|value| format!("`{}`", text(value)))
            .collect();
        if !values.is_empty() {
            let _ = writeln!(page, "One of {}.", values.join(", "));
            continue;
        }
        page.push_str("| field | type | meaning |\n|---|---|---|\n");
        for (field, about) in object(&schema["properties"]) {
            let _ = writeln!(
                page,
                "| `{field}` | {} | {} |",
                kind(about),
                text(&about["description"]).replace('\n', " ")
            );
        }
    }
    page
}

/// `docs/metrics.md`, from the page of a server that has seen nothing.
#[must_use]
pub fn metrics_reference(
    metrics: &std::sync::Arc<Metrics>,
    pools: &pcs_pool::Pools,
    now: std::time::Instant,
) -> String {
    let page = metrics.page(pools, Gauges::default(), now, false);
    let mut out = String::from(
        "# Metrics\n\n<!-- Generated from the code by `cargo xtask docs`. -->\n\n\
         Served on `http://127.0.0.1:9090/metrics` in text format 0.0.4, as OpenMetrics 1.0 if asked for. `proxy` is\n\
         `_none`, `_corporate` or `_direct` where no rotating proxy was used, `_other` past `metrics.max_proxy_series`.\n\n\
         | name | type | meaning |\n|---|---|---|\n",
    );
    let mut help = "";
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let _ = writeln!(out, "| `{name}` | {kind} | {help} |");
        }
    }
    out
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn kind(about: &Value) -> String {
    if let Some(name) = about["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return name.to_owned();
    }
    if let Some(items) = about.get("items") {
        return format!("list of {}", kind(items));
    }
    if let Some(kinds) = about["oneOf"].as_array() {
        return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    match &about["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => "object".to_owned(),
    }
}
