//! The error table of the contract, line by line.

use std::time::Duration;

use pcs_models::{FailureKind, PoolName};
use pcs_server::Settings;
use pcs_tunnel::NetError;

use crate::world::{Answer, Step, World, failure};

const CONNECT: &str = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
const GET: &str = "GET http://example.com/a?secret=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// Every failure answer has these.
#[track_caller]
fn check_shape(answer: &Answer, status: u16, hop: Option<&str>, proxy_status: &str, attempts: u64) {
    assert_eq!(answer.status, status, "{}", answer.head);
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!(answer.field("proxy-status"), Some(proxy_status));
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert_eq!(body["hop"].as_str(), hop);
    assert_eq!(body["attempts"], attempts);
    for key in ["type", "title", "detail", "request_id"] {
        assert!(
            body[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key} in {body}"
        );
    }
    assert_eq!(
        answer.field("retry-after").is_some(),
        matches!(status, 429 | 503),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn failures_of_the_chain_are_told_by_one_table() {
    use FailureKind::{
        Auth, BadSession, Denied, Dns, Exhausted, Local, Loop, Protocol, Refused, Reset, Status, Timeout,
        Tls, UnknownPool, Unreachable,
    };
    type Row = (FailureKind, Option<&'static str>, Option<u16>, u16, &'static str);
    let rows: &[Row] = &[
        (
            Refused,
            Some("p1"),
            None,
            502,
            "pcs; next-hop=\"p1\"; error=connection_refused",
        ),
        (
            Refused,
            Some("corporate"),
            None,
            502,
            "pcs; next-hop=\"corporate\"; error=connection_refused",
        ),
        (
            Reset,
            Some("p1"),
            None,
            502,
            "pcs; next-hop=\"p1\"; error=connection_terminated",
        ),
        (
            Protocol,
            Some("p1"),
            None,
            502,
            "pcs; next-hop=\"p1\"; error=http_protocol_error",
        ),
        (
            Auth,
            Some("corporate"),
            Some(407),
            502,
            "pcs; next-hop=\"corporate\"; error=proxy_configuration_error; received-status=407",
        ),
        (
            Status,
            Some("p1"),
            Some(403),
            502,
            "pcs; next-hop=\"p1\"; error=destination_unavailable; received-status=403",
        ),
        (
            Status,
            Some("p1"),
            Some(504),
            504,
            "pcs; next-hop=\"p1\"; error=http_response_timeout; received-status=504",
        ),
        (
            Timeout,
            Some("p1"),
            None,
            504,
            "pcs; next-hop=\"p1\"; error=connection_timeout",
        ),
        (
            Tls,
            Some("p1"),
            None,
            502,
            "pcs; next-hop=\"p1\"; error=tls_protocol_error",
        ),
        (
            Dns,
            Some("p1"),
            None,
            502,
            "pcs; next-hop=\"p1\"; error=dns_error",
        ),
        (
            Unreachable,
            Some("p1"),
            None,
            502,
            "pcs; next-hop=\"p1\"; error=destination_ip_unroutable",
        ),
        (Denied, None, None, 403, "pcs; error=http_request_denied"),
        (
            Loop,
            Some("p1"),
            None,
            508,
            "pcs; next-hop=\"p1\"; error=proxy_loop_detected",
        ),
        (Exhausted, None, None, 503, "pcs; error=destination_unavailable"),
        (UnknownPool, None, None, 400, "pcs; error=http_request_error"),
        (BadSession, None, None, 400, "pcs; error=http_request_error"),
        (Local, None, None, 503, "pcs; error=proxy_internal_error"),
    ];
    for (kind, hop, said, status, proxy_status) in rows {
        for request in [CONNECT, GET] {
            let world = World::new();
            world.will(failure(*kind, *hop, *said));
            let mut client = world.client_with(request).await;
            let answer = client.answer().await;
            check_shape(&answer, *status, *hop, proxy_status, 1);
            if let Some(said) = said {
                let detail = answer.json()["detail"].to_string();
                assert!(detail.contains(&said.to_string()), "{detail}");
            }
            // The request was well-formed: the client may go on.
            client.send("GET /health HTTP/1.1\r\n\r\n").await;
            assert_eq!(client.answer().await.status, 200, "{kind} after {request}");
        }
    }
}

#[tokio::test]
async fn attempts_and_the_last_proxy_are_told() {
    let mut world = World::new();
    world.will(failure(FailureKind::Reset, Some("p2"), None));
    let mut client = world.client_with(GET).await;
    check_shape(
        &client.answer().await,
        502,
        Some("p2"),
        "pcs; next-hop=\"p2\"; error=connection_terminated",
        1,
    );
    let record = world.record().await;
    assert_eq!((record.attempts, record.proxy.as_str()), (1, "p2"));
    assert_eq!(
        record.target.as_deref(),
        Some("http://example.com/a"),
        "no query in the log"
    );
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_is_told_as_such() {
    let broken = NetError::Tls {
        host: "p1.example".parse().unwrap(),
        source: std::io::Error::other("garbage"),
    };
    let unproven = NetError::ServerName {
        name: "p1.example.".to_owned(),
    };
    for (cause, expected) in [
        (broken, "tls_protocol_error"),
        (unproven, "tls_certificate_error"),
    ] {
        let world = World::new();
        let Step::Fail(error) = failure(FailureKind::Tls, Some("p1"), None) else {
            continue;
        };
        world.will(Step::Fail(error.because(cause)));
        let mut client = world.client_with(CONNECT).await;
        let said = format!("pcs; next-hop=\"p1\"; error={expected}");
        check_shape(&client.answer().await, 502, Some("p1"), &said, 1);
    }
}

#[tokio::test]
async fn the_pool_is_told_where_no_chain_came_of_it() {
    for (hop, asked, failed_in, told) in [
        (None, None, None, None),
        (Some("p1"), None, Some("default"), Some("default")),
        (Some("p1"), Some("other"), None, Some("other")),
        (Some("p1"), Some("other"), Some("fallback"), Some("fallback")),
    ] {
        let mut world = World::new();
        let Step::Fail(mut error) = failure(FailureKind::Refused, hop, None) else {
            continue;
        };
        if let Some(pool) = failed_in {
            error = error.in_pool(PoolName::try_new(pool).unwrap());
        }
        world.will(Step::Fail(error));
        let field = asked.map_or_else(String::new, |pool| format!("X-Proxy-Pool: {pool}\r\n"));
        let request = CONNECT.replace("\r\n\r\n", &format!("\r\n{field}\r\n"));
        let mut client = world.client_with(request).await;
        assert_eq!(client.answer().await.status, 502);
        assert_eq!(
            world.record().await.pool.as_deref(),
            told,
            "{asked:?} {failed_in:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_hangs_is_504() {
    for request in [CONNECT, GET] {
        let world = World::new();
        world.will(Step::Hang);
        let mut client = world.client_with(request).await;
        check_shape(
            &client.answer().await,
            504,
            None,
            "pcs; error=connection_timeout",
            0,
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_nothing_is_504() {
    let mut world = World::new();
    let started = tokio::time::Instant::now();
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    let answer = client.answer().await;
    check_shape(
        &answer,
        504,
        Some("p1"),
        "pcs; next-hop=\"p1\"; error=http_response_timeout",
        1,
    );
    assert_eq!(started.elapsed().as_secs(), 30, "the whole budget and no more");
}

#[tokio::test]
async fn an_upstream_that_answers_garbage_is_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "y".repeat(70_000));
    let cases: &[(&str, &str)] = &[
        ("SSH-2.0-OpenSSH_9\r\n\r\n", "http_protocol_error"),
        ("HTTP/1.1 099 No\r\n\r\n", "http_protocol_error"),
        ("HTTP/2.0 200 OK\r\n\r\n", "http_protocol_error"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "http_protocol_error",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "http_protocol_error",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "http_protocol_error",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "http_protocol_error",
        ),
        ("HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n", "http_protocol_error"),
        (&long, "http_protocol_error"),
        ("HTTP/1.1 200", "http_response_incomplete"),
        ("", "http_response_incomplete"),
    ];
    for (bytes, token) in cases {
        let mut world = World::new();
        let mut client = world.client_with(GET).await;
        let mut up = world.upstream().await;
        up.head().await;
        let _ = tokio::io::AsyncWriteExt::write_all(&mut up.io, bytes.as_bytes()).await;
        drop(up.io);
        let proxy_status = format!("pcs; next-hop=\"p1\"; error={token}");
        check_shape(&client.answer().await, 502, Some("p1"), &proxy_status, 1);
    }
}

#[tokio::test]
async fn a_hops_407_is_never_passed_on() {
    let mut world = World::new();
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=\"hop\"\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    check_shape(
        &answer,
        502,
        Some("p1"),
        "pcs; next-hop=\"p1\"; error=proxy_configuration_error; received-status=407",
        1,
    );
    assert_eq!(answer.field("proxy-authenticate"), None);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_too_long_is_408() {
    for bytes in ["", "G", "GET http://example.com/ HTTP/1.1\r\nHost: exa"] {
        let mut world = World::new();
        let mut client = world.client().await;
        if !bytes.is_empty() {
            client.send(bytes).await;
        }
        let answer = client.answer().await;
        check_shape(&answer, 408, None, "pcs; error=http_request_error", 0);
        assert_eq!(answer.field("connection"), Some("close"));
        client.is_closed().await;
        let duration = world.record().await.duration;
        assert_eq!(
            duration.as_secs(),
            30,
            "it was waited for as long as that: {duration:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_head_that_takes_too_long_took_the_time_since_its_first_byte() {
    let mut world = World::new();
    let mut client = world.client_with("GET /health HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    world.record().await;
    tokio::time::advance(Duration::from_secs(100)).await;
    client.send("GET /hea").await;
    assert_eq!(client.answer().await.status, 408);
    let record = world.record().await;
    assert_eq!((record.status, record.duration.as_secs()), (408, 30));
}

#[tokio::test(start_paused = true)]
async fn a_dribbled_head_has_one_budget() {
    let world = World::start(Settings {
        budget: Duration::from_secs(5),
        ..Settings::default()
    });
    let mut client = world.client_with("GET http://example.com/ HTTP/1.1\r\n").await;
    let dribble = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.io, b"X: y\r\n").await;
            let mut answer = [0; 12];
            if client.io.try_read(&mut answer).is_ok() {
                return answer;
            }
        }
    };
    assert_eq!(dribble.await, *b"HTTP/1.1 408");
}
