//! Many clients at once, and clients that go away at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pcs_pool::{Circuit, Pools, Settings};
use pcs_tunnel::Verdict;
use proptest::prelude::*;
use tokio::task::JoinSet;

use crate::world::{
    Corporate, Manner, World, all_closed, circuit, connect, corporate, forward, many, request, set_health,
    tunnel,
};

fn in_flight(pools: &Pools) -> u64 {
    pools.totals().active
}

/// So many clients, each making requests one after the other until told to stop; returns what failed.
fn clients(pools: &Pools, count: usize, stop: &Arc<AtomicUsize>) -> JoinSet<(usize, Vec<String>)> {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let (pools, stop) = (pools.clone(), Arc::clone(stop));
        clients.spawn(async move {
            let (mut done, mut errors) = (0, Vec::new());
            while stop.load(Ordering::Relaxed) == 0 {
                match tunnel(&pools, &format!("t{}:443", number % 5)).await {
                    Ok(_) => done += 1,
                    Err(error) => errors.push(format!("{:?}: {error}", error.hop())),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (done, errors)
        });
    }
    clients
}

async fn finish(clients: JoinSet<(usize, Vec<String>)>, stop: &AtomicUsize) -> (usize, Vec<String>) {
    stop.store(1, Ordering::Relaxed);
    let mut sum = (0, Vec::new());
    for (done, errors) in clients.join_all().await {
        sum.0 += done;
        sum.1.extend(errors);
    }
    sum
}

#[tokio::test(start_paused = true)]
async fn a_member_that_dies_under_load_costs_no_client_an_error() {
    for manner in [Manner::Refuses, Manner::Hangs, Manner::Resets] {
        let world = World::new();
        let pools = world.pools(many(3));
        let stop = Arc::new(AtomicUsize::new(0));
        let load = clients(&pools, 32, &stop);
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.set("p1", manner.clone());
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(circuit(&pools, "p1"), Circuit::Open, "{manner:?}");
        world.take_calls();
        world.set("p1", Manner::Well(Duration::ZERO));
        tokio::time::sleep(Duration::from_secs(40)).await;
        let back = world.dialled().iter().filter(|proxy| *proxy == "p1").count();
        assert!(back > 100, "{manner:?}: used again after its rest, {back} times");
        let (done, errors) = finish(load, &stop).await;
        assert!(errors.is_empty(), "{manner:?}: {errors:?}");
        assert!(done > 10_000);
        assert_eq!(in_flight(&pools), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_under_load_names_the_corporate_hop_and_passes_without_a_trace() {
    for manner in [Corporate::Refuses, Corporate::Silent] {
        let world = World::new();
        let pools = world.pools(Settings {
            corporate: Some(corporate()),
            ..many(3)
        });
        let stop = Arc::new(AtomicUsize::new(0));
        let load = clients(&pools, 32, &stop);
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.set_corporate(manner);
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.set_corporate(Corporate::Well);
        // Full service a second after its return.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.take_calls();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let dialled = world.dialled();
        for proxy in ["p0", "p1", "p2"] {
            let share = dialled.iter().filter(|dialled| *dialled == proxy).count();
            assert!(
                share * 4 > dialled.len(),
                "full service a second after its return: {proxy} had {share}"
            );
        }
        let (_, errors) = finish(load, &stop).await;
        assert!(!errors.is_empty());
        assert!(
            errors.iter().all(|error| error.starts_with("Some(corporate)")),
            "{errors:?}"
        );
        assert!(all_closed(&pools));
    }
}

#[tokio::test(start_paused = true)]
async fn members_of_which_the_corporate_proxy_hears_nothing_are_charged_while_it_speaks_of_others() {
    let world = World::new();
    let pools = world.pools(Settings {
        corporate: Some(corporate()),
        ..many(3)
    });
    let stop = Arc::new(AtomicUsize::new(0));
    let load = clients(&pools, 32, &stop);
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.set("p0", Manner::Lost);
    world.set("p1", Manner::Lost);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(circuit(&pools, "p0"), Circuit::Open);
    assert_eq!(circuit(&pools, "p1"), Circuit::Open);
    assert!(!pools.corporate_is_down());
    let (_, errors) = finish(load, &stop).await;
    assert_eq!(errors, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn thirty_requests_do_not_all_hit_a_member_that_just_died() {
    let world = World::new();
    let pools = world.pools(many(2));
    world.set("p0", Manner::Refuses);
    tunnel(&pools, "t:443").await.unwrap();
    tunnel(&pools, "t:443").await.unwrap();
    world.set("p0", Manner::Hangs);
    world.take_calls();
    let stop = Arc::new(AtomicUsize::new(1));
    let mut burst = JoinSet::new();
    for _ in 0..30 {
        let pools = pools.clone();
        burst.spawn(async move { tunnel(&pools, "t:443").await.is_ok() });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let hit = world.dialled().iter().filter(|proxy| *proxy == "p0").count();
    assert!(
        hit <= 4,
        "one failure was known, four more open the breaker: {hit} hit it"
    );
    assert!(burst.join_all().await.into_iter().all(|ok| ok));
    drop(stop);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_reloads_under_load_cost_no_error() {
    let world = World::new();
    let pools = world.pools(many(4));
    let stop = Arc::new(AtomicUsize::new(0));
    let load = clients(&pools, 32, &stop);
    let before: Vec<u64> = {
        tokio::time::sleep(Duration::from_secs(1)).await;
        pools
            .members()
            .iter()
            .map(|member| member.traffic().requests())
            .collect()
    };
    for round in 0..100 {
        pools.apply(many(4 + round % 3)).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let members = pools.members();
    for (member, before) in members.iter().zip(before) {
        assert!(member.traffic().requests() > before, "{}", member.id());
    }
    let (_, errors) = finish(load, &stop).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(in_flight(&pools), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flips_changes_and_requests_from_many_threads_leave_true_bits() {
    let world = World::new();
    let pools = world.pools(many(64));
    let mut tasks = JoinSet::new();
    for seed in 0..4usize {
        let pools = pools.clone();
        tasks.spawn(async move {
            for step in 0..200usize {
                let proxy = format!("p{}", (step * 7 + seed * 13) % 64);
                set_health(&pools, &proxy, (step + seed) % 2 == 0);
                let _ = tunnel(&pools, "t:443").await;
                if step % 20 == seed {
                    pools.apply(many(64)).unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(in_flight(&pools), 0);
    (0..64).for_each(|number| set_health(&pools, &format!("p{number}"), number == 5));
    for _ in 0..20 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "p5", "no bit was lost");
    }
}

#[derive(Debug, Clone)]
struct Client {
    patience_ms: u64,
    forward: bool,
    target: u8,
    status: u16,
    keeps: bool,
}

fn client() -> impl Strategy<Value = Client> {
    let parts = (
        0u64..60,
        any::<bool>(),
        0u8..4,
        prop_oneof![Just(200u16), Just(503), Just(407)],
        any::<bool>(),
    );
    parts.prop_map(|(patience_ms, forward, target, status, keeps)| Client {
        patience_ms,
        forward,
        target,
        status,
        keeps,
    })
}

async fn visit(pools: Pools, client: Client) {
    let target = format!("t{}:80", client.target);
    let mut request = if client.forward {
        forward(&target)
    } else {
        request(&target)
    };
    let work = async {
        loop {
            let Ok(mut connected) = connect(&pools, &mut request).await else {
                return;
            };
            if !client.forward {
                tokio::time::sleep(Duration::from_millis(3)).await;
                connected.outcome.moved(1, 1);
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            match connected.outcome.response(client.status, true) {
                Verdict::Retry => {}
                Verdict::Pass => {
                    if client.keeps {
                        connected.outcome.park(connected.stream);
                    }
                    return;
                }
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(client.patience_ms), work).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn in_flight_returns_to_zero_however_clients_end(
        visitors in proptest::collection::vec(client(), 1..40),
        manners in proptest::collection::vec(0u8..6, 3),
        behind in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let corporate = behind.then(corporate);
            let pools = world.pools(Settings { corporate, ..many(3) });
            for (number, manner) in manners.iter().enumerate() {
                let manner = match manner {
                    0 => Manner::Refuses,
                    1 => Manner::Hangs,
                    2 => Manner::Resets,
                    3 => Manner::Says(503),
                    4 => Manner::CorporateSays(502),
                    _ => Manner::Well(Duration::from_millis(2)),
                };
                world.set(&format!("p{number}"), manner);
            }
            let mut tasks = JoinSet::new();
            for visitor in visitors {
                tasks.spawn(visit(pools.clone(), visitor));
            }
            tasks.join_all().await;
            assert_eq!(in_flight(&pools), 0);
            for member in pools.members() {
                let traffic = member.traffic();
                assert!(traffic.succeeded() + traffic.failed() <= traffic.requests(), "{}", member.id());
            }
        });
    }

    #[test]
    fn clients_that_go_away_charge_nobody(patience in proptest::collection::vec(0u64..10, 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let pools = world.pools(many(3));
            (0..3).for_each(|number| world.set(&format!("p{number}"), Manner::Refuses));
            for millis in patience {
                // The refusal comes after ten milliseconds: nobody waits for it.
                let gone = tokio::time::timeout(Duration::from_millis(millis), tunnel(&pools, "t:443")).await;
                assert!(gone.is_err());
            }
            assert!(all_closed(&pools));
            assert_eq!((in_flight(&pools), world.circuits.lock().len()), (0, 0));
            assert!(pools.members().iter().all(|member| member.traffic().failed() == 0));
        });
    }
}
