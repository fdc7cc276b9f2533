//! Mass failures, and who is suspected first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pcs_health::checker::Fault;
use pcs_health::flip::Thresholds;

use crate::world::{Fate, Running, behind_corporate, id, names, pass, pool, spec};

const MEMBER: Fate = Fate::Fails(Fault::Member);
const TARGET: Fate = Fate::Fails(Fault::Target);

#[tokio::test(start_paused = true)]
async fn while_the_corporate_proxy_is_down_nobody_is_marked() {
    let running = Running::start();
    running.checker.update(vec![
        behind_corporate(pool("p", spec(), 10)),
        behind_corporate(pool("q", spec(), 3)),
    ]);
    pass(30).await;
    let world = &running.world;
    world.corporate_down.store(true, Ordering::SeqCst);
    world.set(names("p", 0..10).chain(names("q", 0..3)), MEMBER);
    pass(1800).await;
    assert!(!world.was_ever_unhealthy());
    assert!(
        world.corporate_asked.load(Ordering::SeqCst) > 1,
        "it is asked again"
    );
    world.corporate_down.store(false, Ordering::SeqCst);
    world.set(names("p", 1..10).chain(names("q", 0..3)), Fate::Well);
    pass(400).await;
    assert_eq!(
        world.unhealthy(),
        ["p0"],
        "after its return who still fails is marked as ever"
    );
}

#[tokio::test(start_paused = true)]
async fn verdicts_given_before_the_corporate_proxy_was_suspected_are_taken_back() {
    let running = Running::start();
    let quick = pcs_health::checker::CheckSpec {
        thresholds: Thresholds {
            failures: 1,
            successes: 2,
        },
        ..spec()
    };
    running
        .checker
        .update(vec![behind_corporate(pool("p", quick, 10))]);
    pass(30).await;
    let world = &running.world;
    world.corporate_down.store(true, Ordering::SeqCst);
    world.set(names("p", 0..10), MEMBER);
    pass(90).await;
    assert!(world.was_ever_unhealthy(), "the first ones had no company yet");
    assert!(world.unhealthy().is_empty(), "{:?}", world.unhealthy());
}

#[tokio::test(start_paused = true)]
async fn a_mass_death_of_members_is_believed_once_the_corporate_proxy_is_cleared() {
    let running = Running::start();
    running
        .checker
        .update(vec![behind_corporate(pool("p", spec(), 10))]);
    pass(30).await;
    running.world.set(names("p", 0..9), MEMBER);
    pass(200).await;
    assert_eq!(running.world.unhealthy().len(), 9);
    assert!(running.world.corporate_asked.load(Ordering::SeqCst) >= 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_corporate_proxy_a_mass_death_is_believed() {
    for count in [1, 2, 3] {
        let running = Running::with(spec(), count);
        pass(5).await;
        running.world.set(names("p", 0..count), MEMBER);
        pass(200).await;
        assert_eq!(running.world.unhealthy().len(), count);
        assert_eq!(running.world.corporate_asked.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_test_url_marks_nobody_and_is_believed_again_when_reached() {
    for count in [1, 2, 3, 20] {
        let running = Running::with(spec(), count);
        pass(5).await;
        let world = &running.world;
        world.set(names("p", 0..count), TARGET);
        pass(3600).await;
        assert!(!world.was_ever_unhealthy(), "of {count}: {:?}", world.unhealthy());
        world.set(names("p", 0..count), Fate::Well);
        pass(300).await;
        world.set(names("p", 0..1), MEMBER);
        pass(400).await;
        assert_eq!(world.unhealthy(), ["p0"], "of {count}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_at_the_test_url_while_another_reaches_it_is_marked() {
    let running = Running::with(spec(), 10);
    pass(5).await;
    running.world.set(names("p", 0..9), TARGET);
    pass(400).await;
    assert_eq!(running.world.unhealthy().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn members_of_another_pool_bear_witness_for_the_test_url() {
    let running = Running::start();
    running
        .checker
        .update(vec![pool("p", spec(), 2), pool("q", spec(), 2)]);
    pass(5).await;
    running.world.set(names("p", 0..2), TARGET);
    pass(400).await;
    assert_eq!(running.world.unhealthy(), ["p0", "p1"]);
}

#[tokio::test(start_paused = true)]
async fn under_a_dead_test_url_dead_members_are_still_found() {
    let running = Running::with(spec(), 6);
    pass(5).await;
    running.world.set(names("p", 0..5), TARGET);
    running.world.set(names("p", 5..6), MEMBER);
    pass(600).await;
    assert_eq!(running.world.unhealthy(), ["p5"]);
}

#[tokio::test(start_paused = true)]
async fn two_of_three_killed_are_out_within_three_checks() {
    let running = Running::with(spec(), 3);
    pass(5).await;
    running.world.set(names("p", 0..2), MEMBER);
    for _ in 0..3 {
        for name in ["p0", "p1"] {
            running.checker.check_now(&id(name)).await.unwrap();
        }
    }
    assert_eq!(running.world.unhealthy(), ["p0", "p1"]);
}

#[tokio::test(start_paused = true)]
async fn members_that_die_one_by_one_are_no_mass_failure() {
    let running = Running::start();
    running
        .checker
        .update(vec![behind_corporate(pool("p", spec(), 6))]);
    pass(30).await;
    for dead in 0..5 {
        running.world.set(names("p", dead..dead + 1), MEMBER);
        pass(600).await;
        assert_eq!(running.world.unhealthy().len(), dead + 1);
    }
    assert_eq!(running.world.corporate_asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_probe_marks_nobody() {
    let mut often = spec();
    often.interval = Duration::from_secs(1);
    let running = Running::with(often, 3);
    running.world.set(names("p", 0..3), Fate::Panics);
    pass(60).await;
    assert!(!running.world.was_ever_unhealthy());
    running.world.set(names("p", 0..3), Fate::Well);
    pass(10).await;
    assert!(running.checker.is_alive());
    assert_eq!(running.world.verdicts().len(), 3);
}
