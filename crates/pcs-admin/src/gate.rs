//! Who may come in: host, origin, token, content type.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use pcs_models::{Host, Secret};

use crate::listener::Peer;
use crate::problem::Problem;

/// So much of the body of a refused request is read, to keep its connection.
const MAX_UNREAD: usize = 64 << 10;

/// What a request has to show. Swapped whole by a reload.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// The bearer token; none lets everybody in who passes the rest.
    pub token: Option<Secret>,
    /// The address that is listened on; its name in `Host` is good.
    pub bind: Option<IpAddr>,
    /// Further good names.
    pub allowed_hosts: Vec<Host>,
}

impl Gate {
    /// A page of another site can make a browser send requests here under a name of its own that resolves to this
    /// machine (DNS rebinding): only names that are ours are answered. An address is no name that could be made to
    /// lead elsewhere, so the one that the client connected to, `local`, is good whatever is listened on.
    fn knows_host(&self, headers: &HeaderMap, local: Option<IpAddr>) -> bool {
        if headers.get_all(header::HOST).iter().count() != 1 {
            return false;
        }
        let Some(host) = headers.get(header::HOST).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let name = if host.starts_with('[') {
            host.split_inclusive(']').next().unwrap_or_default()
        } else {
            host.split(':').next().unwrap_or_default()
        };
        let Ok(host) = Host::parse(name) else { return false };
        let ours = match &host {
            Host::Ip(ip) => {
                let ip = ip.to_canonical();
                ip.is_loopback() || Some(ip) == self.bind || Some(ip) == local
            }
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name == "localhost" || name.ends_with(".localhost")
            }
        };
        ours || self.allowed_hosts.contains(&host)
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        let (scheme, shown) = shown.split_at_checked(7).unwrap_or_default();
        // The scheme is no secret; the token is compared in constant time.
        scheme.eq_ignore_ascii_case(b"bearer ") & token.matches(shown)
    }
}

/// A page elsewhere may send a form or a simple request here, but not without its own `Origin`. Of several fields none
/// may be another's: which of them counts is not for a reader to choose.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let own = format!("http://{host}");
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.any(|origin| origin.as_bytes() != own.as_bytes())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

/// Lets a request pass or answers it.
pub(crate) async fn check(
    State(gate): State<Arc<ArcSwap<Gate>>>,
    ConnectInfo(Peer { local, .. }): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let gate = gate.load_full();
    // The page itself is no secret: it asks for the token and sends it along with its calls.
    let open = matches!(request.uri().path(), "/api/v1/health" | "/");
    let problem = if !gate.knows_host(headers, local) {
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this name is none of ours: loopback, the address connected to, admin.bind_address and admin.allowed_hosts are",
        )
    } else if !safe && is_foreign(headers) {
        Problem::new(
            StatusCode::FORBIDDEN,
            "pages of another origin cannot change anything",
        )
    } else if !open && !gate.admits(headers) {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "the bearer token (admin.token) is missing or wrong",
        )
    } else if !safe && has_body(headers) && !is_json(headers) {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a body has to be application/json",
        )
    } else {
        return in_our_words(next.run(request).await);
    };
    // What is left unread would be taken for the next request, or answered with a reset (RFC 9112 section 9.6).
    match to_bytes(request.into_body(), MAX_UNREAD).await {
        Ok(_) => problem.into_response(),
        Err(_) => last(problem),
    }
}

/// A refusal after which the connection is closed.
pub(crate) fn last(problem: Problem) -> Response {
    let mut response = problem.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// What the library refuses by itself (a body too large, a path that does not decode) it says as plain text.
fn in_our_words(response: Response) -> Response {
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if response.status().as_u16() < 400 || !kind.starts_with(b"text/plain") {
        return response;
    }
    let status = response.status();
    Problem::new(
        status,
        status.canonical_reason().unwrap_or("refused").to_lowercase(),
    )
    .into_response()
}

/// The metrics page: only the token, where there is one to ask for.
pub(crate) async fn check_token(
    State(gate): State<Arc<ArcSwap<Gate>>>,
    request: Request,
    next: Next,
) -> Response {
    if gate.load().admits(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "the bearer token (admin.token) is missing or wrong",
    )
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let gate = Gate {
            bind: Some("192.0.2.1".parse().unwrap()),
            allowed_hosts: vec![Host::parse("pcs.example").unwrap()],
            ..Gate::default()
        };
        for good in [
            "localhost",
            "LOCALHOST:8889",
            "127.0.0.1:1",
            "[::1]:8889",
            "192.0.2.1",
            "pcs.example:80",
            "a.localhost",
        ] {
            assert!(gate.knows_host(&headers(&[("host", good)]), None), "{good}");
        }
        for bad in [
            "evil.example",
            "192.0.2.2",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "",
            "[::2]",
        ] {
            assert!(!gate.knows_host(&headers(&[("host", bad)]), None), "{bad}");
        }
        assert!(!gate.knows_host(&HeaderMap::new(), None));
    }

    #[test]
    fn the_address_that_was_connected_to_is_ours_and_no_other() {
        let on_all = Gate::default();
        let cases = [
            ("192.0.2.7", "192.0.2.7:8889", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "[::ffff:192.0.2.7]:8889", true),
            ("2001:db8::7", "[2001:db8::7]:8889", true),
            ("192.0.2.7", "192.0.2.8:8889", false),
            ("192.0.2.7", "0.0.0.0:8889", false),
            ("192.0.2.7", "[2001:db8::7]", false),
            ("192.0.2.7", "192.0.2.7.evil.example:8889", false),
            ("192.0.2.7", "evil.example", false),
        ];
        for (local, host, good) in cases {
            let local = Some(local.parse().unwrap());
            let known = on_all.knows_host(&headers(&[("host", host)]), local);
            assert_eq!(known, good, "{host} at {local:?}");
        }
    }

    #[test]
    fn the_token_is_asked_for_as_bearer() {
        let gate = Gate {
            token: Some(Secret::new("s3cret".into())),
            ..Gate::default()
        };
        assert!(gate.admits(&headers(&[("authorization", "Bearer s3cret")])));
        assert!(gate.admits(&headers(&[("authorization", "bearer s3cret")])));
        for bad in ["Bearer s3cre", "Bearer s3cret ", "Basic s3cret", "s3cret", ""] {
            assert!(!gate.admits(&headers(&[("authorization", bad)])), "{bad}");
        }
        assert!(!gate.admits(&HeaderMap::new()));
    }

    #[test]
    fn another_origin_is_foreign() {
        assert!(!is_foreign(&headers(&[("host", "127.0.0.1:8889")])));
        assert!(!is_foreign(&headers(&[
            ("host", "127.0.0.1:8889"),
            ("origin", "http://127.0.0.1:8889")
        ])));
        for origin in [
            "http://evil.example",
            "https://127.0.0.1:8889",
            "http://127.0.0.1:8888",
            "null",
            "http://127.0.0.1:8889.evil",
        ] {
            assert!(
                is_foreign(&headers(&[("host", "127.0.0.1:8889"), ("origin", origin)])),
                "{origin}"
            );
        }
    }

    #[test]
    fn one_foreign_origin_among_several_is_foreign() {
        let (own, evil) = ("http://127.0.0.1:8889", "http://evil.example");
        for (origins, foreign) in [
            ([own, evil], true),
            ([evil, own], true),
            ([own, "null"], true),
            ([own, ""], true),
            ([own, own], false),
        ] {
            let mut sent = headers(&[("host", "127.0.0.1:8889")]);
            for origin in origins {
                sent.append(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_foreign(&sent), foreign, "{origins:?}");
        }
    }
}
