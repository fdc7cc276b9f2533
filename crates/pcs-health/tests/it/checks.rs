//! Schedules and single verdicts.

use std::time::Duration;

use pcs_health::checker::{CheckNowError, Fault, Seen};
use pcs_health::flip::{Health, Thresholds};
use tokio::time::Instant;

use crate::world::{Fate, LATENCY, Running, id, names, pass, pool, spec};

#[tokio::test(start_paused = true)]
async fn the_first_check_runs_at_start_and_many_are_spread() {
    let start = Instant::now();
    let running = Running::with(spec(), 100);
    pass(2).await;
    assert_eq!(running.world.times("p0"), [start]);
    let last = running.world.times("p99")[0] - start;
    assert!((990..1010).contains(&last.as_millis()), "{last:?}");
    assert_eq!(running.world.checks(), 100);
    assert_eq!(running.world.health("p99"), Health::Healthy);
}

#[tokio::test(start_paused = true)]
async fn more_than_fit_an_interval_have_their_first_check_within_it() {
    let start = Instant::now();
    let running = Running::with(spec(), 8000);
    pass(61).await;
    let interval = spec().interval;
    for id in names("p", 0..8000) {
        let first = running.world.times(&id).first().map(|at| *at - start);
        assert!(first.is_some_and(|first| first <= interval), "{id}: {first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_dead_member_is_out_after_the_threshold_and_back_after_enough_successes() {
    let running = Running::with(spec(), 4);
    pass(5).await;
    let world = &running.world;
    world.set(names("p", 1..2), Fate::Fails(Fault::Member));
    pass(66 + 2 * 17 + 1).await;
    assert_eq!(world.unhealthy(), ["p1"]);
    let failures = world
        .reports()
        .iter()
        .filter(|report| report.result.is_err())
        .count();
    assert_eq!(failures, 3, "suspects are checked four times as often");
    world.set(names("p", 1..2), Fate::Well);
    pass(66 + 17 + 1).await;
    assert!(world.unhealthy().is_empty());
    let of_it: Vec<_> = world
        .verdicts()
        .into_iter()
        .filter(|(id, _)| id == "p1")
        .map(|(_, health)| health)
        .collect();
    assert_eq!(of_it, [Health::Healthy, Health::Unhealthy, Health::Healthy]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_told_at_the_moment_the_check_ends() {
    let running = Running::with(spec(), 3);
    running.world.set(names("p", 0..1), Fate::Fails(Fault::Member));
    for _ in 0..3 {
        running.checker.check_now(&id("p0")).await.unwrap();
    }
    assert_eq!(running.world.unhealthy(), ["p0"]);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_member_keeps_being_checked() {
    let running = Running::with(spec(), 4);
    running.world.set(names("p", 0..1), Fate::Fails(Fault::Member));
    pass(3600).await;
    let checks = running.world.times("p0").len();
    assert!((50..=72).contains(&checks), "{checks} in an hour");
}

#[tokio::test(start_paused = true)]
async fn intervals_stretch_for_the_stable_to_twice_at_most() {
    let running = Running::with(spec(), 1);
    pass(7200).await;
    let times = running.world.times("p0");
    let gaps: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    assert!(
        gaps[..4].iter().all(|gap| (54.0..=66.2).contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps[12..].iter().all(|gap| (108.0..=132.2).contains(gap)),
        "{gaps:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_never_has_more_checks_under_way_than_allowed() {
    let mut narrow = spec();
    narrow.concurrency = 3;
    narrow.interval = Duration::from_millis(200);
    let running = Running::with(narrow, 50);
    pass(10).await;
    assert_eq!(running.world.most_under_way(), 3);
    // Three places for 50 ms each leave no member out.
    let counts: Vec<usize> = names("p", 0..50)
        .map(|id| running.world.times(&id).len())
        .collect();
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_has_its_member_checked_at_once_but_not_in_a_storm() {
    let running = Running::with(spec(), 3);
    pass(20).await;
    let now = Instant::now();
    for _ in 0..100 {
        running.checker.suspect(&id("p1"));
    }
    pass(1).await;
    assert_eq!(running.world.times("p1")[1..], [now]);
}

#[tokio::test(start_paused = true)]
async fn traffic_that_goes_well_puts_checks_off_to_twice_the_interval() {
    let running = Running::with(spec(), 2);
    let seen = |successes, failures| {
        running
            .world
            .traffic
            .lock()
            .insert("p0".into(), Seen { successes, failures })
    };
    seen(0, 0);
    for second in 1..600 {
        seen(second * 10, 0);
        pass(1).await;
    }
    let gaps: Vec<Duration> = running
        .world
        .times("p0")
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .collect();
    assert!(
        gaps.iter().all(|gap| (118..=122).contains(&gap.as_secs())),
        "{gaps:?}"
    );
    let before = running.world.times("p0").len();
    seen(100_000, 1);
    pass(125).await;
    assert!(
        running.world.times("p0").len() > before,
        "a failure among the successes spares nobody"
    );
}

#[tokio::test(start_paused = true)]
async fn check_now_answers_with_the_result_and_shares_a_check_under_way() {
    let running = Running::with(spec(), 3);
    pass(5).await;
    let before = running.world.checks();
    let member = id("p1");
    let (one, two) = tokio::join!(
        running.checker.check_now(&member),
        running.checker.check_now(&member)
    );
    assert_eq!(one.unwrap().result, Ok(LATENCY));
    assert_eq!(two.unwrap().health, Health::Healthy);
    assert_eq!(running.world.checks(), before + 1);
    assert_eq!(
        running.checker.check_now(&id("nobody")).await.unwrap_err(),
        CheckNowError::Unknown
    );
}

#[tokio::test(start_paused = true)]
async fn members_of_a_pool_without_checks_are_checked_on_demand_only() {
    let mut off = spec();
    off.enabled = false;
    off.thresholds = Thresholds {
        failures: 1,
        successes: 1,
    };
    let running = Running::with(off, 3);
    running.world.set(names("p", 0..1), Fate::Fails(Fault::Member));
    pass(3600).await;
    assert_eq!(running.world.checks(), 0);
    let report = running.checker.check_now(&id("p0")).await.unwrap();
    assert_eq!(report.result.unwrap_err().message.as_ref(), "refused");
    assert_eq!(
        (report.health, running.world.verdicts().len()),
        (Health::Unknown, 0),
        "nobody would bring it back"
    );
}

#[tokio::test(start_paused = true)]
async fn failures_of_our_own_and_of_the_corporate_proxy_never_count() {
    for fault in [Fault::Ours, Fault::Corporate] {
        let running = Running::with(spec(), 5);
        running.world.set(names("p", 0..2), Fate::Fails(fault));
        pass(3600).await;
        assert!(!running.world.was_ever_unhealthy(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_and_keep_their_history_by_serial_number() {
    let running = Running::with(spec(), 4);
    running.world.set(names("p", 0..1), Fate::Fails(Fault::Member));
    pass(150).await;
    assert_eq!(running.world.unhealthy(), ["p0"]);
    let mut without_two = pool("p", spec(), 6);
    without_two.subjects.retain(|subject| subject.way != "p2");
    running.checker.update(vec![without_two.clone()]);
    let now = Instant::now();
    pass(1).await;
    assert_eq!(
        running.world.times("p5").len(),
        1,
        "a newcomer is checked at once"
    );
    assert_eq!(
        running.checker.check_now(&id("p2")).await.unwrap_err(),
        CheckNowError::Unknown
    );
    assert!(
        running.world.times("p0").iter().all(|at| *at < now),
        "who stays keeps its time"
    );
    assert_eq!(
        running.checker.check_now(&id("p0")).await.unwrap().health,
        Health::Unhealthy
    );
    without_two.subjects[0].serial = 77;
    running.checker.update(vec![without_two]);
    pass(1).await;
    let last = running
        .world
        .reports()
        .into_iter()
        .rfind(|report| report.id.as_str() == "p0")
        .unwrap();
    assert_eq!(
        (last.health, last.consecutive_failures),
        (Health::Unknown, 1),
        "another proxy begins anew"
    );
}

#[tokio::test(start_paused = true)]
async fn a_verdict_does_not_outlive_its_checks() {
    let running = Running::with(spec(), 4);
    running.world.set(names("p", 0..1), Fate::Fails(Fault::Member));
    pass(150).await;
    assert_eq!(running.world.unhealthy(), ["p0"]);
    let mut off = spec();
    off.enabled = false;
    running.checker.update(vec![pool("p", off, 4)]);
    pass(1).await;
    assert_eq!(running.world.health("p0"), Health::Unknown);
}
