//! Plain HTTP in absolute form.

use pcs_models::{FailureKind, Secret};
use pcs_server::{Counted, RequestKind};
use pcs_tunnel::{Form, Purpose};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Gift, Told, World};

const GET: &str = "GET http://a.example/x?q=1 HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[tokio::test]
async fn a_request_is_rewritten_for_the_form_of_its_way() {
    let secret = Secret::new("Basic dTpw".into());
    let cases = [
        (Form::Origin, "/x?q=1", ""),
        (
            Form::Absolute { authorization: None },
            "http://A.example:8080/x?q=1",
            "",
        ),
        (
            Form::Absolute {
                authorization: Some(secret),
            },
            "http://A.example:8080/x?q=1",
            "Proxy-Authorization: Basic dTpw\r\n",
        ),
    ];
    for (form, target, authorization) in cases {
        let mut world = World::new();
        world.will_give(Gift {
            form,
            ..Gift::default()
        });
        let request =
            "GET http://A.example:8080/x?q=1 HTTP/1.1\r\nHost: other.example\r\nAccept: */*\r\n\r\n";
        let _client = world.client_with(request).await;
        let head = world.upstream().await.head().await;
        let expected =
            format!("GET {target} HTTP/1.1\r\n{authorization}Host: A.example:8080\r\nAccept: */*\r\n\r\n");
        assert_eq!(head, expected);
        assert_eq!(world.asked()[0].target, "a.example:8080");
        assert_eq!(world.asked()[0].purpose, Purpose::Forward);
    }
}

#[tokio::test]
async fn an_empty_path_is_written_as_each_form_wants_it() {
    let cases = [
        ("GET http://a.example", Form::Origin, "GET / HTTP/1.1"),
        ("GET http://a.example?q", Form::Origin, "GET /?q HTTP/1.1"),
        ("OPTIONS http://a.example", Form::Origin, "OPTIONS * HTTP/1.1"),
        (
            "OPTIONS http://a.example",
            Form::Absolute { authorization: None },
            "OPTIONS http://a.example HTTP/1.1",
        ),
    ];
    for (request, form, expected) in cases {
        let mut world = World::new();
        world.will_give(Gift {
            form,
            ..Gift::default()
        });
        let _client = world.client_with(format!("{request} HTTP/1.1\r\n\r\n")).await;
        let head = world.upstream().await.head().await;
        assert_eq!(head.lines().next(), Some(expected), "{request}");
    }
}

#[tokio::test]
async fn fields_of_one_hop_do_not_go_on_in_either_direction() {
    let mut world = World::new();
    let request = "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, X-Mine, TE\r\n\
                   Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers, gzip\r\n\
                   Proxy-Authorization: Basic dTpw\r\nX-Proxy-Pool: default\r\nx-proxy-anything: 1\r\nX-Mine: 1\r\n\
                   Upgrade: h2c\r\nX-Forwarded-For: theirs\r\nCookie: kept\r\nX-Proxys: kept\r\n\r\n";
    let mut client = world.client_with(request).await;
    let mut up = world.upstream().await;
    assert_eq!(
        up.head().await,
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: theirs\r\nCookie: kept\r\n\
         X-Proxys: kept\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
    );
    up.send(
        "HTTP/1.1 200 Fine\r\nConnection: X-Theirs\r\nX-Theirs: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Authenticate: Basic\r\nX-Proxy-Exit: kept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nhi",
    )
    .await;
    let answer = client.answer().await;
    assert_eq!(
        answer.head,
        "HTTP/1.1 200 Fine\r\nX-Proxy-Exit: kept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\n"
    );
    assert_eq!(answer.body, "hi");
}

#[tokio::test]
async fn a_status_of_no_class_passes() {
    let mut world = World::new();
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 999 Request denied\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (999, "no"));
    assert!(
        answer.head.starts_with("HTTP/1.1 999 Request denied\r\n"),
        "{}",
        answer.head
    );
}

#[tokio::test]
async fn max_forwards_is_counted_down_and_0_ends_here() {
    let ask = |method: &str, left: &str| {
        format!("{method} http://a.example/x HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: {left}\r\n\r\n")
    };
    for (method, left, sent) in [
        ("OPTIONS", "5", "4"),
        ("TRACE", "1", "0"),
        ("OPTIONS", "99999999999999", "4294967294"),
        ("OPTIONS", "many", "many"),
        ("GET", "0", "0"),
    ] {
        let mut world = World::new();
        let _client = world.client_with(ask(method, left)).await;
        let head = world.upstream().await.head().await;
        assert!(
            head.contains(&format!("\r\nMax-Forwards: {sent}\r\n")),
            "{method} {left}: {head}"
        );
    }
    let mut world = World::new();
    let mut client = world.client_with(ask("OPTIONS", "0")).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, ""),
        "{}",
        answer.head
    );
    assert_eq!(answer.field("proxy-status"), Some("pcs"));
    assert_eq!(world.record().await.target.as_deref(), Some("http://a.example/x"));
    client.send(ask("TRACE", "0")).await;
    assert_eq!(client.answer().await.status, 501);
    assert!(world.asked().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn both_sides_are_kept_and_each_request_gets_a_way_of_its_own() {
    let mut world = World::new();
    let mut client = world.client().await;
    for round in 0..3 {
        client.send(GET).await;
        let mut up = world.upstream().await;
        up.head().await;
        up.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{round}"))
            .await;
        assert_eq!(client.answer().await.body, round.to_string());
        assert_eq!(up.told_all().await, [Told::Response(200, true), Told::Parked]);
        let record = world.record().await;
        assert_eq!(
            (record.kind, record.status, record.counted),
            (RequestKind::Forward, 200, Counted::Success)
        );
    }
    assert_eq!(world.asked().len(), 3);
    assert_eq!(world.open_connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut world = World::new();
    let post = "POST http://a.example/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
    let mut client = world.client_with(format!("{GET}{post}{GET}")).await;
    for (expected, answer) in [("GET", "one"), ("POST", "two"), ("GET", "three")] {
        let mut up = world.upstream().await;
        assert!(up.head().await.starts_with(expected));
        if expected == "POST" {
            assert_eq!(up.until("body").await, "body");
        }
        up.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        ))
        .await;
        assert_eq!(client.answer().await.body, answer);
    }
}

#[tokio::test]
async fn what_cannot_be_followed_by_another_response_is_not_parked() {
    let cases = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK",
    ];
    for response in cases {
        let mut world = World::new();
        let mut client = world.client_with(GET).await;
        let mut up = world.upstream().await;
        up.head().await;
        up.send(response).await;
        assert_eq!(client.answer().await.body, "x");
        assert_eq!(up.told_all().await.last(), Some(&Told::Dropped), "{response}");
        client.send(GET).await;
        world.upstream().await.head().await;
    }
}

#[tokio::test]
async fn bodies_in_chunks_go_through_with_their_trailers() {
    let mut world = World::new();
    let request = "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n\
                   3;ext=1\r\nabc\r\n0\r\nX-Sum: 9\r\nContent-Length: 3\r\nX-Proxy-Pool: a\r\n\r\n";
    let mut client = world.client_with(format!("{request}{GET}")).await;
    let mut up = world.upstream().await;
    let head = up.head().await;
    assert!(
        head.contains("Transfer-Encoding: chunked\r\n") && head.contains("Trailer: X-Sum\r\n"),
        "{head}"
    );
    assert_eq!(up.until("\r\n\r\n").await, "3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n");
    up.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await;
    assert_eq!(
        client.head().await,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    assert_eq!(client.take(7).await, b"2\r\nhi\r\n");
    up.send("0\r\nX-T: 1\r\n\r\n").await;
    assert_eq!(client.take(13).await, b"0\r\nX-T: 1\r\n\r\n");
    assert_eq!(up.told_all().await.last(), Some(&Told::Parked));
    world.upstream().await.head().await;
}

#[tokio::test]
async fn a_broken_chunk_of_the_client_is_400_and_ends_the_upstream() {
    let mut world = World::new();
    let request = "POST http://a.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    let mut client = world.client_with(request).await;
    let mut up = world.upstream().await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
    assert_eq!(up.told_all().await, [Told::Dropped], "the proxy is not blamed");
}

#[tokio::test]
async fn old_clients_get_chunks_unwrapped_and_their_kind_of_keep_alive() {
    let mut world = World::new();
    let mut client = world.client_with("GET http://a.example/ HTTP/1.0\r\n\r\n").await;
    let mut up = world.upstream().await;
    assert!(up.head().await.starts_with("GET http://a.example/ HTTP/1.1\r\n"));
    up.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    up.send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n").await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(all, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world");

    let mut client = world
        .client_with("GET http://a.example/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await;
    assert_eq!(client.answer().await.field("connection"), Some("keep-alive"));
    client.send(GET).await;
    world.upstream().await.head().await;
}

#[tokio::test]
async fn answers_without_a_body_have_none_whatever_they_say() {
    let cases = [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            Some("1000"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n",
            Some("1000"),
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            None,
        ),
    ];
    for (method, response, length) in cases {
        let mut world = World::new();
        let mut client = world
            .client_with(format!("{method} http://a.example/ HTTP/1.1\r\n\r\n"))
            .await;
        let mut up = world.upstream().await;
        up.head().await;
        up.send(response).await;
        let head = client.head().await;
        let expected = length.map(|length| format!("Content-Length: {length}\r\n"));
        assert_eq!(expected.is_some(), head.contains("Content-Length"), "{head}");
        assert!(expected.is_none_or(|line| head.contains(&line)), "{head}");
        assert_eq!(up.told_all().await.last(), Some(&Told::Parked), "{response}");
        client.send("GET /health HTTP/1.1\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_ends_ours() {
    let mut world = World::new();
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 200 OK\r\n\r\nall there is").await;
    drop(up.io);
    let all = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(all, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall there is");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_for_whole() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfxx",
    ] {
        let mut world = World::new();
        let mut client = world.client_with(GET).await;
        let mut up = world.upstream().await;
        up.head().await;
        up.send(response).await;
        drop(up.io);
        client.head().await;
        let rest = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{response}");
        let record = world.record().await;
        assert_eq!(
            (record.status, record.error.as_deref()),
            (200, Some("reset")),
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_from_the_target() {
    let mut world = World::new();
    let request = "PUT http://a.example/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut client = world.client_with(request).await;
    let mut up = world.upstream().await;
    assert!(up.head().await.contains("Expect: 100-continue\r\n"));
    up.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(up.until("body").await, "body");
    up.send(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!(
        client.head().await,
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    );
    assert_eq!(client.answer().await.status, 201);
    assert_eq!(up.told_all().await.last(), Some(&Told::Parked));
}

#[tokio::test]
async fn an_early_answer_passes_while_the_body_is_still_sent() {
    let mut world = World::new();
    let mut client = world
        .client_with("POST http://a.example/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    let mut up = world.upstream().await;
    up.head().await;
    up.until("half").await;
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfir").await;
    let head = client.head().await;
    assert!(head.contains("Connection: close\r\n"), "{head}");
    assert_eq!(client.take(3).await, b"fir");
    client.send("second").await;
    assert_eq!(
        up.until("second").await,
        "second",
        "the request goes on beside its answer"
    );
    up.send("sts").await;
    assert_eq!(client.rest().await, b"sts");
}

#[tokio::test]
async fn a_refusal_passes_although_the_upstream_takes_no_more() {
    let mut world = World::new();
    let request = format!(
        "POST http://a.example/ HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        10 << 20
    );
    let mut client = world.client_with(request).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
        .await;
    drop(up.io);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "no!"));
    assert_eq!(answer.field("connection"), Some("close"));
}

#[tokio::test]
async fn large_bodies_stream_both_ways_at_once() {
    const SIZE: usize = 3 << 20;
    let mut world = World::new();
    let request = format!("POST http://a.example/ HTTP/1.1\r\nContent-Length: {SIZE}\r\n\r\n");
    let client = world.client_with(request).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
        .await;
    let body: Vec<u8> = (0..SIZE).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (mut client_read, mut client_write) = client.io.into_split();
    let (mut up_read, mut up_write) = tokio::io::split(up.io);
    let (mut got_up, mut got_down) = (vec![0; SIZE], Vec::new());
    let (a, b, c, d) = tokio::join!(
        client_write.write_all(&body),
        up_write.write_all(&body),
        up_read.read_exact(&mut got_up),
        client_read.read_to_end(&mut got_down),
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    d.unwrap();
    assert!(got_up == body, "what the client sent arrives");
    assert!(got_down.ends_with(&body), "what the target sent arrives");
    let record = world.record().await;
    assert!(record.up > SIZE as u64 && record.down > SIZE as u64, "{record:?}");
}

#[tokio::test]
async fn an_upgrade_is_a_tunnel_with_a_conversation_before() {
    let mut world = World::new();
    world.will_give(Gift::origin());
    let request = "GET http://a.example/chat HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: k\r\n\r\n";
    let mut client = world.client_with(request).await;
    let mut up = world.upstream().await;
    assert_eq!(
        up.head().await,
        "GET /chat HTTP/1.1\r\nHost: a.example\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(world.asked()[0].purpose, Purpose::Tunnel);
    up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: 1\r\n\r\n\x01first").await;
    assert_eq!(
        client.head().await,
        "HTTP/1.1 101 Switching Protocols\r\nX: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(client.take(6).await, b"\x01first");
    client.send("frame").await;
    assert_eq!(up.until("frame").await, "frame");
    drop((client, up));
    let record = world.record().await;
    assert_eq!((record.status, record.method.as_str()), (101, "GET"));
}

#[tokio::test]
async fn an_upgrade_that_is_declined_is_an_ordinary_answer() {
    let mut world = World::new();
    world.will_give(Gift::origin());
    let request = "GET http://a.example/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut client = world.client_with(request).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(client.answer().await.body, "no");
}

#[tokio::test]
async fn an_upstream_authenticated_as_the_client_stays_with_it() {
    let mut world = World::new();
    let ask = |token: &str| format!("GET http://a.example/ HTTP/1.1\r\nAuthorization: {token}\r\n\r\n");
    let mut client = world.client_with(ask("NTLM one")).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM two\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.field("www-authenticate"), Some("NTLM two"));
    client.send(ask("NTLM three")).await;
    assert!(
        up.head().await.contains("NTLM three"),
        "the next leg takes the same connection"
    );
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;

    client.send("GET http://b.example/ HTTP/1.1\r\n\r\n").await;
    let mut other = world.upstream().await;
    other.head().await;
    other.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;
    assert_eq!(
        other.told_all().await.last(),
        Some(&Told::Parked),
        "another target takes another connection"
    );

    client.send("GET http://a.example/ HTTP/1.1\r\n\r\n").await;
    assert!(
        up.head().await.starts_with("GET "),
        "what is authenticated stays so without being said again"
    );
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;
    drop(client);
    assert_eq!(
        up.told_all().await.last(),
        Some(&Told::Dropped),
        "it ends with its client and is never shared"
    );
    assert_eq!(world.asked().len(), 2);
}

#[tokio::test]
async fn a_client_that_goes_away_is_nobodys_failure() {
    let mut world = World::new();
    let client = world
        .client_with("POST http://a.example/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    let mut up = world.upstream().await;
    up.head().await;
    drop(client);
    assert_eq!(up.told_all().await, [Told::Dropped]);
    let record = world.record().await;
    assert_eq!(
        (record.status, record.error.as_deref()),
        (499, Some("client_gone"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_has_the_idle_time_and_the_answer_its_own_budget() {
    let mut world = World::new();
    let started = tokio::time::Instant::now();
    let mut client = world
        .client_with("POST http://a.example/ HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    let mut up = world.upstream().await;
    up.head().await;
    let answer = client.answer().await;
    let waited = started.elapsed().as_secs();
    assert_eq!(answer.status, 408);
    assert!((300..345).contains(&waited), "{waited} s of idle time");
    assert_eq!(up.told_all().await, [Told::Dropped]);
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_an_answer_begins_with_the_last_byte_of_its_request() {
    let mut world = World::new();
    let mut client = world
        .client_with("POST http://a.example/ HTTP/1.1\r\nContent-Length: 8\r\n\r\nhalf")
        .await;
    let mut up = world.upstream().await;
    up.head().await;
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    client.send("half").await;
    up.until("halfhalf").await;
    let since = tokio::time::Instant::now();
    assert_eq!(client.answer().await.status, 504);
    assert_eq!(since.elapsed().as_secs(), 30);
    assert_eq!(up.told().await, Told::Failed(FailureKind::Timeout, "p1".into()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_ends_the_connection() {
    let mut world = World::new();
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    client.head().await;
    assert_eq!(client.rest().await, b"half");
    assert_eq!(world.record().await.error.as_deref(), Some("idle"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_kept_connection_ends_without_a_word() {
    let mut world = World::new();
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    client.answer().await;
    client.is_closed().await;
}

#[tokio::test]
async fn endless_interim_answers_are_garbage() {
    let mut world = World::new();
    let mut client = world.client_with("GET http://a.example/ HTTP/1.0\r\n\r\n").await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send("HTTP/1.1 100 Continue\r\n\r\n".repeat(40)).await;
    assert_eq!(client.answer().await.status, 502);
    assert_eq!(up.told().await, Told::Failed(FailureKind::Protocol, "p1".into()));
}
