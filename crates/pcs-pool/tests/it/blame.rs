//! Who is charged for what.

use std::time::Duration;

use pcs_models::{Blame, FailureKind, HopName, Retry};
use pcs_pool::{Circuit, RetrySettings, Settings};
use pcs_tunnel::DialError;

use crate::world::{
    Corporate, LATENCY, Manner, World, all_closed, circuit, connect, corporate, many, request, settings,
    tunnel,
};

fn behind_corporate(settings: Settings) -> Settings {
    Settings {
        corporate: Some(corporate()),
        ..settings
    }
}

fn without_retries(settings: Settings) -> Settings {
    Settings {
        retry: RetrySettings {
            enabled: false,
            ..RetrySettings::default()
        },
        ..settings
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_refuses_is_charged_at_once_and_rests() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    world.set("a", Manner::Refuses);
    for _ in 0..12 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "b");
    }
    assert_eq!(circuit(&pools, "a"), Circuit::Open);
    assert_eq!(circuit(&pools, "b"), Circuit::Closed);
    let dials = world.dialled().iter().filter(|proxy| *proxy == "a").count();
    assert_eq!(dials, 5, "an open breaker keeps it from being dialled");
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_opens_no_breaker() {
    for corporate in [false, true] {
        let world = World::new();
        let settings = if corporate {
            behind_corporate(many(10))
        } else {
            many(10)
        };
        let pools = world.pools(settings);
        world.kill_target("dead:443");
        for _ in 0..1000 {
            let error = tunnel(&pools, "dead:443").await.unwrap_err();
            assert_eq!(error.blame(), Blame::Target);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(all_closed(&pools));
        assert!(world.circuits.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_meet_the_return_of_a_dead_target_charge_nobody() {
    let world = World::new();
    let mut settings = many(3);
    settings.retry.budget_percent = 100;
    settings.retry.budget_min_per_second = 1000;
    let pools = world.pools(settings);
    for round in 0..5 {
        world.kill_target("t:443");
        tunnel(&pools, "t:443").await.unwrap_err();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let pools = pools.clone();
            clients.spawn(async move { tunnel(&pools, "t:443").await.is_ok() });
        }
        let back = async {
            tokio::time::sleep(LATENCY + Duration::from_millis(1)).await;
            world.revive_target("t:443");
        };
        let (served, ()) = tokio::join!(clients.join_all(), back);
        assert!(served.into_iter().all(|served| served), "each is tried once more");
        let charged: Vec<u64> = pools.members().iter().map(|member| member.charged()).collect();
        assert_eq!(charged, [0, 0, 0], "round {round}");
        for _ in 0..6 {
            tunnel(&pools, "t:443").await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_members_that_agree_name_the_target() {
    let world = World::new();
    let pools = world.pools(many(3));
    world.kill_target("dead:443");
    let error = tunnel(&pools, "dead:443").await.unwrap_err();
    assert_eq!(error.hop(), Some(&HopName::target()));
    let alone = world.pools(settings(&["only"]));
    let error = tunnel(&alone, "dead:443").await.unwrap_err();
    assert_eq!(
        error.hop().unwrap().as_str(),
        "only",
        "one member alone proves nothing about the target"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_fails_where_another_succeeds_is_charged() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    for manner in [
        Manner::Says(503),
        Manner::Resets,
        Manner::Hangs,
        Manner::SaysFor("t:443", 503),
    ] {
        world.set("a", manner.clone());
        for _ in 0..12 {
            assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "b", "{manner:?}");
        }
        assert_eq!(circuit(&pools, "a"), Circuit::Open, "{manner:?}");
        world.set("a", Manner::Well(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(31)).await;
        for _ in 0..12 {
            tunnel(&pools, "t:443").await.unwrap();
        }
        assert_eq!(circuit(&pools, "a"), Circuit::Closed, "{manner:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_second_opinion_three_distinct_targets_decide() {
    for (settings, what) in [
        (settings(&["a"]), "one member"),
        (without_retries(settings(&["a"])), "retries off"),
    ] {
        let world = World::new();
        let pools = world.pools(settings);
        world.set("a", Manner::Resets);
        for _ in 0..50 {
            tunnel(&pools, "t1:443").await.unwrap_err();
            tunnel(&pools, "t2:443").await.unwrap_err();
        }
        assert_eq!(circuit(&pools, "a"), Circuit::Closed, "{what}");
        tunnel(&pools, "t3:443").await.unwrap_err();
        assert_eq!(circuit(&pools, "a"), Circuit::Open, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_dead_targets_at_once_open_no_breaker() {
    for corporate in [false, true] {
        let world = World::new();
        let settings = if corporate {
            behind_corporate(many(3))
        } else {
            many(3)
        };
        let pools = world.pools(settings);
        // Far more than the retry budget has second opinions for.
        for round in 0..300 {
            let target = format!("dead{}:443", round % 60);
            world.kill_target(&target);
            tunnel(&pools, &target).await.unwrap_err();
        }
        assert!(all_closed(&pools), "behind corporate: {corporate}");
        assert_eq!(
            pools.members().iter().map(|member| member.charged()).sum::<u64>(),
            0
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_fails_for_good_is_found_out_however_small_the_budget() {
    let world = World::new();
    let mut settings = many(3);
    settings.retry.budget_percent = 0;
    settings.retry.budget_min_per_second = 1;
    let pools = world.pools(settings);
    world.set("p0", Manner::Resets);
    for round in 0..100 {
        let _ = tunnel(&pools, &format!("t{}:443", round % 7)).await;
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
    assert_eq!(circuit(&pools, "p1"), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_tried_elsewhere_is_the_members_only_if_others_fare_better() {
    for (bad, expected) in [(1, Circuit::Open), (4, Circuit::Closed)] {
        let world = World::new();
        let pools = world.pools(many(4));
        for number in 0..bad {
            world.set(&format!("p{number}"), Manner::Says(403));
        }
        for round in 0..80 {
            let _ = tunnel(&pools, &format!("t{round}:443")).await;
        }
        assert_eq!(circuit(&pools, "p0"), expected, "{bad} of 4 say 403");
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_between_forgets_what_was_held() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    for round in 0..20 {
        world.set("a", Manner::Resets);
        tunnel(&pools, &format!("x{round}:443")).await.unwrap_err();
        tunnel(&pools, &format!("y{round}:443")).await.unwrap_err();
        world.set("a", Manner::Well(Duration::ZERO));
        tunnel(&pools, "t:443").await.unwrap();
    }
    assert_eq!(circuit(&pools, "a"), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn retries_off_and_a_dead_target_charge_nobody() {
    let world = World::new();
    let pools = world.pools(without_retries(many(10)));
    world.kill_target("dead:443");
    for _ in 0..1000 {
        tunnel(&pools, "dead:443").await.unwrap_err();
    }
    assert!(all_closed(&pools));
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_corporate_proxy_fails_at_once_and_charges_nobody() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(3)));
    world.set_corporate(Corporate::Refuses);
    for number in 0..100 {
        let mut request = request(&format!("t{number}:443"));
        let error = connect(&pools, &mut request).await.unwrap_err();
        assert_eq!(error.hop(), Some(&HopName::corporate()));
        assert_eq!(request.attempts.len(), 1, "no burning through members");
    }
    assert!(pools.corporate_is_down());
    assert!(all_closed(&pools));
    assert!(
        pools
            .members()
            .iter()
            .all(|member| member.traffic().failed() == 0)
    );
    assert_eq!(pools.corporate_traffic().failed(), 100);
    world.set_corporate(Corporate::Well);
    for _ in 0..6 {
        tunnel(&pools, "t:443").await.unwrap();
    }
    assert!(!pools.corporate_is_down());
}

#[tokio::test(start_paused = true)]
async fn a_corporate_proxy_that_hangs_is_named() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(3)));
    world.set_corporate(Corporate::Silent);
    for number in 0..10 {
        let error = tunnel(&pools, &format!("t{number}:443")).await.unwrap_err();
        assert_eq!(error.hop(), Some(&HopName::corporate()), "{number}");
    }
    assert!(all_closed(&pools));
}

#[tokio::test(start_paused = true)]
async fn members_that_break_off_while_the_corporate_proxy_dies_are_not_charged() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(2)));
    for _ in 0..50 {
        world.set_corporate(Corporate::Well);
        world.set("p0", Manner::Refuses);
        world.set("p1", Manner::Refuses);
        let mut request = request("t:443");
        let dial = connect(&pools, &mut request);
        let death = async {
            tokio::time::sleep(LATENCY + Duration::from_millis(5)).await;
            world.set_corporate(Corporate::Refuses);
        };
        let (result, ()) = tokio::join!(dial, death);
        assert_eq!(result.unwrap_err().hop(), Some(&HopName::corporate()));
    }
    assert!(all_closed(&pools));
}

#[tokio::test(start_paused = true)]
async fn a_corporate_403_for_one_member_tries_another_and_charges_nobody() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(2)));
    world.set("p0", Manner::CorporateSays(403));
    for _ in 0..20 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "p1");
    }
    assert!(all_closed(&pools));
    assert!(!pools.corporate_is_down());
}

#[tokio::test(start_paused = true)]
async fn a_status_outside_the_list_is_not_tried_elsewhere() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    world.set("a", Manner::Says(403));
    world.set("b", Manner::Says(403));
    let mut request = request("t:443");
    let error = connect(&pools, &mut request).await.unwrap_err();
    assert_eq!((error.status(), request.attempts.len()), (Some(403), 1));
}

/// What the far end breaking off before its first byte is told as.
fn broken_tunnel() -> DialError {
    DialError::new(
        FailureKind::Reset,
        Blame::Target,
        Retry::Never,
        "closed before the first byte",
    )
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_tunnels_die_before_the_first_byte_is_found_out() {
    for behind in [false, true] {
        let world = World::new();
        let settings = if behind {
            behind_corporate(settings(&["liar", "b"]))
        } else {
            settings(&["liar", "b"])
        };
        let pools = world.pools(settings);
        for number in 0..40 {
            let mut request = request(&format!("t{}:443", number % 5));
            let mut connected = connect(&pools, &mut request).await.unwrap();
            if connected.via.label() == "liar" {
                connected.outcome.failed(&broken_tunnel());
                connected.outcome.moved(500, 0);
            } else {
                connected.outcome.moved(500, 500);
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(
            circuit(&pools, "liar"),
            Circuit::Open,
            "behind corporate: {behind}"
        );
        assert_eq!(circuit(&pools, "b"), Circuit::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn tunnels_that_die_early_now_and_then_are_no_lies() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    for number in 0..100 {
        let mut request = request(&format!("t{number}:443"));
        let mut connected = connect(&pools, &mut request).await.unwrap();
        if number % 3 == 0 {
            connected.outcome.moved(500, 500);
        } else {
            connected.outcome.failed(&broken_tunnel());
        }
    }
    assert_eq!(circuit(&pools, "a"), Circuit::Closed);
}
