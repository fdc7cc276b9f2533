//! Plain HTTP: kept streams, answers that ask for another attempt.

use std::time::Duration;

use pcs_models::{Blame, FailureKind, Hop, Protocol, Retry};
use pcs_pool::{Circuit, MemberSpec, PoolSettings, Settings};
use pcs_tunnel::{ConnectRequest, Connected, DialError, Verdict};

use crate::world::{
    Manner, World, all_closed, circuit, connect, corporate, forward, id, many, name, session, settings,
    with_user,
};

fn one(spec: MemberSpec) -> Settings {
    Settings {
        pools: vec![PoolSettings::new(name("default"), vec![spec])],
        ..Settings::default()
    }
}

/// A good answer, and the stream is kept.
fn finish(mut connected: Connected) {
    assert_eq!(connected.outcome.response(200, true), Verdict::Pass);
    connected.outcome.park(connected.stream);
}

fn broken() -> DialError {
    DialError::new(
        FailureKind::Reset,
        Blame::Target,
        Retry::Other,
        "closed before an answer",
    )
}

#[tokio::test(start_paused = true)]
async fn a_kept_stream_serves_the_next_request() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    let first = connect(&pools, &mut forward("t:80")).await.unwrap();
    assert!(!first.reused);
    finish(first);
    assert_eq!(pools.totals().idle, 1);
    let second = connect(&pools, &mut forward("other:80")).await.unwrap();
    assert!(second.reused, "an absolute form reaches any target over it");
    assert_eq!(pools.totals().idle, 0);
    finish(second);
    assert_eq!(world.take_calls().len(), 1);
    let member = &pools.members()[0];
    assert_eq!(
        (
            member.traffic().requests(),
            member.traffic().succeeded(),
            member.traffic().active()
        ),
        (2, 2, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn kept_streams_are_not_shared_where_they_must_not_be() {
    let socks = {
        let mut spec = crate::world::member("a");
        spec.hop = Hop::new(Protocol::Socks5, spec.hop.endpoint);
        spec
    };
    let no_reuse = MemberSpec {
        reuse: false,
        ..crate::world::member("a")
    };
    let template = with_user("a", "u-{session}");
    let cases: [(&str, MemberSpec, ConnectRequest, ConnectRequest, bool); 7] = [
        (
            "same target through socks",
            socks.clone(),
            forward("t:80"),
            forward("t:80"),
            true,
        ),
        (
            "another target through socks",
            socks,
            forward("t:80"),
            forward("u:80"),
            false,
        ),
        ("reuse: false", no_reuse, forward("t:80"), forward("t:80"), false),
        (
            "a made-up session",
            template.clone(),
            forward("t:80"),
            forward("t:80"),
            false,
        ),
        (
            "the same session",
            template.clone(),
            session(forward("t:80"), "x"),
            session(forward("t:80"), "x"),
            true,
        ),
        (
            "two sessions",
            template,
            session(forward("t:80"), "x"),
            session(forward("t:80"), "y"),
            false,
        ),
        (
            "with and without a session",
            crate::world::member("a"),
            session(forward("t:80"), "x"),
            forward("t:80"),
            false,
        ),
    ];
    for (what, spec, mut first, mut second, reused) in cases {
        let world = World::new();
        let pools = world.pools(one(spec));
        finish(connect(&pools, &mut first).await.unwrap());
        assert_eq!(
            connect(&pools, &mut second).await.unwrap().reused,
            reused,
            "{what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn kept_streams_grow_old_are_bounded_and_go_with_their_member() {
    let world = World::new();
    let mut base = settings(&["a"]);
    base.tunnel.idle_connections = 3;
    let pools = world.pools(base);
    let open = |count: usize| {
        let pools = pools.clone();
        async move {
            let mut streams = Vec::new();
            for _ in 0..count {
                streams.push(connect(&pools, &mut forward("t:80")).await.unwrap());
            }
            streams.into_iter().for_each(finish);
        }
    };
    open(5).await;
    assert_eq!(pools.totals().idle, 3);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(
        !connect(&pools, &mut forward("t:80")).await.unwrap().reused,
        "too old"
    );
    open(2).await;
    let upkeep = tokio::time::timeout(Duration::from_secs(70), pools.maintain()).await;
    assert!(upkeep.is_err(), "upkeep never ends");
    assert_eq!(pools.totals().idle, 0, "the upkeep closes old ones");
    open(2).await;
    let in_use = connect(&pools, &mut forward("t:80")).await.unwrap();
    pools.remove(&id("a")).unwrap();
    finish(in_use);
    pools.add(name("default"), crate::world::member("a")).unwrap();
    assert!(!connect(&pools, &mut forward("t:80")).await.unwrap().reused);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ended_while_it_was_kept_is_not_handed_out() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    finish(connect(&pools, &mut forward("t:80")).await.unwrap());
    world.hang_up();
    let next = connect(&pools, &mut forward("t:80")).await.unwrap();
    assert!(!next.reused);
}

#[tokio::test(start_paused = true)]
async fn a_stale_stream_is_no_attempt_and_charges_nobody() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    for _ in 0..50 {
        let mut request = forward("t:80");
        let mut connected = connect(&pools, &mut request).await.unwrap();
        if connected.reused {
            let stale = connected.via.clone();
            assert_eq!(connected.outcome.failed(&broken()), Verdict::Retry);
            drop(connected);
            connected = connect(&pools, &mut request).await.unwrap();
            assert!(!connected.reused);
            assert_eq!(connected.via, stale, "the same member by a fresh dial");
        }
        assert_eq!(request.attempts.len(), 1);
        finish(connected);
    }
    assert!(all_closed(&pools));
    assert!(
        pools
            .members()
            .iter()
            .all(|member| member.traffic().failed() == 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_in_the_list_goes_to_another_member_and_charges_the_first() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    for _ in 0..30 {
        let mut request = forward("t:80");
        loop {
            let mut connected = connect(&pools, &mut request).await.unwrap();
            let status = if connected.via.label() == "a" { 503 } else { 200 };
            if connected.outcome.response(status, true) == Verdict::Pass {
                assert_eq!(status, 200);
                break;
            }
        }
        assert!(request.attempts.len() <= 2);
    }
    assert_eq!(circuit(&pools, "a"), Circuit::Open);
    assert_eq!(circuit(&pools, "b"), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_retries_end_the_last_answer_passes() {
    let world = World::new();
    let pools = world.pools(many(10));
    for round in 0..100 {
        let mut request = forward("t:80");
        let mut answers = 0;
        loop {
            let mut connected = connect(&pools, &mut request).await.unwrap();
            answers += 1;
            if connected.outcome.response(503, true) == Verdict::Pass {
                break;
            }
        }
        assert!((1..=4).contains(&answers), "round {round}: {answers} answers");
        assert_eq!(request.attempts.len(), answers);
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert!(all_closed(&pools), "members that agree are believed");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_twice_is_not() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    let mut connected = connect(&pools, &mut forward("t:80")).await.unwrap();
    assert_eq!(connected.outcome.response(503, false), Verdict::Pass);
}

#[tokio::test(start_paused = true)]
async fn members_that_fail_only_what_cannot_be_repeated_are_found_out() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    for number in 0..6 {
        let mut request = forward(&format!("t{number}:80"));
        let mut connected = connect(&pools, &mut request).await.unwrap();
        // The server cannot send it again, whatever it is told.
        let _ = connected.outcome.failed(&broken());
    }
    assert_eq!(circuit(&pools, "a"), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn a_407_of_the_member_is_its_own_fault() {
    for base in [
        settings(&["a", "b"]),
        Settings {
            corporate: Some(corporate()),
            ..settings(&["a", "b"])
        },
    ] {
        let world = World::new();
        let pools = world.pools(base);
        for _ in 0..12 {
            let mut request = forward("t:80");
            let mut connected = connect(&pools, &mut request).await.unwrap();
            if connected.via.label() == "a" {
                // As the server tells it.
                let kind = FailureKind::Auth;
                let error =
                    DialError::new(kind, Blame::Target, Retry::Other, "wants credentials").with_status(407);
                assert_eq!(connected.outcome.failed(&error), Verdict::Retry);
                connected = connect(&pools, &mut request).await.unwrap();
            }
            finish(connected);
        }
        assert_eq!(circuit(&pools, "a"), Circuit::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_fails_goes_on_elsewhere_for_plain_requests_too() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    world.set("a", Manner::Refuses);
    for _ in 0..4 {
        let mut request = forward("t:80");
        let connected = connect(&pools, &mut request).await.unwrap();
        assert_eq!(connected.via.label(), "b");
        drop(connected);
    }
}

#[tokio::test(start_paused = true)]
async fn corporate_and_direct_streams_are_kept_too() {
    let world = World::new();
    let pools = world.pools(Settings {
        corporate: Some(corporate()),
        ..Settings::default()
    });
    for reused in [false, true, true] {
        let mut request = forward("t:80");
        let mut connected = connect(&pools, &mut request).await.unwrap();
        assert_eq!((connected.via.label(), connected.reused), ("_corporate", reused));
        connected.outcome.moved(10, 20);
        finish(connected);
    }
    assert_eq!(pools.corporate_traffic().bytes_down(), 60);
    let mut request = forward("t:80");
    let mut connected = connect(&pools, &mut request).await.unwrap();
    assert_eq!(connected.outcome.failed(&broken()), Verdict::Retry);
    drop(connected);
    assert!(!connect(&pools, &mut request).await.unwrap().reused);
    assert_eq!(request.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_waited_for_half_the_time_while_another_member_is_left() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    let mut request = forward("t:80");
    let first = connect(&pools, &mut request).await.unwrap();
    let patience = first.outcome.patience().expect("another is left");
    assert_eq!(request.deadline - patience, Duration::from_secs(15));
    let alone = world.pools(settings(&["a"]));
    assert_eq!(
        connect(&alone, &mut forward("t:80"))
            .await
            .unwrap()
            .outcome
            .patience(),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn a_pinned_stream_counts_each_of_its_requests() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    let mut connected = connect(&pools, &mut forward("t:80")).await.unwrap();
    for status in [200, 401, 200, 503] {
        assert_eq!(connected.outcome.response(status, true), Verdict::Pass);
    }
    let traffic = pools.members()[0].traffic().requests();
    assert_eq!(traffic, 4);
}
