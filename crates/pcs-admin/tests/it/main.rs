//! The API over real sockets, with a control that only remembers.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a client of a test dials by itself, and a failed step ends the test"
)]

mod full;
mod page;
mod still;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pcs_admin::{
    Admin, Changed, CheckResult, Control, ControlError, Event, Feed, Gate, Gauges, Metrics, RequestEnd,
};
use pcs_models::{Hop, PoolName, Protocol, ProxyId, Secret};
use pcs_pool::{MemberSpec, Patch, Pools, ProxyView};
use pcs_tunnel::{Connect as _, ConnectRequest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Hand(Pools);

#[async_trait]
impl Control for Hand {
    async fn add(&self, pool: PoolName, body: Value, _by: SocketAddr) -> Result<ProxyView, ControlError> {
        let Some(id) = body["id"].as_str() else {
            return Err(ControlError::Invalid(vec!["id: missing".into()]));
        };
        let id = ProxyId::try_new(id).unwrap();
        let spec = MemberSpec::new(
            id.clone(),
            Hop::new(Protocol::Http, "a.example:1".parse().unwrap()),
        );
        self.0.add(pool, spec).map_err(|_| ControlError::Duplicate(id))
    }

    async fn patch(&self, id: ProxyId, body: Value, _by: SocketAddr) -> Result<ProxyView, ControlError> {
        let patch = Patch {
            enabled: body["enabled"].as_bool(),
            ..Patch::default()
        };
        self.0.patch(&id, &patch).map_err(|_| ControlError::NotFound(id))
    }

    async fn remove(&self, id: ProxyId, _by: SocketAddr) -> Result<(), ControlError> {
        self.0.remove(&id).map_err(|_| ControlError::NotFound(id))
    }

    async fn check(&self, id: ProxyId) -> Result<CheckResult, ControlError> {
        match self.0.get(&id) {
            Some(view) => Ok(CheckResult {
                healthy: view.is_healthy(),
                result: Ok(Duration::from_millis(3)),
            }),
            None => Err(ControlError::NotFound(id)),
        }
    }

    async fn reload(&self, _by: SocketAddr) -> Result<Changed, Vec<String>> {
        Ok(Changed {
            added: vec![ProxyId::try_new("new").unwrap()],
            ..Changed::default()
        })
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            active_connections: 7,
            max_connections: 1000,
            ..Gauges::default()
        }
    }
}

struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    feed: Feed,
    closing: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(token: Option<&str>) -> Self {
        Self::listening("127.0.0.1:0", token)
    }

    fn listening(at: &str, token: Option<&str>) -> Self {
        let pools = still::pools(&["a", "b", "c"]);
        let metrics = Arc::new(Metrics::new(10, std::time::Instant::now()));
        let feed = Feed::default();
        let gate = Gate {
            token: token.map(|token| Secret::new(token.into())),
            ..Gate::default()
        };
        let admin = Admin {
            control: Arc::new(Hand(pools.clone())),
            pools,
            metrics: Arc::clone(&metrics),
            feed: feed.clone(),
            gate: Arc::new(ArcSwap::from_pointee(gate)),
        };
        let listener = std::net::TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let closing = CancellationToken::new();
        let task = tokio::spawn(admin.serve(listener, closing.clone()));
        Self {
            address,
            metrics,
            feed,
            closing,
            task,
        }
    }

    /// Sends a request with these fields and answers status, head and body.
    async fn send(&self, line: &str, fields: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let host = if fields.contains("Host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let text = format!("{line} HTTP/1.1\r\n{host}{fields}{length}Connection: close\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            head.to_lowercase(),
            body.to_owned(),
        )
    }

    async fn json(&self, line: &str, body: &Value) -> (u16, String, Value) {
        let (fields, body) = if body.is_null() {
            ("", String::new())
        } else {
            ("Content-Type: application/json\r\n", body.to_string())
        };
        let (status, head, answer) = self.send(line, fields, &body).await;
        (status, head, serde_json::from_str(&answer).unwrap_or(Value::Null))
    }
}

/// The media type of an answer by its head in lower case.
fn kind(head: &str) -> &str {
    let field = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    field.unwrap_or_default().split(';').next().unwrap()
}

/// Holds an answer to the schema that the document names for its call, status and media type.
#[track_caller]
fn hold(document: &Value, (method, path): (&str, &str), status: u16, kind: &str, answer: &Value) {
    let response = &document["paths"][path][method]["responses"][status.to_string()];
    assert!(
        response.is_object(),
        "{method} {path} is not described to answer {status}"
    );
    let Some(content) = response["content"].as_object() else {
        return;
    };
    assert!(
        content.keys().eq([kind]),
        "{method} {path} {status} is {kind}, described are {:?}",
        content.keys()
    );
    let mut schema = content[kind]["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(answer)
        .map(|error| error.to_string())
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {path} {status}: {errors:?}\n{answer}"
    );
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let server = Server::start(None);
    let document = pcs_admin::document();
    let off = json!({ "enabled": false });
    let new = json!({ "id": "d", "pool": "extra" });
    let lost = json!({ "id": "e", "pool": "exrta" });
    let step = json!({ "id": ".." });
    let nothing = Value::Null;
    let calls: &[(&str, &str, &str, &Value, u16)] = &[
        ("get", "/api/v1/proxies", "", &nothing, 200),
        ("get", "/api/v1/proxies", "?limit=2", &nothing, 200),
        ("get", "/api/v1/proxies", "?healthy=maybe", &nothing, 400),
        ("get", "/api/v1/proxies", "?limit=0", &nothing, 400),
        ("get", "/api/v1/proxies", "?colour=red", &nothing, 400),
        ("get", "/api/v1/proxies/{id}", "a", &nothing, 200),
        ("get", "/api/v1/proxies/{id}", "nobody", &nothing, 404),
        ("post", "/api/v1/proxies", "", &new, 201),
        ("post", "/api/v1/proxies", "", &new, 409),
        ("post", "/api/v1/proxies", "", &off, 422),
        ("post", "/api/v1/proxies", "", &lost, 422),
        ("post", "/api/v1/proxies", "", &step, 422),
        ("patch", "/api/v1/proxies/{id}", "a", &off, 200),
        ("patch", "/api/v1/proxies/{id}", "nobody", &off, 404),
        ("post", "/api/v1/proxies/{id}/check", "a", &nothing, 200),
        ("post", "/api/v1/proxies/{id}/check", "nobody", &nothing, 404),
        ("delete", "/api/v1/proxies/{id}", "a", &nothing, 204),
        ("delete", "/api/v1/proxies/{id}", "a", &nothing, 404),
        ("get", "/api/v1/stats", "", &nothing, 200),
        ("get", "/api/v1/health", "", &nothing, 200),
        ("post", "/api/v1/reload", "", &nothing, 200),
        ("get", "/api/v1/openapi.json", "", &nothing, 200),
    ];
    for (method, path, rest, body, expected) in calls {
        let real = if path.contains("{id}") {
            path.replace("{id}", rest)
        } else {
            format!("{path}{rest}")
        };
        let line = format!("{} {real}", method.to_uppercase());
        let (status, head, answer) = server.json(&line, body).await;
        assert_eq!(status, *expected, "{line}: {answer}");
        if status >= 400 {
            assert!(head.contains("application/problem+json"), "{line}: {head}");
        }
        hold(&document, (method, path), status, kind(&head), &answer);
    }
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_not_made_by_a_slip_of_the_pen() {
    let server = Server::start(None);
    let add = async |pool: &str| {
        let body = json!({ "id": "d", "pool": pool });
        server.json("POST /api/v1/proxies", &body).await
    };
    let (status, _, answer) = add("exrta").await;
    assert_eq!(status, 422);
    let mistake = "pool: there is no pool `exrta`; allowed: `default`, `extra`";
    assert_eq!(answer["errors"], json!([mistake]));
    assert_eq!(answer["detail"], mistake);
    let (_, _, listing) = server.json("GET /api/v1/proxies", &Value::Null).await;
    assert!(!listing.to_string().contains("exrta"), "{listing}");
    assert_eq!(add("extra").await.0, 201);
}

#[tokio::test]
async fn every_refusal_of_the_gate_is_as_the_document_says() {
    let server = Server::start(Some("t0ken"));
    let document = pcs_admin::document();
    let login = "Authorization: Bearer t0ken\r\n";
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let line = format!("{} {}", method.to_uppercase(), path.replace("{id}", "a"));
            let mut cases = vec![
                (String::new(), "", 401),
                (format!("{login}Host: evil.example\r\n"), "", 421),
            ];
            if method != "get" {
                cases.push((format!("{login}Origin: http://evil.example\r\n"), "", 403));
                cases.push((format!("{login}Content-Type: text/plain\r\n"), "x", 415));
            }
            for (fields, body, expected) in cases {
                if expected == 401 && path.ends_with("/health") {
                    continue;
                }
                let (status, head, answer) = server.send(&line, &fields, body).await;
                assert_eq!(status, expected, "{line}");
                let answer = serde_json::from_str(&answer).unwrap();
                hold(&document, (method, path), status, kind(&head), &answer);
            }
        }
    }
    let large = "x".repeat(1_100_000);
    let fields = format!("{login}Content-Type: application/json\r\n");
    let (status, head, answer) = server.send("POST /api/v1/proxies", &fields, &large).await;
    assert_eq!(status, 413);
    let answer = serde_json::from_str(&answer).unwrap();
    hold(
        &document,
        ("post", "/api/v1/proxies"),
        status,
        kind(&head),
        &answer,
    );
}

/// The schema is the one that the OpenAPI Initiative publishes for 3.1 (Apache-2.0).
#[test]
fn the_document_is_a_valid_one() {
    let document = pcs_admin::document();
    let schema: Value = serde_json::from_str(include_str!("../openapi/schema-3.1.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    // What that schema does not look at: references, and the schemas themselves.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer = reference.split('"').next().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn every_path_of_the_document_is_served_and_only_its_methods() {
    let server = Server::start(None);
    let document = pcs_admin::document();
    for (path, item) in document["paths"].as_object().unwrap() {
        let real = path.replace("{id}", "a");
        for method in ["get", "put", "post", "patch", "delete"] {
            if path.ends_with("events") && method == "get" {
                continue;
            }
            let described = item.get(method).is_some();
            let (status, _, _) = server
                .json(&format!("{} {real}", method.to_uppercase()), &Value::Null)
                .await;
            assert_eq!(status == 405, !described, "{method} {path}: {status}");
        }
    }
    assert_eq!(server.json("GET /api/v1/nowhere", &Value::Null).await.0, 404);
}

#[tokio::test]
async fn pages_follow_one_another_to_the_end() {
    let server = Server::start(None);
    let (_, _, first) = server.json("GET /api/v1/proxies?limit=2", &Value::Null).await;
    let ids = |page: &Value| {
        page["proxies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(&first), &first["next_cursor"]),
        (vec![json!("a"), json!("b")], &json!("1.b"))
    );
    // The last one seen may be gone by then.
    assert_eq!(server.json("DELETE /api/v1/proxies/b", &Value::Null).await.0, 204);
    let (_, _, second) = server
        .json("GET /api/v1/proxies?limit=2&cursor=1.b", &Value::Null)
        .await;
    assert_eq!(
        (ids(&second), &second["next_cursor"]),
        (vec![json!("c")], &Value::Null)
    );
}

#[tokio::test]
async fn the_gate_lets_nobody_by_who_should_not_come_in() {
    let server = Server::start(Some("t0ken"));
    let login = "Authorization: Bearer t0ken\r\n";
    let json_body = "Content-Type: application/json\r\n";
    let rebound = format!("Host: evil.example\r\n{login}");
    let foreign = format!("Origin: http://evil.example\r\n{login}{json_body}");
    let plain = format!("Content-Type: text/plain\r\n{login}");
    let both = format!("Origin: http://{}\r\n{foreign}", server.address);
    let cases = [
        ("GET /api/v1/stats", rebound.as_str(), "", 421),
        ("POST /api/v1/reload", rebound.as_str(), "", 421),
        ("POST /api/v1/proxies", foreign.as_str(), "{\"id\":\"x\"}", 403),
        ("POST /api/v1/reload", foreign.as_str(), "", 403),
        ("POST /api/v1/reload", both.as_str(), "", 403),
        ("POST /api/v1/proxies", plain.as_str(), "{\"id\":\"x\"}", 415),
        ("GET /api/v1/stats", "", "", 401),
        ("POST /api/v1/reload", "Authorization: Bearer t0kem\r\n", "", 401),
        ("GET /nowhere", "", "", 401),
        ("GET /api/v1/health", "", "", 200),
        ("GET /api/v1/stats", login, "", 200),
        ("POST /api/v1/reload", login, "", 200),
    ];
    for (line, fields, body, expected) in cases {
        let (status, _, answer) = server.send(line, fields, body).await;
        assert_eq!(status, expected, "{line} {fields:?}: {answer}");
        assert!(!answer.contains("t0ken"), "{answer}");
    }
    let (_, _, listing) = server.send("GET /api/v1/proxies", login, "").await;
    assert!(!listing.contains("\"x\""), "nothing was added: {listing}");
}

/// An address of this machine, if possible one that does not show it.
fn this_machine() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connecting a datagram socket sends nothing; it only picks the address that would be used.
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(address) => address.ip(),
        Err(_) => Ipv4Addr::LOCALHOST.into(),
    }
}

#[tokio::test]
async fn on_all_addresses_each_is_answered_by_its_own_number() {
    let mut server = Server::listening("0.0.0.0:0", None);
    let ours = this_machine();
    server.address.set_ip(ours);
    assert_eq!(server.send("GET /api/v1/stats", "", "").await.0, 200, "{ours}");
    for other in ["192.0.2.77:8889", "pcs.example", "0.0.0.0"] {
        let (status, _, _) = server
            .send("GET /api/v1/stats", &format!("Host: {other}\r\n"), "")
            .await;
        assert_eq!(status, 421, "{other}");
    }
}

#[tokio::test]
async fn events_are_streamed_and_end_with_the_server() {
    let server = Server::start(None);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = vec![0; 4096];
    let read = stream.read(&mut said).await.unwrap();
    assert!(String::from_utf8_lossy(&said[..read]).contains("text/event-stream"));
    server.feed.tell(Event::Proxy {
        proxy: ProxyId::try_new("a").unwrap(),
        change: "added",
    });
    let read = stream.read(&mut said).await.unwrap();
    let event = String::from_utf8_lossy(&said[..read]).into_owned();
    assert!(
        event.contains("event: proxy\ndata: {\"change\":\"added\",\"proxy\":\"a\"}\n\n"),
        "{event}"
    );
    server.closing.cancel();
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_counted_is_told() {
    let server = Server::start(None);
    let now = std::time::Instant::now();
    let pools = still::pools(&["a", "b"]);
    let count = |end, proxy| {
        let member = pools.member(&ProxyId::try_new(proxy).unwrap()).unwrap();
        let took = Duration::from_millis(20);
        server.metrics.request(end, Some(member.traffic()), took, now);
    };
    count(RequestEnd::Success, "a");
    count(RequestEnd::Success, "a");
    count(RequestEnd::Error, "b");
    let rejected = RequestEnd::Rejected("auth");
    server.metrics.request(rejected, None, Duration::ZERO, now);
    let (_, _, stats) = server.json("GET /api/v1/stats", &Value::Null).await;
    assert_eq!(
        (&stats["total_requests"], &stats["failed_requests"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(stats["active_connections"], 7);
    let page = server.metrics.page(&pools, Gauges::default(), now, false);
    for sample in [
        "proxy_chain_requests_total{status=\"success\",proxy=\"a\"} 2\n",
        "proxy_chain_requests_total{status=\"error\",proxy=\"b\"} 1\n",
        "proxy_chain_rejected_total{reason=\"auth\"} 1\n",
        "proxy_chain_request_duration_seconds_count 3",
        "proxy_chain_proxies_total{status=\"healthy\"} 2",
    ] {
        assert!(page.contains(sample), "no {sample}:\n{page}");
    }
    let open = server
        .metrics
        .page(&still::pools(&["a"]), Gauges::default(), now, true);
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert!(
        !open.contains("proxy=\"b\"} 1"),
        "a proxy that is gone has no series"
    );
}

#[tokio::test]
async fn reasons_to_reject_are_shown_before_they_happen() {
    let now = std::time::Instant::now();
    let metrics = Arc::new(Metrics::new(10, now));
    metrics.rejected("auth");
    metrics.reject_for(["auth", "rate_limit"]);
    metrics.rejected("rate_limit");
    metrics.reject_for(["auth", "denied"]);
    let page = metrics.page(&still::pools(&["a"]), Gauges::default(), now, false);
    let shown: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("proxy_chain_rejected_total{reason="))
        .collect();
    assert_eq!(shown, ["\"auth\"} 1", "\"denied\"} 0", "\"rate_limit\"} 1"]);
}

/// The samples of a page by name and labels.
fn samples(page: &str) -> std::collections::BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn no_counter_falls_when_proxies_leave_and_one_rule_gives_the_labels() {
    let pools = still::pools(&["a", "b", "c", "d"]);
    let now = std::time::Instant::now();
    let metrics = Arc::new(Metrics::new(2, now));
    metrics.request(RequestEnd::Success, None, Duration::ZERO, now);
    for member in pools.members() {
        let traffic = member.traffic();
        metrics.request(RequestEnd::Success, Some(traffic), Duration::ZERO, now);
        traffic.count_connect(Duration::from_millis(3));
    }
    for _ in 0..12 {
        let soon = tokio::time::Instant::now() + Duration::from_secs(9);
        let mut request = ConnectRequest::tunnel("t.example:443".parse().unwrap(), soon);
        assert!(pools.connect(&mut request).await.is_err());
    }
    let mut before = String::new();
    for gone in [None, Some("b"), Some("d"), Some("a")] {
        if let Some(gone) = gone {
            pools.remove(&ProxyId::try_new(gone).unwrap()).unwrap();
        }
        let page = metrics.page(&pools, Gauges::default(), now, false);
        let labelled = |family: &str, name: &str| page.contains(&format!("{family}{{proxy=\"{name}\"}}"));
        for name in ["a", "b", "c", "d"] {
            let requests = page.contains(&format!("status=\"success\",proxy=\"{name}\""));
            assert_eq!(
                labelled("proxy_chain_proxy_requests_total", name),
                requests,
                "{name}"
            );
            assert_eq!(labelled("proxy_chain_proxy_healthy", name), requests, "{name}");
        }
        let (old, new) = (samples(&before), samples(&page));
        for (name, value) in old
            .iter()
            .filter(|(name, _)| name.contains("_total") && name.contains("_other"))
        {
            assert!(
                new.get(name).is_some_and(|new| new >= value),
                "{name} fell from {value}, {gone:?} left"
            );
        }
        before = page;
    }
    assert!(
        before.contains("proxy_chain_proxy_requests_total{proxy=\"_other\"} 6"),
        "{before}"
    );
}

#[tokio::test]
async fn the_pages_of_the_documentation_are_current() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap_or_default();
    let now = std::time::Instant::now();
    let metrics = Arc::new(Metrics::new(1, now).begun_at(std::time::SystemTime::UNIX_EPOCH));
    let stale = "run `cargo xtask docs`";
    assert_eq!(read("admin-api.md"), pcs_admin::api_reference(), "{stale}");
    assert_eq!(
        read("metrics.md"),
        pcs_admin::metrics_reference(&metrics, &still::pools(&[]), now),
        "{stale}"
    );
}
