//! The description of the API, made from the handlers.

use serde_json::Value;
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

/// The OpenAPI document as JSON.
#[must_use]
pub fn document() -> Value {
    serde_json::to_value(Document::openapi()).unwrap_or(Value::Null)
}
