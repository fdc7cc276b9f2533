//! Chains that stand before they are asked for.

use std::time::Duration;

use pcs_pool::{Pools, Settings, WarmConnections};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{LATENCY, Manner, World, all_closed, id, settings, tunnel};

fn warm(members: &[&str], warm: WarmConnections) -> Settings {
    let mut settings = settings(members);
    settings.tunnel.warm = warm;
    settings
}

fn keeper(pools: &Pools) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let pools = pools.clone();
    tasks.spawn(async move { pools.keep_warm().await });
    tasks
}

#[tokio::test(start_paused = true)]
async fn steady_demand_finds_a_warm_chain_every_time() {
    let world = World::new();
    let pools = world.pools(warm(&["a", "b"], WarmConnections::Auto));
    let _keeper = keeper(&pools);
    for _ in 0..20 {
        tunnel(&pools, "t:443").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.take_calls();
    for _ in 0..200 {
        tunnel(&pools, "t:443").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        world.dialled(),
        Vec::<String>::new(),
        "not one had to be dialled from scratch"
    );
    assert!(pools.warm_counts().0 >= 200);
    assert!(pools.totals().warm <= 64);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_warm_without_traffic() {
    let world = World::new();
    let pools = world.pools(warm(&["a"], WarmConnections::Auto));
    let _keeper = keeper(&pools);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*world.warm_builds.lock(), 0, "before the first request");
    for _ in 0..50 {
        tunnel(&pools, "t:443").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(pools.totals().warm, 0, "after the last");
    let built = *world.warm_builds.lock();
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(*world.warm_builds.lock(), built);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_number_is_kept_within_the_bound_of_all() {
    let world = World::new();
    let mut settings = warm(&["a", "b", "c"], WarmConnections::Fixed(4));
    let pools = world.pools(settings.clone());
    let _keeper = keeper(&pools);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(pools.totals().warm, 12);
    settings.tunnel.warm_max = 5;
    pools.apply(settings.clone()).unwrap();
    pools.remove(&id("a")).unwrap();
    assert_eq!(pools.totals().warm, 8, "a removed member keeps none");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(pools.totals().warm, 5, "the bound holds once old ones are gone");
    settings.tunnel.warm = WarmConnections::Off;
    pools.apply(settings).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(pools.totals().warm, 0);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_chain_goes_first_so_that_none_is_built_in_vain() {
    let world = World::new();
    let pools = world.pools(warm(&["a"], WarmConnections::Fixed(4)));
    let _keeper = keeper(&pools);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..120 {
        tunnel(&pools, "t:443").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let built = *world.warm_builds.lock();
    assert!(
        built <= 124,
        "{built} chains were built for 120 requests and 4 in stock"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_warm_chain_costs_neither_an_error_nor_an_attempt() {
    let world = World::new();
    let pools = world.pools(warm(&["a"], WarmConnections::Fixed(3)));
    let _keeper = keeper(&pools);
    tokio::time::sleep(Duration::from_secs(1)).await;
    *world.warm_die.lock() = true;
    for _ in 0..20 {
        let mut request = crate::world::request("t:443");
        crate::world::connect(&pools, &mut request).await.unwrap();
        assert_eq!(request.attempts.len(), 1);
    }
    world.hang_up();
    tunnel(&pools, "t:443").await.unwrap();
    assert!(pools.warm_counts().1 > 0);
    assert!(all_closed(&pools));
    assert_eq!(pools.members()[0].traffic().failed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_cannot_be_reached_is_not_hammered_by_builds() {
    let world = World::new();
    let pools = world.pools(warm(&["a"], WarmConnections::Fixed(4)));
    world.set("a", Manner::Refuses);
    let _keeper = keeper(&pools);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(*world.warm_builds.lock() < 40, "{}", *world.warm_builds.lock());
    assert!(all_closed(&pools), "a build is no attempt of anybody");
}

#[tokio::test(start_paused = true)]
async fn a_warm_chain_saves_the_hops_before_the_target() {
    let world = World::new();
    let pools = world.pools(warm(&["a"], WarmConnections::Fixed(1)));
    let _keeper = keeper(&pools);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.set("a", Manner::Well(LATENCY * 5));
    let began = Instant::now();
    tunnel(&pools, "t:443").await.unwrap();
    assert_eq!(began.elapsed(), LATENCY);
}
