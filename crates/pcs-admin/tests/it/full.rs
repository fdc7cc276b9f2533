//! Clients that take all the room, and connections that live on after a refusal.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Server;

/// A connection on which this was sent.
async fn open(server: &Server, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads one answer with a `Content-Length`: its head in lower case.
async fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    head
}

#[tokio::test]
async fn who_listens_and_who_never_ends_a_head_locks_nobody_out() {
    let server = Server::start(None);
    let listen = format!("GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = open(&server, &listen).await;
        assert!(answer(&mut stream).await.starts_with("http/1.1 200"));
        held.push(stream);
    }
    let mut one_more = open(&server, &listen).await;
    let refused = answer(&mut one_more).await;
    assert!(
        refused.starts_with("http/1.1 503") && refused.contains("retry-after"),
        "{refused}"
    );
    for _ in 0..300 {
        held.push(open(&server, "GET / HTTP/1.1\r\nHost").await);
    }
    for _ in 0..20 {
        assert_eq!(server.send("GET /api/v1/health", "", "").await.0, 200);
    }
    // Those that listen were not cut.
    server.feed.tell(pcs_admin::Event::Reload {
        added: Vec::new(),
        removed: Vec::new(),
        changed: Vec::new(),
    });
    assert!(held[0].read_u8().await.is_ok());
}

#[tokio::test]
async fn a_connection_lives_on_after_a_refusal_or_is_told_to_end() {
    let server = Server::start(None);
    for (field, body, status, closes) in [
        ("Content-Type: text/plain", 2, 415, false),
        ("Content-Type: text/plain", 50_000, 415, false),
        ("Origin: http://evil.example", 50_000, 403, false),
        ("Content-Type: text/plain", 500_000, 415, true),
        ("Content-Type: application/json", 1_100_000, 413, true),
    ] {
        let head = format!(
            "POST /api/v1/proxies HTTP/1.1\r\nHost: {}\r\n{field}\r\nContent-Length: {body}\r\n\r\n",
            server.address
        );
        let mut stream = open(&server, &head).await;
        let (mut reading, mut writing) = stream.split();
        let mut first = vec![0; 1 << 16];
        let (read, _) = tokio::join!(reading.read(&mut first), async {
            // It may be cut short.
            let _ = writing.write_all(&vec![b'x'; body]).await;
        });
        let text = String::from_utf8_lossy(&first[..read.unwrap()]).to_lowercase();
        assert!(text.starts_with(&format!("http/1.1 {status}")), "{text}");
        assert_eq!(text.contains("connection: close"), closes, "{status} {body}");
        if !closes {
            let next = format!("GET /api/v1/health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
            stream.write_all(next.as_bytes()).await.unwrap();
            assert!(
                answer(&mut stream).await.starts_with("http/1.1 200"),
                "{status} {body}"
            );
        }
    }
}
