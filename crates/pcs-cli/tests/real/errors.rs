//! The table of errors of the proxy port (docs: what clients are told), line by line over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use pcs_testkit::real::free_address;
use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy, refusing_address};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::clients::{Answer, ask, connect, dial, socks};
use crate::pcs::{Pcs, config, member, silence_after};

/// One line of the table: what is sent, and what has to come back.
struct Line<'a> {
    what: &'a str,
    sent: String,
    status: u16,
    /// The error of `Proxy-Status`; either of two where it is chance which of them comes first.
    error: &'a str,
    /// The hop that is named; `null` where none was involved.
    hop: &'a str,
    /// Tries made.
    attempts: u64,
    /// A field that this answer has to bear, and how its value begins.
    field: Option<(&'a str, &'a str)>,
    /// Whether nothing more is read of this client.
    closes: bool,
}

impl<'a> Line<'a> {
    /// A line of which nobody but PCS is part.
    fn ours(what: &'a str, sent: impl Into<String>, status: u16, error: &'a str) -> Self {
        Self {
            what,
            sent: sent.into(),
            status,
            error,
            hop: "null",
            attempts: 0,
            field: None,
            closes: false,
        }
    }

    /// One after which PCS cannot or will not read on.
    fn closing(what: &'a str, sent: impl Into<String>, status: u16, error: &'a str) -> Self {
        Self {
            closes: true,
            ..Self::ours(what, sent, status, error)
        }
    }

    /// One that failed at this hop, at the first try.
    fn at(what: &'a str, sent: impl Into<String>, status: u16, error: &'a str, hop: &'a str) -> Self {
        Self {
            hop,
            attempts: 1,
            ..Self::ours(what, sent, status, error)
        }
    }

    fn with(self, name: &'a str, begin: &'a str) -> Self {
        Self {
            field: Some((name, begin)),
            ..self
        }
    }

    /// Sends it on a connection of its own and holds the whole answer against the line.
    async fn holds(&self, proxy: SocketAddr) -> Answer {
        let mut stream = dial(proxy).await;
        stream.write_all(self.sent.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut stream).await;
        self.check(&answer);
        if self.closes {
            assert_eq!(answer.field("connection"), Some("close"), "{}", self.what);
            is_closed(&mut stream, self.what).await;
        }
        answer
    }

    fn check(&self, answer: &Answer) {
        let what = self.what;
        assert_eq!(answer.status(), self.status, "{what}: {answer:?}");
        let status = answer.field("proxy-status").unwrap_or_default();
        let mut parts = status.split("; ");
        assert_eq!(parts.next(), Some("pcs"), "{what}: {status}");
        let told = parts.find_map(|part| part.strip_prefix("error="));
        assert!(
            self.error.split('|').any(|error| Some(error) == told),
            "{what}: {status}, not {}",
            self.error
        );
        if let Some((name, begin)) = self.field {
            let value = answer.field(name).unwrap_or_default();
            assert!(value.starts_with(begin), "{what}: {name}: {value:?}");
            if name == "Retry-After" {
                assert!(value.parse::<u32>().unwrap() >= 1, "{what}: {value}");
            }
        }
        // A challenge of PCS itself and no other.
        assert_eq!(
            answer.field("proxy-authenticate").is_some(),
            self.status == 407,
            "{what}: {answer:?}"
        );
        assert_eq!(
            answer.field("content-type"),
            Some("application/problem+json"),
            "{what}"
        );
        self.check_body(&serde_json::from_str(&answer.body).unwrap());
    }

    fn check_body(&self, body: &Value) {
        let what = self.what;
        let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
        members.sort();
        assert_eq!(
            members,
            [
                "attempts",
                "detail",
                "hop",
                "request_id",
                "status",
                "title",
                "type"
            ],
            "{what}"
        );
        for text in ["type", "title", "detail", "request_id"] {
            let text = body[text].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{what}: {body}");
        }
        assert_eq!(body["status"], self.status, "{what}");
        assert_eq!(body["attempts"], self.attempts, "{what}: {body}");
        let hop = body["hop"].as_str().unwrap_or("null");
        assert_eq!(hop, self.hop, "{what}: {body}");
    }
}

/// Nothing more comes, and the connection is at its end.
async fn is_closed(stream: &mut TcpStream, what: &str) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    // A reset, where bytes of ours were left unread, is an end too.
    assert!(read.is_ok(), "{what}: left open");
    assert_eq!(rest, b"", "{what}");
}

fn get(url: &str, more: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: x\r\n{more}\r\n")
}

fn tunnel_to(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// Asks for the target as a tunnel and as a plain request, which get the same answer, and over SOCKS5, all at once.
async fn three_ways(pcs: &Pcs, target: &str, line: impl Fn(String) -> Line<'static>, reply: u8) {
    let (tunnel, plain) = (
        line(tunnel_to(target)),
        line(get(&format!("http://{target}/"), "")),
    );
    let (_, _, said) = tokio::join!(
        tunnel.holds(pcs.address()),
        plain.holds(pcs.address()),
        socks(pcs.address(), target),
    );
    assert_eq!(said, reply, "{}: SOCKS reply", tunnel.what);
}

#[tokio::test]
async fn what_is_wrong_with_a_head_is_told_and_the_connection_closed() {
    const HEAD: usize = 2048;
    let member = Proxy::http().start().await;
    let members = [self::member("one", "http", member.address(), None)];
    let within = |seconds: &str| {
        config(None, &members, "").replace(
            "timeout_seconds: 10,",
            &format!("timeout_seconds: {seconds}, max_head_bytes: {HEAD},"),
        )
    };
    let pcs = Pcs::start(&within("10")).await;
    let post = |fields: &str| format!("POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\nabc");
    let long = "x".repeat(HEAD);
    let request = "http_request_error";
    let lines = [
        Line::closing("no HTTP at all", "hello there\r\n\r\n", 400, request),
        Line::closing(
            "bare LF",
            "GET http://a.test/ HTTP/1.1\nHost: a.test\n\n",
            400,
            request,
        ),
        Line::closing(
            "a folded field",
            get("http://a.test/", "X: a\r\n b\r\n"),
            400,
            request,
        ),
        Line::closing(
            "a space before the colon",
            get("http://a.test/", "X : a\r\n"),
            400,
            request,
        ),
        Line::closing("a port that is none", tunnel_to("a.test:70000"), 400, request),
        Line::closing(
            "Content-Length and Transfer-Encoding",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked"),
            400,
            request,
        ),
        Line::closing(
            "two Content-Lengths",
            post("Content-Length: 3\r\nContent-Length: 4"),
            400,
            request,
        ),
        Line::closing(
            "chunked twice",
            post("Transfer-Encoding: chunked, chunked"),
            400,
            request,
        ),
        Line::closing(
            "a head too large",
            get("http://a.test/", &format!("X: {long}\r\n")),
            431,
            request,
        ),
        Line::closing(
            "a target too long",
            get(&format!("http://a.test/{long}"), ""),
            414,
            request,
        ),
    ];
    for line in lines {
        line.holds(pcs.address()).await;
    }
    // What never comes is waited for by another, which has no patience.
    let pcs = Pcs::start(&within("0.5")).await;
    let half = "GET http://a.test/ HTTP/1.1\r\nHo";
    let line = Line::closing("half a head", half, 408, request);
    line.holds(pcs.address()).await;
    assert_eq!(member.accepted(), 0, "nothing of these goes on");
}

#[tokio::test]
async fn what_is_not_allowed_is_told() {
    let member = Proxy::http().start().await;
    let members = [self::member("one", "http", member.address(), None)];
    let origin = Origin::start(OriginKind::Http).await;
    let more = "routes:\n  - {hosts: [\"*.rejected.test\", \"rejected.test\"], via: reject}\n  \
                - {hosts: [\"127.0.0.0/8\", \"localhost\"], via: direct}\n";
    let pcs = Pcs::start(&config(None, &members, more)).await;
    three_ways(
        &pcs,
        "a.rejected.test:80",
        |sent| Line::ours("a rejecting route", sent, 403, "http_request_denied"),
        2,
    )
    .await;
    for listener in ["proxy", "admin", "metrics"] {
        let port = pcs.listener(listener).unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let own = |sent| {
                Line::at(
                    "a listener of PCS itself",
                    sent,
                    403,
                    "http_request_denied",
                    "target",
                )
            };
            three_ways(&pcs, &format!("{host}:{port}"), own, 2).await;
        }
    }
    let url = origin.url("/");
    let unknown = get(&url, "X-Proxy-Pool: nowhere\r\n");
    let line = Line::ours("an unknown pool", unknown, 400, "http_request_error");
    line.holds(pcs.address()).await;
    let line = Line::ours(
        "an unknown pool by user name",
        get(&url, "Proxy-Authorization: Basic bWUtcG9vbC1ub3doZXJlOng=\r\n"),
        400,
        "http_request_error",
    );
    line.holds(pcs.address()).await;
    assert_eq!((member.accepted(), origin.accepted()), (0, 0));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_how_to_get_in() {
    let member = Proxy::http().start().await;
    let members = [self::member("one", "http", member.address(), None)];
    let users = "auth: {users: [{username: joe, password: s3cret}]}, timeout_seconds: 10,";
    let pcs = Pcs::start(&config(None, &members, "").replace("timeout_seconds: 10,", users)).await;
    // joe:wrong
    let wrong = "Proxy-Authorization: Basic am9lOndyb25n\r\n";
    let denied = "http_request_denied";
    for sent in [
        tunnel_to("a.test:443"),
        get("http://a.test/", ""),
        get("http://a.test/", wrong),
    ] {
        let line = Line::ours("no or wrong credentials", sent, 407, denied);
        let answer = line.with("Proxy-Authenticate", "Basic realm=\"pcs\"");
        answer.holds(pcs.address()).await;
    }
    // A SOCKS client that offers no login is not let in (RFC 1928 §3).
    let mut stream = dial(pcs.address()).await;
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut said = [0; 2];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(said, [5, 0xff]);
    assert_eq!(member.accepted(), 0);
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let member = Proxy::http().start().await;
    let members = [self::member("one", "http", member.address(), None)];
    let origin = Origin::start(OriginKind::Http).await;
    let limit = "rate_limit: {requests_per_second: 0.1, burst: 2}, timeout_seconds: 10,";
    let pcs = Pcs::start(&config(None, &members, "").replace("timeout_seconds: 10,", limit)).await;
    let target = origin.address().to_string();
    for _ in 0..2 {
        assert_eq!(
            ask(pcs.address(), &get(&origin.url("/ip"), "")).await.status(),
            200
        );
    }
    for sent in [tunnel_to(&target), get(&origin.url("/ip"), "")] {
        let line = Line::ours("over the rate", sent, 429, "http_request_denied");
        let answer = line.with("Retry-After", "").holds(pcs.address()).await;
        let seconds: u32 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=20).contains(&seconds), "{seconds}");
    }
    assert_eq!(socks(pcs.address(), &target).await, 2, "SOCKS reply");
    assert_eq!(origin.heads().len(), 2);
}

#[tokio::test]
async fn a_client_too_many_is_told_so_and_the_others_are_not_touched() {
    let member = Proxy::http().start().await;
    let members = [self::member("one", "http", member.address(), None)];
    let origin = Origin::start(OriginKind::Echo).await;
    let limit = "max_connections: 2, timeout_seconds: 10,";
    let pcs = Pcs::start(&config(None, &members, "").replace("timeout_seconds: 10,", limit)).await;
    let target = origin.address().to_string();
    let mut standing = Vec::new();
    for _ in 0..2 {
        let (stream, head) = connect(pcs.address(), &target).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        standing.push(stream);
    }
    for _ in 0..3 {
        Line::closing(
            "over max_connections",
            tunnel_to(&target),
            503,
            "connection_limit_reached",
        )
        .with("Retry-After", "")
        .holds(pcs.address())
        .await;
    }
    for stream in &mut standing {
        stream.write_all(b"still here").await.unwrap();
        let mut echoed = [0; 10];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"still here");
    }
    // One goes, one comes.
    standing.pop();
    let came = tokio::time::timeout(Duration::from_secs(10), async {
        while !connect(pcs.address(), &target)
            .await
            .1
            .starts_with("HTTP/1.1 200")
        {}
    });
    came.await.expect("its place is given to another");
}

#[tokio::test]
async fn a_pool_without_anybody_left_is_told_as_such() {
    let one = Proxy::http().start().await;
    let two = Proxy::http().start().await;
    let off = |id, proxy: &Proxy| member(id, "http", proxy.address(), None).replace('}', ", enabled: false}");
    // Whatever `when_exhausted` says: disabled ones are never used.
    for when in ["any", "fail"] {
        let members = [off("one", &one), off("two", &two)];
        let config = config(None, &members, "")
            .replace("rotation:\n", &format!("rotation:\n  when_exhausted: {when}\n"));
        let pcs = Pcs::start(&config).await;
        three_ways(
            &pcs,
            "a.test:80",
            |sent| Line::ours("nobody left", sent, 503, "destination_unavailable").with("Retry-After", ""),
            1,
        )
        .await;
    }
    assert_eq!((one.accepted(), two.accepted()), (0, 0));
}

#[tokio::test]
async fn a_chain_that_leads_back_is_a_loop() {
    for by_corporate in [false, true] {
        let own = free_address([127, 0, 0, 1].into());
        let myself = crate::pcs::corporate("http", own, None, &[]);
        let (corporate, hop) = if by_corporate {
            (Some(&*myself), "corporate")
        } else {
            (None, "myself")
        };
        let config = config(corporate, &[member("myself", "http", own, None)], "");
        let port = format!("{{port: {}, timeout", own.port());
        let pcs = Pcs::start(&config.replace("{port: 0, timeout", &port)).await;
        let line = |sent| Line::at("a proxy that is PCS", sent, 508, "proxy_loop_detected", hop);
        three_ways(&pcs, "a.test:80", line, 1).await;
    }
}

/// What a hop does, and what clients are told: status, errors of a tunnel and of a plain request, SOCKS reply.
fn ways() -> Vec<(&'static str, Behaviour, u16, [&'static str; 2], u8)> {
    let half = Behaviour::AnswerWith(b"HTTP/1.1 200 OK".to_vec());
    let (gone, incomplete) = ("connection_terminated", "http_response_incomplete");
    let either = "connection_terminated|http_response_incomplete";
    let both = |error| [error, error];
    vec![
        ("refuses", Behaviour::Refuse, 502, both("connection_refused"), 5),
        ("resets at once", Behaviour::ResetAtAccept, 502, [gone, either], 1),
        (
            "resets when asked",
            Behaviour::ResetAtRequest,
            502,
            [gone, incomplete],
            1,
        ),
        (
            "closes when asked",
            Behaviour::CloseAtRequest,
            502,
            [gone, incomplete],
            1,
        ),
        (
            "answers garbage",
            Behaviour::Garbage,
            502,
            both("http_protocol_error"),
            1,
        ),
        (
            "wants credentials",
            Behaviour::Status(407),
            502,
            both("proxy_configuration_error"),
            1,
        ),
        (
            "is slow",
            Behaviour::HangAtRequest,
            504,
            ["connection_timeout", "http_response_timeout"],
            6,
        ),
        ("never ends its head", half, 504, ["connection_timeout", ""], 6),
    ]
}

/// One try, so that its outcome is seen.
const ONCE: &str = "retry: {enabled: false}\ncircuit_breaker: {enabled: false}";

#[tokio::test]
async fn what_a_hop_does_wrong_is_told_and_the_hop_named() {
    let (nowhere, _kept) = refusing_address();
    let origin = Origin::start(OriginKind::Http).await;
    let target = origin.address().to_string();
    // An answer that does not come to a plain request has the whole budget.
    let patient = |config: &str, status| match status {
        504 => silence_after(config, 3).replace("timeout_seconds: 10,", "timeout_seconds: 5,"),
        _ => config.to_owned(),
    };
    for (what, behaviour, status, [tunnel, plain], reply) in ways() {
        let proxy = Proxy::http().behaviour(behaviour).start().await;
        // As the corporate proxy it is asked for the member, as the member for the target.
        let corporate = crate::pcs::corporate("http", proxy.address(), None, &[]);
        let behind = member("behind", "http", nowhere, None);
        let pcs = Pcs::start(&patient(&config(Some(&corporate), &[behind], ONCE), status)).await;
        // The corporate proxy is asked for a tunnel whatever the client asks for.
        let line = |sent| Line::at(what, sent, status, tunnel, "corporate");
        // Silence may be the corporate proxy's or that of the member it was asked for: see the tests of failures.
        if status != 504 {
            three_ways(&pcs, &target, line, reply).await;
        }
        let alone = [member("alone", "http", proxy.address(), None)];
        let pcs = Pcs::start(&patient(&config(None, &alone, ONCE), status)).await;
        let line = |sent: String| {
            let error = if sent.starts_with("GET") { plain } else { tunnel };
            Line::at(what, sent, status, error, "alone")
        };
        // This is about the answer to CONNECT.
        if what == "never ends its head" {
            line(tunnel_to(&target)).holds(pcs.address()).await;
            continue;
        }
        three_ways(&pcs, &target, line, reply).await;
    }
}

#[tokio::test]
async fn what_the_target_does_wrong_is_told_and_the_target_named() {
    // SOCKS5 members say what became of the target: reply, status, error, and the reply to a SOCKS client.
    let said = [
        (2, 502, "destination_unavailable", 1),
        (3, 502, "destination_ip_unroutable", 4),
        (4, 502, "destination_ip_unroutable", 4),
        (5, 502, "connection_refused", 5),
        (6, 504, "connection_timeout", 6),
    ];
    let proxy = Proxy::socks5().start().await;
    let pcs = Pcs::start(&config(
        None,
        &[member("one", "socks5", proxy.address(), None)],
        ONCE,
    ))
    .await;
    for (code, status, error, reply) in said {
        proxy.behave(Behaviour::Reply(code));
        let line = |sent| Line {
            hop: if (3..=6).contains(&code) { "target" } else { "one" },
            ..Line::at("a SOCKS reply of the member", sent, status, error, "target")
        };
        three_ways(&pcs, "a.test:80", line, reply).await;
    }
    proxy.behave(Behaviour::Good);
    let silent = Origin::start(OriginKind::Silent).await;
    let config = config(None, &[member("one", "socks5", proxy.address(), None)], ONCE);
    let hasty = Pcs::start(&config.replace("timeout_seconds: 10,", "timeout_seconds: 3,")).await;
    let sent = get(&format!("http://{}/", silent.address()), "");
    let slow = Line::at(
        "a target that says nothing",
        sent,
        504,
        "http_response_timeout",
        "target",
    );
    slow.holds(hasty.address()).await;
    let (_stream, head) = connect(pcs.address(), &silent.address().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "a tunnel to it stands: {head}");
}
