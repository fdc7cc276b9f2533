//! What the corporate proxy says against members, and when it is believed.

use std::sync::Arc;
use std::time::Duration;

use pcs_pool::{BreakerSettings, Circuit, Pools, Settings, WarmConnections};
use pcs_tunnel::Verdict;
use tokio::task::JoinSet;

use crate::world::{
    Corporate, LATENCY, Manner, World, all_closed, circuit, connect, corporate, forward, id, many, tunnel,
};

fn behind_corporate(settings: Settings) -> Settings {
    Settings {
        corporate: Some(corporate()),
        ..settings
    }
}

/// Everybody gets a second chance, so that the more is said of members.
fn generous(mut settings: Settings) -> Settings {
    settings.retry.budget_percent = 100;
    settings.retry.budget_min_per_second = 1000;
    settings
}

/// So many tunnels at once; how many stood.
async fn at_once(pools: &Pools, count: usize) -> usize {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let pools = pools.clone();
        clients.spawn(async move { tunnel(&pools, &format!("t{number}:443")).await.is_ok() });
    }
    clients
        .join_all()
        .await
        .into_iter()
        .filter(|stood| *stood)
        .count()
}

/// A plain request whose stream is kept, answered well; the member it went through.
async fn plain(pools: &Pools) -> Option<String> {
    let mut connected = connect(pools, &mut forward("t:80")).await.ok()?;
    let member = connected.via.label().to_owned();
    assert_eq!(connected.outcome.response(200, true), Verdict::Pass);
    connected.outcome.park(connected.stream);
    Some(member)
}

fn charged(pools: &Pools) -> Vec<u64> {
    pools.members().iter().map(|member| member.charged()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_corporate_502_for_one_member_is_that_members() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(2)));
    world.set("p0", Manner::CorporateSays(502));
    for _ in 0..12 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "p1");
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
    assert_eq!(circuit(&pools, "p1"), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_corporate_502_for_all_members_is_nobodys() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(5)));
    world.set_corporate(Corporate::CannotReach);
    for number in 0..200 {
        tunnel(&pools, &format!("t{number}:443")).await.unwrap_err();
    }
    assert!(all_closed(&pools));
}

#[tokio::test(start_paused = true)]
async fn a_corporate_502_for_the_only_member_counts_as_its_own() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(1)));
    world.set("p0", Manner::CorporateSays(502));
    for asked in 1..=5 {
        assert_eq!(circuit(&pools, "p0"), Circuit::Closed);
        tunnel(&pools, "t:443").await.unwrap_err();
        assert_eq!(
            charged(&pools),
            [asked],
            "each request fails once, however often it tries"
        );
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_a_member_that_is_gone_protects_nobody() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(2)));
    world.set_corporate(Corporate::CannotReach);
    tunnel(&pools, "t:443").await.unwrap_err();
    pools.remove(&id("p1")).unwrap();
    for _ in 0..5 {
        tunnel(&pools, "t:443").await.unwrap_err();
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
}

/// One kept stream for each member but the first.
async fn keep_all_but_the_first(world: &Arc<World>, pools: &Pools) {
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect(pools, &mut forward("t:80")).await.unwrap());
    }
    for mut connected in held {
        assert_eq!(connected.outcome.response(200, true), Verdict::Pass);
        if connected.via.label() != "p0" {
            connected.outcome.park(connected.stream);
        }
    }
    assert_eq!(pools.totals().idle, 2);
    world.take_calls();
}

#[tokio::test(start_paused = true)]
async fn a_kept_stream_that_still_works_is_no_word_for_the_corporate_proxy() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(3)));
    keep_all_but_the_first(&world, &pools).await;
    world.set_corporate(Corporate::CannotReach);
    for _ in 0..60 {
        assert_ne!(plain(&pools).await.unwrap(), "p0");
    }
    assert!(world.take_calls().len() >= 20, "p0 was asked for");
    assert_eq!(charged(&pools), [0, 0, 0]);
    world.set_corporate(Corporate::Well);
    for _ in 0..6 {
        plain(&pools).await.unwrap();
    }
    assert_eq!(charged(&pools), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_member_beside_kept_streams_is_charged_when_another_is_dialled() {
    let world = World::new();
    let pools = world.pools(behind_corporate(many(3)));
    keep_all_but_the_first(&world, &pools).await;
    world.set("p0", Manner::CorporateSays(502));
    for _ in 0..12 {
        assert_ne!(plain(&pools).await.unwrap(), "p0");
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Closed);
    assert_ne!(tunnel(&pools, "t:443").await.unwrap(), "p0");
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
    assert_eq!(charged(&pools)[1..], [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn warm_chains_that_are_built_prove_the_corporate_proxy_too() {
    let world = World::new();
    let mut settings = behind_corporate(many(3));
    settings.tunnel.warm = WarmConnections::Fixed(2);
    let pools = world.pools(settings);
    let mut keeping = JoinSet::new();
    let kept = pools.clone();
    keeping.spawn(async move { kept.keep_warm().await });
    world.set("p0", Manner::Refuses);
    let mut asked = 0;
    while circuit(&pools, "p0") == Circuit::Closed {
        // Slowly enough that the others are served from what stands already.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_ne!(tunnel(&pools, "t:443").await.unwrap(), "p0");
        asked += 1;
        assert!(asked < 100, "{:?}", charged(&pools));
    }
    assert_eq!(charged(&pools)[1..], [0, 0]);
    keeping.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_meet_the_end_of_corporate_trouble_charge_nobody() {
    let world = World::new();
    let pools = world.pools(generous(behind_corporate(many(3))));
    for round in 0..5 {
        world.set_corporate(Corporate::CannotReach);
        let end = async {
            tokio::time::sleep(LATENCY + Duration::from_millis(1)).await;
            world.set_corporate(Corporate::Well);
        };
        let (stood, ()) = tokio::join!(at_once(&pools, 60), end);
        assert!(
            stood >= 30,
            "as many as the budget allows are tried once more: {stood}"
        );
        assert!(all_closed(&pools), "round {round}");
        assert_eq!(charged(&pools), [0, 0, 0], "round {round}");
        // In between all is well with everybody.
        assert_eq!(at_once(&pools, 6).await, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_under_way_when_it_ends_charge_nobody_either() {
    let world = World::new();
    let pools = world.pools(generous(behind_corporate(many(3))));
    world.set_corporate(Corporate::CannotReach);
    assert_eq!(at_once(&pools, 9).await, 0);
    // What the corporate proxy has no answer to until well after it has recovered.
    for member in ["p0", "p1", "p2"] {
        world.set(member, Manner::CorporateSays(504));
    }
    world.set_corporate(Corporate::Well);
    let late = at_once(&pools, 30);
    let end = async {
        tokio::time::sleep(LATENCY - Duration::from_millis(2)).await;
        world.set("p2", Manner::Well(Duration::ZERO));
        tokio::time::sleep(Duration::from_millis(4)).await;
        world.set("p0", Manner::Well(Duration::ZERO));
        world.set("p1", Manner::Well(Duration::ZERO));
    };
    let (stood, ()) = tokio::join!(late, end);
    assert_eq!(stood, 30);
    assert_eq!(charged(&pools), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn nine_dead_members_of_ten_are_found_out() {
    for at_a_time in [1, 8] {
        let world = World::new();
        let pools = world.pools(behind_corporate(many(10)));
        let dead: Vec<String> = (0..9).map(|number| format!("p{number}")).collect();
        for member in &dead {
            world.set(member, Manner::CorporateSays(502));
        }
        let mut rounds = 0;
        while dead
            .iter()
            .any(|member| circuit(&pools, member) == Circuit::Closed)
        {
            at_once(&pools, at_a_time).await;
            tokio::time::advance(Duration::from_millis(100)).await;
            rounds += 1;
            assert!(rounds < 300, "{at_a_time} at a time: {:?}", charged(&pools));
        }
        assert_eq!(circuit(&pools, "p9"), Circuit::Closed);
        assert_eq!(charged(&pools)[9], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_the_corporate_proxy_tells_against_opens_the_breaker_again() {
    let world = World::new();
    let mut settings = behind_corporate(many(2));
    settings.breaker = BreakerSettings {
        failure_threshold: 2,
        ..settings.breaker
    };
    let pools = world.pools(settings);
    world.set("p0", Manner::CorporateSays(502));
    for _ in 0..8 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "p1");
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
    tokio::time::advance(Duration::from_secs(31)).await;
    for _ in 0..2 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "p1");
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
    let moves = world.circuits.lock().len();
    assert_eq!(moves, 3, "opened, tried, opened");
    // In corporate trouble a trial leaves it as it was.
    tokio::time::advance(Duration::from_secs(31)).await;
    world.set_corporate(Corporate::CannotReach);
    for _ in 0..4 {
        tunnel(&pools, "t:443").await.unwrap_err();
    }
    assert_eq!(circuit(&pools, "p0"), Circuit::HalfOpen);
    world.set_corporate(Corporate::Well);
    world.set("p0", Manner::Well(Duration::ZERO));
    for _ in 0..8 {
        tunnel(&pools, "t:443").await.unwrap();
    }
    assert!(all_closed(&pools));
}
