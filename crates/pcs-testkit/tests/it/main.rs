//! The test peers do what they say: otherwise every test that trusts them is worth nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the client of a test dials by itself, and a failed step ends the test"
)]

#[cfg(unix)]
mod real;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pcs_testkit::{
    Behaviour, Digest, Origin, OriginKind, Pattern, Proxy, TestCa, refusing_address, until, within,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

async fn dial(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Writes `request` and reads until the end or until `wanted` was seen.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str, wanted: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(wanted) {
        match stream.read_buf(&mut answer).await {
            Ok(read) if read > 0 => {}
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn plain_requests_leave_from_the_exit_address_with_credentials_only() {
    let origin = Origin::start(OriginKind::Http).await;
    let proxy = Proxy::http()
        .basic("user", "pass")
        .exit("127.0.0.9")
        .start()
        .await;
    let mut client = dial(proxy.address()).await;
    let request = |login: &str| format!("GET {} HTTP/1.1\r\nHost: x\r\n{login}\r\n", origin.url("/ip"));
    let refused = ask(&mut client, &request(""), "answers 407\n").await;
    assert!(refused.contains("Proxy-Authenticate: Basic"), "{refused}");
    assert_eq!(origin.accepted(), 0);
    let login = "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n";
    for _ in 0..2 {
        let answer = ask(&mut client, &request(login), "127.0.0.9\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    assert_eq!(
        (proxy.accepted(), origin.accepted()),
        (1, 1),
        "both sides are kept alive"
    );
    assert_eq!(proxy.heads().len(), 3);
    assert!(
        origin
            .heads()
            .iter()
            .all(|head| head.field("proxy-authorization").is_none())
    );
}

#[tokio::test]
async fn a_tunnel_through_tls_ends_at_a_name_that_only_the_proxy_knows() {
    let ca = TestCa::new();
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::https(&ca.issue(&["proxy.test"]))
        .resolve("target.test", "127.0.0.1")
        .start()
        .await;
    let connector = tokio_rustls::TlsConnector::from(ca.client());
    let name = "proxy.test".try_into().unwrap();
    let mut client = connector
        .connect(name, dial(proxy.address()).await)
        .await
        .unwrap();
    let request = format!("CONNECT target.test:{} HTTP/1.1\r\n\r\n", origin.port());
    let answer = ask(&mut client, &request, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(ask(&mut client, "ping", "ping").await, "ping");
    assert_eq!(proxy.targets(), [format!("target.test:{}", origin.port())]);
}

#[tokio::test]
async fn socks5_asks_for_the_password_and_connects() {
    let origin = Origin::start(OriginKind::SpeaksFirst(b"220 hi\r\n".to_vec())).await;
    let proxy = Proxy::socks5().basic("u", "p").start().await;
    let mut client = dial(proxy.address()).await;
    client
        .write_all(&[5, 1, 2, 1, 1, b'u', 1, b'p', 5, 1, 0, 1, 127, 0, 0, 1])
        .await
        .unwrap();
    client.write_all(&origin.port().to_be_bytes()).await.unwrap();
    let mut answer = [0; 22];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(
        answer,
        *b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00220 hi\r\n"
    );
}

#[tokio::test]
async fn socks4a_connects_by_name() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::socks4().resolve("target.test", "127.0.0.1").start().await;
    let mut client = dial(proxy.address()).await;
    let mut request = vec![4, 1];
    request.extend(origin.port().to_be_bytes());
    request.extend(b"\x00\x00\x00\x01me\0target.test\0ping");
    client.write_all(&request).await.unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, *b"\x00\x5a\0\0\0\0\0\0ping");
}

#[tokio::test]
async fn every_way_to_go_wrong_shows() {
    let origin = Origin::start(OriginKind::Http).await;
    let proxy = Proxy::http().start().await;
    let request = format!("CONNECT {} HTTP/1.1\r\n\r\n", origin.address());
    let cases = [
        (Behaviour::Status(503), "HTTP/1.1 503"),
        (
            Behaviour::StatusFor {
                target: origin.address().to_string(),
                status: 403,
            },
            "HTTP/1.1 403",
        ),
        (
            Behaviour::StatusFor {
                target: "elsewhere".to_owned(),
                status: 403,
            },
            "HTTP/1.1 200",
        ),
        (Behaviour::Dribble(Duration::from_millis(1)), "HTTP/1.1 200"),
        (Behaviour::Slow(Duration::from_millis(1)), "HTTP/1.1 200"),
        (
            Behaviour::Surplus(b"early".to_vec()),
            "HTTP/1.1 200 Connection established\r\n\r\nearly",
        ),
        (
            Behaviour::AnswerWith(b"HTTP/1.1 299 Odd\r\n\r\n".to_vec()),
            "HTTP/1.1 299 Odd",
        ),
        (Behaviour::Garbage, "\0\u{fffd}\u{13} 220"),
        (Behaviour::CloseAtAccept, ""),
        (Behaviour::CloseAtRequest, ""),
        (Behaviour::ResetAtAccept, ""),
        (Behaviour::ResetAtRequest, ""),
    ];
    for (behaviour, wanted) in cases {
        proxy.behave(behaviour.clone());
        let mut client = dial(proxy.address()).await;
        // A peer that is gone already may refuse the bytes; what counts is the answer.
        let _ = client.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        while String::from_utf8_lossy(&answer).len() < wanted.len().max(1) {
            match client.read_buf(&mut answer).await {
                Ok(read) if read > 0 => {}
                _ => break,
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(wanted) && wanted.is_empty() == answer.is_empty(),
            "{behaviour:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_proxy_that_was_killed_comes_back_on_its_port() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().start().await;
    let mut client = dial(proxy.address()).await;
    let request = format!("CONNECT {} HTTP/1.1\r\n\r\n", origin.address());
    ask(&mut client, &request, "\r\n\r\n").await;
    proxy.kill();
    assert_eq!(ask(&mut client, "", "x").await, "");
    until("cut", || proxy.active() == 0).await;
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    proxy.behave(Behaviour::Good);
    let listening = async {
        loop {
            if let Ok(client) = TcpStream::connect(proxy.address()).await {
                return client;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut client = within("listening again", listening).await;
    assert!(
        ask(&mut client, &request, "\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn an_address_that_refuses_refuses() {
    let (address, _kept) = refusing_address();
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn an_exchange_moves_both_ways_at_once() {
    const LENGTH: u64 = 3 << 20;
    let origin = Origin::start(OriginKind::Exchange(LENGTH)).await;
    let (mut reader, mut writer) = dial(origin.address()).await.into_split();
    let sent = async move {
        writer.write_all(&Pattern::new(5).take(3 << 20)).await.unwrap();
        writer
    };
    let read = async move {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let (_writer, bytes) = tokio::join!(sent, read);
    let (body, told) = bytes.split_at(3 << 20);
    assert_eq!(Digest::of(body), Pattern::digest(2, LENGTH));
    assert_eq!(
        String::from_utf8_lossy(told),
        format!("{}\n", Pattern::digest(5, LENGTH))
    );
}
