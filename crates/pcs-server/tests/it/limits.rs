//! Limits on clients.

use std::num::NonZeroU32;

use pcs_server::{RateLimit, Rejection, Settings};

use crate::world::World;

const CONNECT: &str = "CONNECT a.example:443 HTTP/1.1\r\n\r\n";

#[tokio::test]
async fn clients_over_the_limit_are_told_503_and_the_others_are_not_touched() {
    let mut world = World::start(Settings {
        max_connections: 1,
        ..Settings::default()
    });
    let mut first = world.client_with(CONNECT).await;
    first.head().await;
    let mut up = world.upstream().await;
    let mut second = world.client_with(CONNECT).await;
    let answer = second.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some());
    assert_eq!(
        answer.field("proxy-status"),
        Some("pcs; error=connection_limit_reached")
    );
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.json()["status"], 503);
    assert!(answer.json()["request_id"].is_string(), "{}", answer.json());
    second.is_closed().await;
    let mut third = world.client_with([5, 1, 0]).await;
    assert_eq!(third.rest().await, [5, 0xff]);
    first.send("still here").await;
    assert_eq!(up.until("still here").await, "still here");
    assert_eq!(world.turned_away(), [Rejection::MaxConnections; 2]);
    drop((first, up));
    world.record().await;
    while world.open_connections() > 0 {
        tokio::task::yield_now().await;
    }
    let mut fourth = world.client_with(CONNECT).await;
    assert_eq!(fourth.answer().await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_rate_is_429_until_its_time_comes() {
    let limit = RateLimit {
        requests_per_second: 0.5,
        burst: NonZeroU32::new(2).unwrap(),
    };
    let world = World::start(Settings {
        rate_limit: Some(limit),
        ..Settings::default()
    });
    let get = "GET http://a.example/ HTTP/1.1\r\n\r\n";
    let mut tunnels = [world.client_with(CONNECT).await, world.client_with(CONNECT).await];
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.answer().await.status, 200);
    }
    for request in [CONNECT, get] {
        let mut client = world.client_with(request).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("retry-after")), (429, Some("2")));
        client.send("GET /health HTTP/1.1\r\n\r\n").await;
        assert_eq!(
            client.answer().await.status,
            200,
            "the connection stays, and /health is not counted"
        );
    }
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(world.client_with(CONNECT).await.answer().await.status, 200);
}

#[tokio::test]
async fn clients_from_elsewhere_are_closed_before_a_byte() {
    let elsewhere = Settings {
        allow_from: vec!["192.0.2.0/24".parse().unwrap()],
        ..Settings::default()
    };
    let world = World::start(elsewhere);
    let mut client = world.client().await;
    client.is_closed().await;
    assert_eq!(world.turned_away(), [Rejection::NotAllowed]);
    world.shared.reload(Settings {
        allow_from: vec!["127.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    });
    assert_eq!(world.client_with(CONNECT).await.answer().await.status, 200);
}

#[tokio::test]
async fn a_reload_changes_what_the_next_request_meets() {
    let world = World::new();
    let mut client = world.client_with("GET /health HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    world.shared.reload(Settings {
        max_head_bytes: 20,
        ..Settings::default()
    });
    client.send("GET /health HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 431);
}
