//! Asking again: what is sent twice, what is not, and which answer passes in the end.

use std::time::Duration;

use pcs_models::FailureKind;
use pcs_tunnel::Verdict;

use crate::world::{Gift, Told, World, failure};

const GET: &str = "GET http://a.example/ HTTP/1.1\r\n\r\n";
const POST: &str = "POST http://a.example/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
const PUT: &str = "PUT http://a.example/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
const EMPTY_POST: &str = "POST http://a.example/ HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 503 Busy\r\nX-From: first\r\nContent-Length: 4\r\n\r\nbusy";
const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

#[tokio::test]
async fn a_bad_status_is_thrown_away_where_another_try_does_better() {
    let mut world = World::new();
    world
        .will_give(Gift::through("p1", Verdict::Retry))
        .will_give(Gift::through("p2", Verdict::Pass));
    let mut client = world.client_with(PUT).await;
    let mut first = world.upstream().await;
    assert_eq!(first.until("body").await.matches("body").count(), 1);
    first.send(BAD).await;
    let mut second = world.upstream().await;
    assert!(
        second.until("body").await.ends_with("\r\n\r\nbody"),
        "the whole body is sent again"
    );
    second.send(GOOD).await;
    assert_eq!(client.answer().await.body, "good");
    assert_eq!(first.told_all().await, [Told::Response(503, true), Told::Dropped]);
    let record = world.record().await;
    assert_eq!(
        (record.attempts, record.proxy.as_str(), record.status),
        (2, "p2", 200)
    );
}

#[tokio::test]
async fn the_last_answer_passes_unchanged_when_no_other_try_can_be_had() {
    let mut world = World::new();
    world
        .will_give(Gift::through("p1", Verdict::Retry))
        .will(failure(FailureKind::Exhausted, None, None));
    let mut client = world.client_with(GET).await;
    let mut up = world.upstream().await;
    up.head().await;
    up.send(BAD).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
    assert_eq!(answer.field("x-from"), Some("first"));
    assert_eq!(world.record().await.proxy, "p1");
}

#[tokio::test]
async fn the_last_answer_passes_when_the_next_try_breaks() {
    let mut world = World::new();
    world
        .will_give(Gift::through("p1", Verdict::Retry))
        .will_give(Gift::through("p2", Verdict::Pass));
    let mut client = world.client_with(GET).await;
    let mut first = world.upstream().await;
    first.head().await;
    first.send(BAD).await;
    let mut second = world.upstream().await;
    second.head().await;
    drop(second.io);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
}

#[tokio::test]
async fn an_answer_to_what_must_not_be_repeated_passes() {
    for request in [POST, EMPTY_POST] {
        let mut world = World::new();
        world.will_give(Gift::through("p1", Verdict::Retry));
        let mut client = world.client_with(request).await;
        let mut up = world.upstream().await;
        up.head().await;
        up.send(BAD).await;
        assert_eq!(client.answer().await.status, 503);
        assert_eq!(up.told_all().await[0], Told::Response(503, false), "{request}");
        assert_eq!(world.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_kept_connection_that_went_stale_costs_an_idempotent_request_nothing() {
    for request in [GET, PUT] {
        let mut world = World::new();
        world.will_give(Gift {
            reused: true,
            verdict: Verdict::Retry,
            ..Gift::default()
        });
        let mut client = world.client_with(request).await;
        let mut stale = world.upstream().await;
        drop(stale.io);
        let mut fresh = world.upstream().await;
        fresh.head().await;
        fresh.send(GOOD).await;
        assert_eq!(client.answer().await.body, "good", "{request}");
        let told = stale.told.recv().await;
        assert_eq!(told, Some(Told::Failed(FailureKind::Reset, "p1".into())));
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_done_is_not_sent_again() {
    for request in [POST, EMPTY_POST] {
        let mut world = World::new();
        world.will_give(Gift {
            reused: true,
            verdict: Verdict::Retry,
            ..Gift::default()
        });
        let mut client = world.client_with(request).await;
        let mut up = world.upstream().await;
        up.head().await;
        if request == POST {
            up.until("body").await;
        }
        drop(up.io);
        assert_eq!(client.answer().await.status, 502, "{request}");
        assert!(!world.has_upstream(), "{request}");
    }
}

#[tokio::test]
async fn a_body_of_which_nothing_was_sent_may_be_sent_elsewhere() {
    let mut world = World::new();
    world.will_give(Gift {
        reused: true,
        verdict: Verdict::Retry,
        ..Gift::default()
    });
    let request = "POST http://a.example/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let mut client = world.client_with(request).await;
    let mut stale = world.upstream().await;
    stale.head().await;
    drop(stale.io);
    let mut fresh = world.upstream().await;
    fresh.head().await;
    fresh.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.head().await;
    client.send("body").await;
    fresh.until("body").await;
    fresh.send(GOOD).await;
    assert_eq!(client.answer().await.body, "good");
}

#[tokio::test]
async fn a_streamed_body_is_not_sent_twice_even_where_the_method_would_allow_it() {
    let mut world = World::new();
    world.will_give(Gift {
        verdict: Verdict::Retry,
        ..Gift::default()
    });
    let mut client = world
        .client_with("PUT http://a.example/ HTTP/1.1\r\nContent-Length: 8\r\n\r\nhalf")
        .await;
    let mut up = world.upstream().await;
    up.until("half").await;
    client.send("more").await;
    up.until("more").await;
    drop(up.io);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (502, Some("close")));
    assert!(!world.has_upstream());
}

#[tokio::test(start_paused = true)]
async fn a_silent_proxy_gives_way_in_time_for_another() {
    let mut world = World::new();
    let patience = Some(Duration::from_secs(15));
    world.will_give(Gift {
        verdict: Verdict::Retry,
        patience,
        ..Gift::default()
    });
    let started = tokio::time::Instant::now();
    let mut client = world.client_with(GET).await;
    let mut silent = world.upstream().await;
    let mut second = world.upstream().await;
    assert_eq!(started.elapsed().as_secs(), 15);
    second.head().await;
    second.send(GOOD).await;
    assert_eq!(client.answer().await.body, "good");
    assert_eq!(
        silent.told().await,
        Told::Failed(FailureKind::Timeout, "p1".into())
    );
}

#[tokio::test]
async fn a_hop_that_wants_credentials_is_tried_past() {
    let mut world = World::new();
    world
        .will_give(Gift::through("p1", Verdict::Retry))
        .will_give(Gift::through("p2", Verdict::Pass));
    let mut client = world.client_with(GET).await;
    let mut first = world.upstream().await;
    first.head().await;
    first.send("HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n").await;
    let mut second = world.upstream().await;
    second.head().await;
    second.send(GOOD).await;
    assert_eq!(client.answer().await.body, "good");
    assert_eq!(first.told().await, Told::Failed(FailureKind::Auth, "p1".into()));
}
