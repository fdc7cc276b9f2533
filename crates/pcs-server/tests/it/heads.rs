//! Heads that are refused: nothing of them goes on, and the connection ends.

use pcs_server::{Rejection, Settings};

use crate::world::World;

#[tokio::test]
async fn malformed_and_ambiguous_heads_are_refused() {
    let cases: &[(&str, &str)] = &[
        ("bare LF", "GET http://a.example/ HTTP/1.1\nHost: a.example\n\n"),
        (
            "bare CR in a value",
            "GET http://a.example/ HTTP/1.1\r\nX: a\rb\r\n\r\n",
        ),
        (
            "bare CR as line end",
            "GET http://a.example/ HTTP/1.1\rHost: a.example\r\r\n\r\n",
        ),
        ("obs-fold", "GET http://a.example/ HTTP/1.1\r\nX: a\r\n b\r\n\r\n"),
        (
            "fold as first field",
            "GET http://a.example/ HTTP/1.1\r\n X: a\r\n\r\n",
        ),
        (
            "space before colon",
            "GET http://a.example/ HTTP/1.1\r\nHost : a.example\r\n\r\n",
        ),
        ("no colon", "GET http://a.example/ HTTP/1.1\r\nHost\r\n\r\n"),
        (
            "empty field name",
            "GET http://a.example/ HTTP/1.1\r\n: x\r\n\r\n",
        ),
        (
            "NUL in a value",
            "GET http://a.example/ HTTP/1.1\r\nX: a\0b\r\n\r\n",
        ),
        ("two spaces", "GET  http://a.example/ HTTP/1.1\r\n\r\n"),
        ("no version", "GET http://a.example/\r\n\r\n"),
        ("an older version", "GET http://a.example/ HTTP/0.9\r\n\r\n"),
        ("a newer version", "GET http://a.example/ HTTP/2.0\r\n\r\n"),
        (
            "a version of two digits",
            "GET http://a.example/ HTTP/1.10\r\n\r\n",
        ),
        (
            "bad fields in a later minor version",
            "GET http://a.example/ HTTP/1.2\r\nHost : a.example\r\n\r\n",
        ),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (
            "two hosts",
            "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        ),
        (
            "CL and TE",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "differing CLs",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        (
            "differing CL list",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 3, 4\r\n\r\nabcd",
        ),
        (
            "signed CL",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        ),
        (
            "hexadecimal CL",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 0x3\r\n\r\nabc",
        ),
        (
            "empty CL",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: \r\n\r\n",
        ),
        (
            "CL over 64 bits",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        ),
        (
            "chunked not last",
            "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        ),
        (
            "chunked twice",
            "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        ),
        (
            "chunked in two fields",
            "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "chunked with a parameter",
            "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
        ),
        (
            "no chunked at all",
            "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        ),
        (
            "TE in HTTP/1.0",
            "POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("CONNECT without port", "CONNECT a.example HTTP/1.1\r\n\r\n"),
        ("CONNECT to port 0", "CONNECT a.example:0 HTTP/1.1\r\n\r\n"),
        (
            "CONNECT to a port too large",
            "CONNECT a.example:65536 HTTP/1.1\r\n\r\n",
        ),
        (
            "CONNECT to a signed port",
            "CONNECT a.example:+443 HTTP/1.1\r\n\r\n",
        ),
        ("CONNECT to no host", "CONNECT :443 HTTP/1.1\r\n\r\n"),
        (
            "CONNECT with user-info",
            "CONNECT u:p@a.example:443 HTTP/1.1\r\n\r\n",
        ),
        ("CONNECT with a path", "CONNECT a.example:443/x HTTP/1.1\r\n\r\n"),
        (
            "CONNECT with a URL",
            "CONNECT http://a.example:443 HTTP/1.1\r\n\r\n",
        ),
        (
            "CONNECT with a body",
            "CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        ),
        (
            "CONNECT in chunks",
            "CONNECT a.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("user-info", "GET http://u:p@a.example/ HTTP/1.1\r\n\r\n"),
        ("no host", "GET http:///x HTTP/1.1\r\n\r\n"),
        ("bad port", "GET http://a.example:99999/ HTTP/1.1\r\n\r\n"),
        ("fragment", "GET http://a.example/#x HTTP/1.1\r\n\r\n"),
        ("another scheme", "GET ftp://a.example/ HTTP/1.1\r\n\r\n"),
        ("a number for a name", "GET http://2130706433/ HTTP/1.1\r\n\r\n"),
        ("authority form", "GET a.example:80 HTTP/1.1\r\n\r\n"),
        ("only text", "hello there\r\n\r\n"),
    ];
    for (name, bytes) in cases {
        let mut world = World::new();
        let mut client = world.client_with(bytes).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{name}: {}", answer.head);
        assert_eq!(answer.field("connection"), Some("close"), "{name}");
        assert_eq!(
            answer.field("proxy-status"),
            Some("pcs; error=http_request_error"),
            "{name}"
        );
        client.is_closed().await;
        assert_eq!(world.asked(), [], "{name}: nothing is forwarded");
        assert_eq!(
            world.record().await.rejected,
            Some(Rejection::BadRequest),
            "{name}"
        );
    }
}

/// RFC 9110 §2.5: a later minor version is processed as the last one known.
#[tokio::test]
async fn a_later_minor_version_is_served_as_1_1() {
    let mut world = World::new();
    let mut client = world
        .client_with("GET http://a.example/ HTTP/1.2\r\nHost: a.example\r\nX: HTTP/1.2\r\n\r\n")
        .await;
    let mut up = world.upstream().await;
    assert_eq!(
        up.head().await,
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX: HTTP/1.2\r\n\r\n"
    );
    up.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    client.send("CONNECT a.example:443 HTTP/1.9\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200, "the connection stays");
}

#[tokio::test]
async fn codings_that_nobody_knows_are_501() {
    let bytes = "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let world = World::new();
    let mut client = world.client_with(bytes).await;
    assert_eq!(client.answer().await.status, 501);
    client.is_closed().await;
}

#[tokio::test]
async fn large_heads_are_431_and_long_targets_414() {
    let settings = || Settings {
        max_head_bytes: 1024,
        ..Settings::default()
    };
    let field = |size: usize| format!("GET http://a.example/ HTTP/1.1\r\nX: {}\r\n", "x".repeat(size));
    let many: String = (0..300).map(|n| format!("X{n}:\r\n")).collect();
    let cases = [
        (431, format!("{}\r\n", field(1024))),
        (431, field(2000)),
        (
            414,
            format!("GET http://a.example/{} HTTP/1.1\r\n\r\n", "x".repeat(1024)),
        ),
        (414, format!("GET http://a.example/{}", "x".repeat(1100))),
        (414, format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "x".repeat(1100))),
        (431, "x".repeat(1100)),
    ];
    for (status, bytes) in cases {
        let world = World::start(settings());
        let mut client = world.client_with(&bytes).await;
        assert_eq!(client.answer().await.status, status, "{}", &bytes[..40]);
        client.is_closed().await;
        assert_eq!(world.asked(), []);
    }
    let world = World::new();
    let mut client = world
        .client_with(format!("GET http://a.example/ HTTP/1.1\r\n{many}\r\n"))
        .await;
    assert_eq!(client.answer().await.status, 431, "too many fields");
}

#[tokio::test]
async fn a_head_of_the_largest_size_passes() {
    let world = World::start(Settings {
        max_head_bytes: 1024,
        ..Settings::default()
    });
    let frame = "CONNECT a.example:443 HTTP/1.1\r\nX: \r\n\r\n".len();
    for (length, status) in [(1024, 200), (1025, 431)] {
        let pad = "x".repeat(length - frame);
        let mut client = world
            .client_with(format!("CONNECT a.example:443 HTTP/1.1\r\nX: {pad}\r\n\r\n"))
            .await;
        assert_eq!(client.answer().await.status, status, "{length} bytes");
    }
}

#[tokio::test]
async fn a_client_that_still_sends_sees_its_refusal() {
    let world = World::start(Settings {
        max_head_bytes: 1024,
        ..Settings::default()
    });
    let mut client = world.client_with("G".repeat(300_000)).await;
    assert_eq!(
        client.answer().await.status,
        431,
        "the answer is not lost in a reset"
    );
}

#[tokio::test]
async fn a_head_may_come_in_any_pieces_and_behind_empty_lines() {
    let world = World::new();
    let bytes = b"\r\n\r\nCONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut client = world.client().await;
    for byte in bytes {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(world.asked()[0].target, "a.example:443");
}

#[tokio::test]
async fn other_protocols_are_closed_without_a_word() {
    for first in [&[0x16, 3, 1, 2, 0][..], &[4, 1, 0, 80], &[0], &[0xff, 0xfe]] {
        let world = World::new();
        let mut client = world.client_with(first).await;
        client.is_closed().await;
        assert_eq!(world.turned_away(), [Rejection::UnknownProtocol], "{first:?}");
    }
}
