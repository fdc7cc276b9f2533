//! Who changed what: the audit lines of the log, and the stream of events of the admin API.

use pcs_testkit::{Behaviour, Origin, OriginKind, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admin::chain;
use crate::clients::{connect, dial, read_head};
use crate::pcs::{Pcs, ROTATING};

#[tokio::test]
async fn every_change_is_written_down_with_who_and_what_and_no_secret() {
    let (_proxies, config) = chain(1, "").await;
    let pcs = Pcs::start(&config).await;
    let new = json!({"id": "new", "host": "h.test", "port": 8080, "username": "new-user",
        "password": "added-s3cret-Pc"});
    let patch = json!({"weight": 3});
    let calls = [
        ("POST", "proxies", Some(new.clone()), 201, "added", "done"),
        ("POST", "proxies", Some(new), 409, "added", "refused"),
        ("PATCH", "proxies/new", Some(patch), 200, "patched", "done"),
        ("DELETE", "proxies/new", None, 204, "removed", "done"),
        ("DELETE", "proxies/new", None, 404, "removed", "refused"),
    ];
    for (n, (method, path, body, wanted, change, outcome)) in calls.into_iter().enumerate() {
        let (status, said, by) = pcs.api_by(method, path, body).await;
        assert_eq!(status, wanted, "{method}: {said}");
        let audit = pcs.told("audit", n + 1, |_| true).await;
        assert_eq!(audit.len(), n + 1, "one line a change: {audit:?}");
        let line = &audit[n];
        let told = ["level", "change", "proxy", "by", "outcome"].map(|key| line[key].as_str().unwrap());
        assert_eq!(told, ["INFO", change, "new", &by.to_string(), outcome], "{line}");
        assert_eq!(line["error"].is_string(), outcome == "refused", "{line}");
    }
    let (_, _, by) = pcs.api_by("POST", "reload", None).await;
    let audit = pcs.told("audit", 6, |_| true).await.remove(5);
    let told = ["change", "by", "outcome"].map(|key| audit[key].as_str().unwrap());
    assert_eq!(told, ["reload", &by.to_string(), "done"], "{audit}");
    // Reading is no change.
    pcs.proxies().await;
    let log = pcs.log();
    assert_eq!(log.matches("\"audit\"").count(), 6, "{log}");
    assert!(!log.contains("s3cret"), "{log}");
}

/// Somebody who listens to `/api/v1/events`.
struct Listener {
    stream: TcpStream,
    text: String,
    /// Those that were read: kind and data.
    events: Vec<(String, Value)>,
}

impl Listener {
    async fn start(pcs: &Pcs) -> Self {
        let admin = pcs.listener("admin").unwrap();
        let mut stream = dial(admin).await;
        let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        Self {
            stream,
            text: String::new(),
            events: Vec::new(),
        }
    }

    /// Reads on until it was told so.
    async fn hears(&mut self, kind: &str, data: Value) {
        let heard = async {
            while !self.events.contains(&(kind.to_owned(), data.clone())) {
                self.read().await;
            }
        };
        within(&format!("told of {kind} {data}"), heard).await;
    }

    async fn read(&mut self) {
        let mut buffer = vec![0; 4096];
        let read = self.stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the stream ended: {:?}", self.events);
        self.text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        // Between events are sizes of chunks.
        while let Some((event, rest)) = self.text.split_once("\n\n") {
            let line = |begin| event.lines().find_map(|line| line.strip_prefix(begin));
            if let (Some(kind), Some(data)) = (line("event: "), line("data: ")) {
                let data = serde_json::from_str(data).unwrap();
                self.events.push((kind.to_owned(), data));
            }
            self.text = rest.to_owned();
        }
    }
}

#[tokio::test]
async fn whoever_listens_is_told_of_every_kind_of_change() {
    let origin = Origin::start(OriginKind::Http).await;
    let more = "circuit_breaker: {failure_threshold: 3, timeout_seconds: 600}";
    let (proxies, config) = chain(2, more).await;
    let checks = format!(
        "health_check: {{interval_seconds: 0.2, failure_threshold: 2, success_threshold: 1, test_url: {:?}}}",
        origin.url("/health")
    );
    let config = config.replace("health_check: {enabled: false}", &checks);
    let pcs = Pcs::start(&config).await;
    let healthy = |listed: &[Value]| listed.iter().all(|proxy| proxy["healthy"] == true);
    pcs.until("all healthy", healthy).await;
    let mut listener = Listener::start(&pcs).await;

    let extra = json!({"id": "extra", "host": "127.0.0.1", "port": proxies[1].port(),
        "username": ROTATING.0, "password": ROTATING.1});
    assert_eq!(pcs.api("POST", "proxies", Some(extra)).await.0, 201);
    let added = json!({"proxy": "extra", "change": "added"});
    listener.hears("proxy", added).await;
    assert_eq!(pcs.api("DELETE", "proxies/extra", None).await.0, 204);
    let removed = json!({"proxy": "extra", "change": "removed"});
    listener.hears("proxy", removed).await;

    let heavier = config.replace("id: rota-2,", "id: rota-2, weight: 2,");
    assert_ne!(heavier, config);
    std::fs::write(pcs.config(), heavier).unwrap();
    assert_eq!(pcs.api("POST", "reload", None).await.0, 200);
    let reload = json!({"added": [], "removed": [], "changed": ["rota-2"]});
    listener.hears("reload", reload).await;

    // Requests find out as well, of each two one meets it.
    proxies[1].behave(Behaviour::Refuse);
    let open = json!({"pool": "default", "proxy": "rota-1", "from": "closed", "to": "open"});
    let unhealthy = json!({"pool": "default", "proxy": "rota-1", "healthy": false});
    for _ in 0..8 {
        let (_tunnel, head) = connect(pcs.address(), &origin.address().to_string()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    listener.hears("health", unhealthy).await;
    listener.hears("circuit", open).await;
    proxies[1].behave(Behaviour::Good);
    let healthy = json!({"pool": "default", "proxy": "rota-1", "healthy": true});
    listener.hears("health", healthy).await;
}
