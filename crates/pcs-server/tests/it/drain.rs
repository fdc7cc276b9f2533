//! The end: listeners close, the rest gets its time, then nothing lives.

use std::time::Duration;

use pcs_server::Drained;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::world::{Step, World};

const CONNECT: &str = "CONNECT a.example:443 HTTP/1.1\r\n\r\n";
const GET: &str = "GET http://a.example/ HTTP/1.1\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn idle_connections_end_at_once_and_busy_ones_when_they_are_done() {
    let mut world = World::new();
    let mut idle = world.client_with("GET /health HTTP/1.1\r\n\r\n").await;
    idle.answer().await;
    let mut busy = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    world
        .shutdown
        .drain(Some(Instant::now() + Duration::from_secs(30)));
    idle.is_closed().await;
    assert!(
        TcpStream::connect(world.address).await.is_err(),
        "nobody listens any more"
    );
    up.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await;
    let answer = busy.answer().await;
    assert_eq!(
        (answer.body.as_str(), answer.field("connection")),
        ("x", Some("close"))
    );
    busy.is_closed().await;
    assert_eq!(world.drained().await, Drained { cut: 0 });
    assert_eq!(world.open_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_the_deadline_nothing_lives_and_everything_is_told() {
    let mut world = World::new();
    let mut tunnel = world.client_with(CONNECT).await;
    tunnel.head().await;
    let mut up = world.upstream().await;
    tunnel.send("bytes").await;
    up.until("bytes").await;
    world.will(Step::Hang);
    let dialling = world.client_with(CONNECT).await;
    while world.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    world
        .shutdown
        .drain(Some(Instant::now() + Duration::from_secs(5)));
    assert_eq!(world.drained().await, Drained { cut: 2 });
    assert_eq!(world.open_connections(), 0);
    tunnel.is_closed().await;
    let mut records = [world.record().await, world.record().await];
    records.sort_by_key(|record| record.status);
    assert_eq!(
        (records[0].status, records[0].up, records[0].error.as_deref()),
        (200, 5, Some("drained"))
    );
    assert_eq!(
        (records[1].status, records[1].error.as_deref()),
        (499, Some("cut"))
    );
    drop(dialling);
}

#[tokio::test]
async fn whoever_waits_at_a_listener_that_moves_away_is_served() {
    let world = World::new();
    // Accepted by the kernel; the worker has had no turn since.
    let connect = |_| std::net::TcpStream::connect(world.address).unwrap();
    let waiting: Vec<_> = (0..20).map(connect).collect();
    world.shutdown.drain(None);
    for client in waiting {
        client.set_nonblocking(true).unwrap();
        let mut client = TcpStream::from_std(client).unwrap();
        client.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
        let mut said = [0; 12];
        client.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 200");
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_moved_away_leaves_its_connections_alone() {
    let mut world = World::new();
    let mut client = world.client_with("GET /health HTTP/1.1\r\n\r\n").await;
    client.answer().await;
    world.shutdown.drain(None);
    while TcpStream::connect(world.address).await.is_ok() {}
    client.send("GET /health HTTP/1.1\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, None));
    world.shutdown.close();
    assert_eq!(world.drained().await, Drained { cut: 1 });
}
