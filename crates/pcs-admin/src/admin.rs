//! The two listeners: admin API and metrics.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pcs_pool::Pools;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::handlers::{self, now};
use crate::listener::{Bounded, Peer};
use crate::problem::Problem;
use crate::{Control, Feed, Gate, Metrics, gate};

/// The largest body of a call.
const MAX_BODY: usize = 1 << 20;

/// What the API needs.
#[derive(Clone)]
pub struct Admin {
    /// The proxies.
    pub pools: Pools,
    /// Makes changes.
    pub control: Arc<dyn Control>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What happens.
    pub feed: Feed,
    /// Who may come in.
    pub gate: Arc<ArcSwap<Gate>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// What every handler gets.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) pools: Pools,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) feed: Feed,
    pub(crate) closing: CancellationToken,
    /// Places of those who listen to the events.
    pub(crate) listeners: Arc<Semaphore>,
}

impl Admin {
    /// Serves the API until `closing`.
    ///
    /// # Errors
    ///
    /// The listener cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the listener; calls under way are cut.
    pub async fn serve(self, listener: TcpListener, closing: CancellationToken) -> io::Result<()> {
        let gate = Arc::clone(&self.gate);
        let desk = Desk {
            pools: self.pools,
            control: self.control,
            metrics: self.metrics,
            feed: self.feed,
            closing: closing.clone(),
            listeners: Arc::new(Semaphore::new(handlers::MAX_LISTENERS)),
        };
        // Innermost: whole bodies only are worked on.
        let app = router().with_state(desk).layer(middleware::from_fn(seated));
        // Outermost: nothing is answered before the gate, not even that a path is not there.
        let app = app.layer(middleware::from_fn_with_state(gate, gate::check));
        axum::serve(
            Bounded::new(listener)?,
            app.into_make_service_with_connect_info::<Peer>(),
        )
        .with_graceful_shutdown(closing.cancelled_owned())
        .await
    }
}

/// Reads the body, and keeps the connection from making room for another while the call is worked on.
async fn seated(ConnectInfo(Peer { seat, .. }): ConnectInfo<Peer>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        let detail = format!("the body is larger than {MAX_BODY} bytes, or did not arrive");
        return gate::last(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    };
    let _working = seat.work();
    next.run(Request::from_parts(head, Body::from(body))).await
}

/// Every path of the API, with the methods the document lists.
fn router() -> Router<Desk> {
    Router::new()
        .route("/", get(handlers::dashboard))
        .route("/api/v1/proxies", get(handlers::list).post(handlers::add))
        .route(
            "/api/v1/proxies/{id}",
            get(handlers::get).patch(handlers::patch).delete(handlers::remove),
        )
        .route("/api/v1/proxies/{id}/check", post(handlers::check))
        .route("/api/v1/stats", get(handlers::stats))
        .route("/api/v1/health", get(handlers::health))
        .route("/api/v1/reload", post(handlers::reload))
        .route("/api/v1/events", get(handlers::events))
        .route("/api/v1/openapi.json", get(handlers::document))
        .fallback(handlers::no_such_path)
        .method_not_allowed_fallback(handlers::no_such_method)
}

/// What the metrics page needs.
#[derive(Clone)]
struct Page {
    admin: Admin,
}

/// Serves the metrics page until `closing`, at whatever `path` holds when it is asked for. `guarded` asks for the
/// gate's token.
///
/// # Errors
///
/// The listener cannot be used.
///
/// # Cancel safety
///
/// Dropping it closes the listener.
pub async fn serve_metrics(
    admin: Admin,
    listener: TcpListener,
    path: Arc<ArcSwap<String>>,
    guarded: bool,
    closing: CancellationToken,
) -> io::Result<()> {
    let gate = Arc::clone(&admin.gate);
    let page = get(page)
        .fallback(handlers::no_such_method)
        .with_state(Page { admin });
    // Not a route: those are fixed, and a reload may move the page.
    let mut app = Router::new()
        .fallback_service(page)
        .layer(middleware::from_fn_with_state(path, only_at));
    if guarded {
        app = app.layer(middleware::from_fn_with_state(gate, gate::check_token));
    }
    axum::serve(
        Bounded::new(listener)?,
        app.into_make_service_with_connect_info::<Peer>(),
    )
    .with_graceful_shutdown(closing.cancelled_owned())
    .await
}

async fn only_at(State(path): State<Arc<ArcSwap<String>>>, request: Request, next: Next) -> Response {
    if request.uri().path() == path.load_full().as_str() {
        next.run(request).await
    } else {
        handlers::no_such_path().await.into_response()
    }
}

async fn page(State(Page { admin }): State<Page>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    let open = wants_open(&accept.join(","));
    let text = admin
        .metrics
        .page(&admin.pools, admin.control.gauges(), now(), open);
    let kind = if open {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Whether OpenMetrics is asked for, and nothing liked better (RFC 9110 section 12.5.1).
fn wants_open(accept: &str) -> bool {
    let weight = |kind: &str| {
        let ranges = accept.split(',').map(|range| range.split(';').map(str::trim));
        ranges
            .filter_map(|mut range| {
                let named = range.next()?.eq_ignore_ascii_case(kind);
                let weight = range.find_map(|field| field.strip_prefix("q=")?.parse().ok());
                named.then(|| weight.unwrap_or(1.0_f32))
            })
            .fold(0.0, f32::max)
    };
    let open = weight("application/openmetrics-text");
    open > 0.0 && open >= weight("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_that_is_liked_better_is_served() {
        let cases = [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text; version=1.0.0", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.9", false),
            (
                "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
        ];
        for (accept, open) in cases {
            assert_eq!(wants_open(accept), open, "{accept}");
        }
    }
}
