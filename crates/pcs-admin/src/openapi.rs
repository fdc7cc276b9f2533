//! The description of the API, made from the handlers.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::handlers;

/// Everything that [`crate::Admin`] answers under `/api/v1`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "PCS admin API",
        description = "Rotating proxies, health, reload and events of a Proxy Chain Server."
    ),
    paths(
        handlers::list,
        handlers::get,
        handlers::add,
        handlers::patch,
        handlers::remove,
        handlers::check,
        handlers::stats,
        handlers::health,
        handlers::reload,
        handlers::events,
        handlers::document,
    )
)]
struct Document;

/// What may be answered to any call, whatever it is: the gate speaks before the handlers.
const EVERY: [(&str, &str); 2] = [
    ("401", "The bearer token (`admin.token`) is missing or wrong."),
    ("421", "The name in `Host` is none of the server's."),
];
/// What may be answered to calls that change something.
const CHANGING: [(&str, &str); 2] = [
    ("403", "The call comes from a page of another origin."),
    ("415", "The body is not `application/json`."),
];
/// What may be answered to calls with a body.
const WITH_BODY: [(&str, &str); 2] = [
    ("413", "The body is larger than 1 MiB."),
    (
        "422",
        "The body is no JSON, or not what is allowed: `errors` has one line a mistake.",
    ),
];
/// What may be answered where a path has a name in it.
const NAMED: [(&str, &str); 2] = [
    ("400", "The path does not decode."),
    ("404", "There is no such proxy."),
];

/// The OpenAPI document as JSON.
#[must_use]
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or(Value::Null);
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, call) in item.as_object_mut().into_iter().flatten() {
                complete(path, method, call);
            }
        }
    }
    document["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "`admin.token`, where one is configured."
        }
    });
    // Without `admin.token` none is asked for.
    document["security"] = json!([{}, { "token": [] }]);
    document
}

/// Adds what all calls of a kind have in common.
fn complete(path: &str, method: &str, call: &mut Value) {
    let (health, body) = (path.ends_with("/health"), call.get("requestBody").is_some());
    if health {
        call["security"] = json!([]);
    }
    let Some(responses) = call["responses"].as_object_mut() else {
        return;
    };
    let mut add = |answers: &[(&str, &str)]| {
        for (status, text) in answers {
            let answer = responses.entry(*status).or_insert_with(|| json!({}));
            describe(answer, text);
        }
    };
    add(if health { &EVERY[1..] } else { &EVERY });
    if method != "get" {
        add(&CHANGING);
    }
    if body {
        add(&WITH_BODY);
    }
    if path.contains("{id}") {
        add(&NAMED);
    }
    for (status, answer) in responses {
        describe(answer, "As the schema says.");
        let readiness = health && status == "503";
        if status.starts_with(['4', '5']) && !readiness {
            answer["content"] = problem();
        }
    }
}

/// Every answer has a description; one that the handler gave stays.
fn describe(answer: &mut Value, text: &str) {
    let given = answer["description"].as_str().unwrap_or_default();
    if given.is_empty() {
        answer["description"] = text.into();
    }
}

fn problem() -> Value {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut content = Map::new();
    content.insert("application/problem+json".to_owned(), json!({ "schema": schema }));
    Value::Object(content)
}
