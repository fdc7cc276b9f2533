//! The calls of the API.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, extract};
use futures_util::Stream;
use pcs_models::{PoolName, ProxyId};
use pcs_pool::Filter;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use crate::admin::Desk;
use crate::listener::Peer;
use crate::openapi;
use crate::problem::Problem;
use crate::view::{Check, Listing, NewProxy, Proxy, ProxyPatch, Readiness, Reloaded, Totals};

/// Who may listen to the events at once: far fewer than there are connections, so that calls find one.
pub(crate) const MAX_LISTENERS: usize = 64;

/// Proxies on one page where nothing is said.
const MAX_LIMIT: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    pool: Option<String>,
    healthy: Option<bool>,
    enabled: Option<bool>,
    limit: Option<usize>,
    cursor: Option<String>,
}

type Answer<T> = Result<T, Problem>;

/// Rotating proxies, pools by name, in each pool the order of the configuration.
#[utoipa::path(get, path = "/api/v1/proxies", tag = "proxies",
    params(
        ("pool" = Option<String>, Query, description = "of this pool only"),
        ("healthy" = Option<bool>, Query, description = "usable as far as health goes, or not"),
        ("enabled" = Option<bool>, Query, description = "enabled, or not"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 10000, description = "at most so many, 1 to 10000"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = Listing, description = "One page."),
        (status = 400, body = Problem, description = "A parameter is unknown or out of range.")))]
pub(crate) async fn list(
    State(desk): State<Desk>,
    query: Result<Query<ListQuery>, extract::rejection::QueryRejection>,
) -> Answer<Json<Listing>> {
    let Query(query) = query.map_err(|error| {
        let allowed = "allowed: pool, healthy=true|false, enabled=true|false, limit, cursor";
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("{}; {allowed}", error.body_text()),
        )
    })?;
    let limit = query.limit.unwrap_or(usize::MAX);
    if limit == 0 || (limit > MAX_LIMIT && query.limit.is_some()) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("limit: {limit} is not from 1 to {MAX_LIMIT}"),
        ));
    }
    let pool = query.pool.as_deref().map(PoolName::try_new).transpose();
    let pool = pool.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("pool: {error}")))?;
    let views = desk.pools.list(&Filter {
        pool,
        healthy: query.healthy,
        enabled: query.enabled,
    });
    // A cursor names the last proxy that was seen and its place: either holds when proxies come and go.
    let begin = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let parts = cursor
                .split_once('.')
                .and_then(|(place, id)| Some((place.parse::<usize>().ok()?, id)));
            let bad = || {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "cursor: take `next_cursor` of the page before",
                )
            };
            let (place, id) = parts.ok_or_else(bad)?;
            views
                .iter()
                .position(|view| view.id.as_str() == id)
                .map_or(place, |seen| seen + 1)
        }
    };
    let page: Vec<_> = views.iter().skip(begin).take(limit).collect();
    let more = begin + page.len() < views.len();
    let last = page.last().filter(|_| more);
    let next_cursor = last.map(|last| format!("{}.{}", begin + page.len() - 1, last.id));
    Ok(Json(Listing {
        proxies: page.into_iter().map(Proxy::of).collect(),
        next_cursor,
    }))
}

/// One rotating proxy.
#[utoipa::path(get, path = "/api/v1/proxies/{id}", tag = "proxies", params(("id" = String, Path)),
    responses((status = 200, body = Proxy, description = "The proxy.")))]
pub(crate) async fn get(State(desk): State<Desk>, Path(id): Path<String>) -> Answer<Json<Proxy>> {
    let id = known(&id)?;
    let view = desk.pools.get(&id).ok_or_else(|| not_found(id.as_str()))?;
    Ok(Json(Proxy::of(&view)))
}

/// Adds a rotating proxy.
#[utoipa::path(post, path = "/api/v1/proxies", tag = "proxies", request_body = NewProxy,
    responses((status = 201, body = Proxy, description = "The proxy, in force and kept.",
            headers(("Location" = String, description = "The path of the proxy."))),
        (status = 409, body = Problem, description = "Another proxy has this id."),
        (status = 500, body = Problem, description = "The change is in force, but could not be kept.")))]
pub(crate) async fn add(
    State(desk): State<Desk>,
    ConnectInfo(Peer { address: peer, .. }): ConnectInfo<Peer>,
    body: Bytes,
) -> Answer<Response> {
    let mut body = read(&body)?;
    let pool = match body.as_object_mut().and_then(|fields| fields.remove("pool")) {
        None => PoolName::default(),
        Some(Value::String(name)) => {
            PoolName::try_new(&name).map_err(|error| invalid(format!("pool: {error}")))?
        }
        Some(_) => return Err(invalid("pool: expected a text".to_owned())),
    };
    // Pools are never taken away while running, so what is found here is still there when the proxy joins.
    let pools = desk.pools.pool_names();
    if pool != PoolName::default() && !pools.contains(&pool) {
        return Err(invalid(no_such_pool(&pool, pools)));
    }
    if matches!(body["id"].as_str(), Some("." | "..")) {
        // Browsers and curl take them for steps in the path, so that nobody could change it again.
        return Err(invalid("id: expected a name that can stand in a path".to_owned()));
    }
    let view = desk.control.add(pool, body, peer).await?;
    let mut response = (StatusCode::CREATED, Json(Proxy::of(&view))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/proxies/{}", view.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Changes `enabled`, `weight` or `tags`.
#[utoipa::path(patch, path = "/api/v1/proxies/{id}", tag = "proxies", params(("id" = String, Path)),
    request_body = ProxyPatch,
    responses((status = 200, body = Proxy, description = "The proxy as it is now."),
        (status = 500, body = Problem, description = "The change is in force, but could not be kept.")))]
pub(crate) async fn patch(
    State(desk): State<Desk>,
    ConnectInfo(Peer { address: peer, .. }): ConnectInfo<Peer>,
    Path(id): Path<String>,
    body: Bytes,
) -> Answer<Json<Proxy>> {
    let view = desk.control.patch(known(&id)?, read(&body)?, peer).await?;
    Ok(Json(Proxy::of(&view)))
}

/// Removes a rotating proxy; tunnels already open live on.
#[utoipa::path(delete, path = "/api/v1/proxies/{id}", tag = "proxies", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone."),
        (status = 500, body = Problem, description = "The change is in force, but could not be kept.")))]
pub(crate) async fn remove(
    State(desk): State<Desk>,
    ConnectInfo(Peer { address: peer, .. }): ConnectInfo<Peer>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    desk.control.remove(known(&id)?, peer).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs one health check now.
#[utoipa::path(post, path = "/api/v1/proxies/{id}/check", tag = "proxies", params(("id" = String, Path)),
    responses((status = 200, body = Check, description = "What the check found."),
        (status = 500, body = Problem, description = "Checks do not run.")))]
pub(crate) async fn check(State(desk): State<Desk>, Path(id): Path<String>) -> Answer<Json<Check>> {
    let id = known(&id)?;
    let outcome = desk.control.check(id.clone()).await?;
    let (latency_ms, error) = match outcome.result {
        Ok(latency) => (Some(latency.as_secs_f64() * 1000.0), None),
        Err(error) => (None, Some(error)),
    };
    Ok(Json(Check {
        id: id.to_string(),
        healthy: outcome.healthy,
        latency_ms,
        error,
    }))
}

/// Sums over everything since the start.
#[utoipa::path(get, path = "/api/v1/stats", tag = "server", 
    responses((status = 200, body = Totals, description = "The sums.")))]
pub(crate) async fn stats(State(desk): State<Desk>) -> Json<Totals> {
    let now = now();
    let (totals, gauges) = (desk.pools.totals(), desk.control.gauges());
    let (successful_requests, failed_requests) = desk.metrics.totals();
    Json(Totals {
        uptime_seconds: desk.metrics.age(now).as_secs_f64(),
        total_requests: successful_requests + failed_requests,
        successful_requests,
        failed_requests,
        requests_per_second: desk.metrics.rate(now),
        active_connections: gauges.active_connections,
        healthy_proxies: totals.healthy,
        unhealthy_proxies: totals.unhealthy,
        bytes_up: totals.bytes_up,
        bytes_down: totals.bytes_down,
    })
}

/// Readiness: degraded while some proxies are down (unhealthy, or their circuit is open), unhealthy (503) when all
/// are. Needs no token.
#[utoipa::path(get, path = "/api/v1/health", tag = "server",
    responses((status = 200, body = Readiness, description = "`healthy`, or `degraded`: some proxies are down."),
        (status = 503, body = Readiness, description = "`unhealthy`: all proxies are down.")))]
pub(crate) async fn health(State(desk): State<Desk>) -> (StatusCode, Json<Readiness>) {
    // Without pools there is nothing that could be down; pools in which nothing is left answer 503.
    let (status, word) = match desk.pools.readiness() {
        (0, 0) if desk.pools.pool_names().is_empty() => (StatusCode::OK, "healthy"),
        (0, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (_, 0) => (StatusCode::OK, "healthy"),
        _ => (StatusCode::OK, "degraded"),
    };
    (
        status,
        Json(Readiness {
            status: word.to_owned(),
        }),
    )
}

/// Reads the configuration again.
#[utoipa::path(post, path = "/api/v1/reload", tag = "server",
    responses((status = 200, body = Reloaded, description = "What changed."),
        (status = 422, body = Problem, description = "The old configuration is in force: `errors` says why.")))]
pub(crate) async fn reload(
    State(desk): State<Desk>,
    ConnectInfo(Peer { address: peer, .. }): ConnectInfo<Peer>,
) -> Answer<Json<Reloaded>> {
    let changed = desk.control.reload(peer).await.map_err(|errors| {
        let detail = "the configuration was not reloaded, the old one is in force";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_errors(errors)
    })?;
    let names = |ids: Vec<ProxyId>| ids.iter().map(ToString::to_string).collect();
    Ok(Json(Reloaded {
        added: names(changed.added),
        removed: names(changed.removed),
        changed: names(changed.changed),
    }))
}

/// Server-sent events: `health`, `circuit`, `reload`, `proxy`, and `lagged` with the number missed.
#[utoipa::path(get, path = "/api/v1/events", tag = "server",
    responses((status = 200, content_type = "text/event-stream", body = String,
        description = "The stream, which ends with the server."),
        (status = 503, body = Problem, description = "Too many listen already.")))]
pub(crate) async fn events(
    State(desk): State<Desk>,
    ConnectInfo(Peer { seat, .. }): ConnectInfo<Peer>,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let Ok(place) = desk.listeners.try_acquire_owned() else {
        let detail = format!("{MAX_LISTENERS} listen to the events already");
        tracing::warn!(event = "admin_full", "{detail}");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let state = (desk.feed.listen(), desk.closing, (place, seat.work()));
    let stream = futures_util::stream::unfold(state, async |(mut receiver, closing, held)| {
        let event = tokio::select! {
            event = receiver.recv() => event,
            () = closing.cancelled() => return None,
        };
        let event = match event {
            Ok(event) => sse::Event::default()
                .event(event.name())
                .data(event.data().to_string()),
            Err(RecvError::Lagged(missed)) => sse::Event::default().event("lagged").data(missed.to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, closing, held)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// The description of all this.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "server", 
    responses((status = 200, body = Value, description = "This document.")))]
pub(crate) async fn document() -> Json<Value> {
    Json(openapi::document())
}

/// A page for people.
pub(crate) async fn dashboard() -> Response {
    let mut response = Html(include_str!("dashboard.html")).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

pub(crate) async fn no_such_path() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such path; GET /api/v1/openapi.json lists all",
    )
}

pub(crate) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has other methods; GET /api/v1/openapi.json lists them",
    )
}

fn read(body: &[u8]) -> Answer<Value> {
    serde_json::from_slice(body).map_err(|error| {
        // Line and column only: the text may hold a password.
        let place = format!("line {}, column {}", error.line(), error.column());
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the body is no JSON ({place})"),
        )
    })
}

fn invalid(mistake: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, mistake.clone()).with_errors(vec![mistake])
}

/// A proxy in a pool of a mistyped name would never be picked, and nobody would be told.
fn no_such_pool(name: &PoolName, mut pools: Vec<PoolName>) -> String {
    if !pools.contains(&PoolName::default()) {
        pools.insert(0, PoolName::default());
    }
    let allowed: Vec<_> = pools.iter().map(|pool| format!("`{pool}`")).collect();
    format!("pool: there is no pool `{name}`; allowed: {}", allowed.join(", "))
}

fn known(id: &str) -> Answer<ProxyId> {
    ProxyId::try_new(id).map_err(|_| not_found(id))
}

fn not_found(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no proxy {id:?}"))
}

/// The edge's clock, which follows a paused one.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
