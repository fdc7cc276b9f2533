//! Trying again: with whom, how often, how long.

use std::collections::HashSet;
use std::time::Duration;

use pcs_models::FailureKind;
use pcs_pool::{Pools, RetrySettings, Settings};
use tokio::time::Instant;

use crate::world::{Corporate, LATENCY, Manner, World, connect, corporate, many, request, settings, tunnel};

#[tokio::test(start_paused = true)]
async fn no_member_is_tried_twice_while_others_are_left() {
    let world = World::new();
    let pools = world.pools(many(4));
    for proxy in ["p0", "p1", "p2", "p3"] {
        world.set(proxy, Manner::Resets);
    }
    for round in 0..8 {
        let mut request = request("t:443");
        connect(&pools, &mut request).await.unwrap_err();
        let tried: HashSet<_> = request
            .attempts
            .iter()
            .map(|attempt| attempt.via.label().to_owned())
            .collect();
        assert_eq!((tried.len(), request.attempts.len()), (4, 4), "round {round}");
        assert!(request.attempts.iter().all(|attempt| attempt.failure.is_some()));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_and_bounded() {
    let world = World::new();
    let pools = world.pools(many(10));
    (0..10).for_each(|number| world.set(&format!("p{number}"), Manner::Refuses));
    let mut first = request("t:443");
    connect(&pools, &mut first).await.unwrap_err();
    assert_eq!(first.attempts.len(), 4, "the first attempt and three retries");
    let refused = pools
        .retries()
        .into_iter()
        .find(|(kind, _)| *kind == FailureKind::Refused);
    assert_eq!(refused, Some((FailureKind::Refused, 3)));
}

#[tokio::test(start_paused = true)]
async fn one_member_alone_has_another_go() {
    let world = World::new();
    let pools = world.pools(settings(&["only"]));
    world.set("only", Manner::Refuses);
    let mut request = request("t:443");
    let recovery = async {
        tokio::time::sleep(LATENCY * 3 / 2).await;
        world.set("only", Manner::Well(Duration::ZERO));
    };
    let (result, ()) = tokio::join!(connect(&pools, &mut request), recovery);
    assert_eq!(result.unwrap().via.label(), "only");
    assert!(request.attempts.len() > 1);
}

#[tokio::test(start_paused = true)]
async fn retries_can_be_switched_off() {
    let world = World::new();
    let retry = RetrySettings {
        enabled: false,
        ..RetrySettings::default()
    };
    let pools = world.pools(Settings { retry, ..many(3) });
    (0..3).for_each(|number| world.set(&format!("p{number}"), Manner::Refuses));
    let mut request = request("t:443");
    connect(&pools, &mut request).await.unwrap_err();
    assert_eq!(request.attempts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_hangs_leaves_half_the_time_to_another() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    world.set("a", Manner::Hangs);
    for _ in 0..2 {
        let began = Instant::now();
        let mut request = request("t:443");
        let connected = connect(&pools, &mut request).await.unwrap();
        assert_eq!(connected.via.label(), "b");
        assert!(began.elapsed() < Duration::from_secs(16));
    }
    let calls = world.take_calls();
    assert_eq!(
        calls[1].deadline - calls[0].deadline,
        Duration::from_secs(15),
        "the last has all that is left"
    );
    let alone = world.pools(settings(&["a"]));
    let began = Instant::now();
    let error = tunnel(&alone, "t:443").await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Timeout);
    assert_eq!(
        began.elapsed().as_secs(),
        30,
        "alone it has all of the time, and no more"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_all_retries() {
    let world = World::new();
    let pools = world.pools(many(8));
    (0..8).for_each(|number| world.set(&format!("p{number}"), Manner::Hangs));
    let began = Instant::now();
    tunnel(&pools, "t:443").await.unwrap_err();
    assert!(
        began.elapsed() <= Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_pool_is_not_hammered() {
    let world = World::new();
    let pools = world.pools(many(20));
    (0..20).for_each(|number| world.set(&format!("p{number}"), Manner::Resets));
    // Nearly 100 requests a second for 20 s: a fifth on top, over any ten seconds.
    for _ in 0..2000 {
        let _ = tunnel(&pools, "t:443").await;
        tokio::time::advance(Duration::from_micros(100)).await;
    }
    let dials = world.calls.lock().len();
    assert!(
        dials > 2200 && dials <= 2000 * 12 / 10 + 30,
        "{dials} dials for 2000 requests"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_the_corporate_proxy_cannot_reach_is_not_hammered() {
    let world = World::new();
    let pools = world.pools(Settings {
        corporate: Some(corporate()),
        ..many(20)
    });
    world.set_corporate(Corporate::CannotReach);
    for _ in 0..2000 {
        let _ = tunnel(&pools, "t:443").await;
        tokio::time::advance(Duration::from_micros(100)).await;
    }
    let dials = world.calls.lock().len();
    assert!(dials <= 2000 * 12 / 10 + 31, "{dials} dials for 2000 requests");
}

/// A hundred requests a second for 20 s; how many were served.
async fn a_hundred_a_second(pools: &Pools) -> usize {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..2000_u64 {
        let pools = pools.clone();
        clients.spawn(async move {
            tokio::time::sleep(Duration::from_millis(10 * number)).await;
            tunnel(&pools, "t:443").await.is_ok()
        });
    }
    let ends = clients.join_all().await;
    ends.into_iter().filter(|served| *served).count()
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_keeps_silent_is_not_hammered() {
    let world = World::new();
    let pools = world.pools(many(20));
    (0..20).for_each(|number| world.set(&format!("p{number}"), Manner::Hangs));
    let served = a_hundred_a_second(&pools).await;
    let dials = world.calls.lock().len();
    assert!(
        served == 0 && dials <= 2000 * 12 / 10 + 30,
        "{dials} dials for 2000 requests"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_keeps_silent_among_others_costs_no_one_an_error() {
    let world = World::new();
    let pools = world.pools(many(3));
    world.set("p1", Manner::Hangs);
    let served = a_hundred_a_second(&pools).await;
    assert_eq!(served, 2000);
}

#[tokio::test(start_paused = true)]
async fn a_first_retry_after_a_proven_failure_is_free() {
    let world = World::new();
    let retry = RetrySettings {
        budget_percent: 0,
        budget_min_per_second: 0,
        ..RetrySettings::default()
    };
    let breaker = pcs_pool::BreakerSettings {
        enabled: false,
        ..Default::default()
    };
    let pools = world.pools(Settings {
        retry,
        breaker,
        ..settings(&["a", "b"])
    });
    world.set("a", Manner::Refuses);
    for _ in 0..100 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "b");
    }
    world.set("a", Manner::Resets);
    let failed = {
        let mut failed = 0;
        for _ in 0..10 {
            failed += usize::from(tunnel(&pools, "t:443").await.is_err());
        }
        failed
    };
    assert!(
        (4..=6).contains(&failed),
        "an unproven failure is not free: {failed} of 10 failed"
    );
}
