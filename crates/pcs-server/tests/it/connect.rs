//! CONNECT and the tunnel behind it.

use pcs_models::FailureKind;
use pcs_server::{Counted, RequestKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Gift, Told, World, failure, proxy};

const CONNECT: &str = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_is_told_once() {
    let mut world = World::new();
    let mut client = world.client_with(CONNECT).await;
    let head = client.head().await;
    assert_eq!(
        head,
        "HTTP/1.1 200 Connection Established\r\nProxy-Status: pcs; next-hop=\"p1\"\r\n\r\n"
    );
    let mut up = world.upstream().await;
    client.send("ping").await;
    assert_eq!(up.until("ping").await, "ping");
    up.send("pong!").await;
    assert_eq!(client.take(5).await, b"pong!");
    drop(client);
    assert_eq!(up.io.read(&mut [0; 8]).await.unwrap(), 0);
    drop(up);
    let record = world.record().await;
    assert_eq!(
        (record.kind, record.status, record.up, record.down),
        (RequestKind::Tunnel, 200, 4, 5)
    );
    assert_eq!(record.target.as_deref(), Some("example.com:443"));
    assert_eq!(
        (record.proxy.as_str(), record.attempts, record.error),
        ("p1", 1, None)
    );
    assert_eq!(record.counted, Counted::Success);
}

#[tokio::test]
async fn early_bytes_of_both_sides_are_delivered() {
    let mut world = World::new();
    world.will_give(Gift {
        early: b"220 ready\r\n",
        ..Gift::origin()
    });
    let mut client = world.client_with(format!("{CONNECT}EHLO me")).await;
    client.head().await;
    assert_eq!(client.take(11).await, b"220 ready\r\n");
    let mut up = world.upstream().await;
    assert_eq!(up.until("EHLO me").await, "EHLO me");
    drop((client, up));
    let record = world.record().await;
    assert_eq!((record.up, record.down), (7, 11));
}

#[tokio::test]
async fn what_a_living_tunnel_moved_is_told_meanwhile() {
    let mut world = World::new();
    let mut client = world.client_with(CONNECT).await;
    client.head().await;
    let mut up = world.upstream().await;
    let bulk = vec![b'x'; 300_000];
    let (sent, got) = tokio::join!(up.io.write_all(&bulk), client.take(bulk.len()));
    sent.unwrap();
    assert_eq!(got, bulk);
    client.send("y").await;
    up.until("y").await;
    let mut told = 0;
    while told < 300_000 - 64 * 1024 {
        match up.told.recv().await.unwrap() {
            Told::Moved(0, down) => told += down,
            other => panic!("{other:?}"),
        }
    }
    drop((client, up.io));
    let mut all = (0, told);
    while let Some(told) = up.told.recv().await {
        if let Told::Moved(up, down) = told {
            all = (all.0 + up, all.1 + down);
        }
    }
    assert_eq!(all, (1, 300_000));
    let record = world.record().await;
    assert_eq!((record.up, record.down), (1, 300_000));
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let mut world = World::new();
    let mut client = world.client_with(format!("{CONNECT}question")).await;
    client.io.shutdown().await.unwrap();
    let mut up = world.upstream().await;
    assert_eq!(up.until("question").await, "question");
    assert_eq!(
        up.io.read(&mut [0; 8]).await.unwrap(),
        0,
        "the end of the client is passed on"
    );
    up.send("answer").await;
    drop(up);
    client.head().await;
    assert_eq!(client.rest().await, b"answer");
}

#[tokio::test]
async fn a_failed_connect_leaves_the_connection_for_another_try() {
    let mut world = World::new();
    world.will(failure(FailureKind::Refused, Some("p1"), None));
    let mut client = world.client_with(CONNECT).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.field("connection"), None);
    client.send(CONNECT).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(world.record().await.counted, Counted::Error);
}

#[tokio::test]
async fn bytes_sent_ahead_of_a_failed_connect_are_no_request() {
    let world = World::new();
    world.will(failure(FailureKind::Refused, Some("p1"), None));
    let mut client = world
        .client_with(format!("{CONNECT}GET /health HTTP/1.1\r\n\r\n"))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.field("connection"), Some("close"));
    client.is_closed().await;
}

#[tokio::test]
async fn a_tunnel_that_is_hung_up_on_at_once_is_told_to_its_owner() {
    let mut world = World::new();
    let mut client = world.client_with(CONNECT).await;
    client.head().await;
    client.send("hello").await;
    let mut up = world.upstream().await;
    up.until("hello").await;
    up.io.shutdown().await.unwrap();
    client.is_closed().await;
    drop(client);
    assert_eq!(up.told().await, Told::Moved(0, 0));
    assert_eq!(up.told().await, Told::Failed(FailureKind::Reset, "target".into()));
    assert_eq!(world.record().await.error.as_deref(), Some("reset"));
}

#[tokio::test]
async fn the_way_is_named_without_a_proxy_too() {
    for (via, status, label) in [
        (pcs_tunnel::Via::Direct, "pcs", "_direct"),
        (
            pcs_tunnel::Via::Corporate,
            "pcs; next-hop=\"corporate\"",
            "_corporate",
        ),
        (proxy("a-1"), "pcs; next-hop=\"a-1\"", "a-1"),
    ] {
        let mut world = World::new();
        world.will_give(Gift {
            via,
            ..Gift::origin()
        });
        let mut client = world.client_with(CONNECT).await;
        assert_eq!(client.answer().await.field("proxy-status"), Some(status));
        drop((client, world.upstream().await));
        assert_eq!(world.record().await.proxy, label);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_ends() {
    let mut world = World::new();
    let mut client = world.client_with(CONNECT).await;
    client.head().await;
    let up = world.upstream().await;
    client.is_closed().await;
    drop(up);
    assert_eq!(world.record().await.error.as_deref(), Some("idle"));
}
