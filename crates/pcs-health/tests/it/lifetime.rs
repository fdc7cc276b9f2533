//! Life and death of the checker itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use pcs_health::checker::{CheckNowError, Fault};
use pcs_health::flip::Health;

use crate::world::{Fate, Running, id, names, pass, pool, spec};

#[tokio::test(start_paused = true)]
async fn when_the_checks_die_it_is_told_and_they_begin_anew() {
    let running = Running::with(spec(), 4);
    pass(5).await;
    assert_eq!(running.world.running(), [true]);
    running.world.poisoned.store(true, Ordering::SeqCst);
    // The check that dies answers nobody.
    assert_eq!(
        running.checker.check_now(&id("p0")).await.unwrap_err(),
        CheckNowError::Stopped
    );
    assert_eq!(running.world.running(), [true, false]);
    assert!(!running.checker.is_alive());
    pass(6).await;
    assert_eq!(running.world.running(), [true, false, true]);
    running.world.set(names("p", 0..1), Fate::Fails(Fault::Member));
    pass(200).await;
    assert_eq!(running.world.unhealthy(), ["p0"], "members are known again");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_tells_so() {
    let mut running = Running::with(spec(), 4);
    pass(1).await;
    running.tasks.abort_all();
    _ = running.tasks.join_next().await;
    assert_eq!(running.world.running(), [true, false]);
    assert_eq!(
        running.checker.check_now(&id("p0")).await.unwrap_err(),
        CheckNowError::Stopped
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_no_death() {
    let mut running = Running::with(spec(), 4);
    pass(1).await;
    running.shutdown.cancel();
    running.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(running.world.running(), [true]);
    assert!(!running.checker.is_alive());
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_members_in_one_task_are_all_checked_in_time() {
    let mut wide = spec();
    wide.concurrency = 512;
    let running = Running::with(wide, 10_000);
    pass(600).await;
    let healthy = names("p", 0..10_000)
        .filter(|id| running.world.health(id) == Health::Healthy)
        .count();
    assert_eq!(healthy, 10_000);
    let checks = running.world.checks();
    assert!((70_000..=101_000).contains(&checks), "{checks}");
}

#[tokio::test(start_paused = true)]
async fn updates_under_load_lose_nobody() {
    let mut often = spec();
    often.interval = Duration::from_millis(100);
    often.concurrency = 2;
    let running = Running::with(often.clone(), 30);
    for round in 0..200usize {
        tokio::time::sleep(Duration::from_millis(13)).await;
        running.checker.update(vec![
            pool("p", often.clone(), 20 + round % 11),
            pool("q", often.clone(), round % 3),
        ]);
    }
    running.checker.update(vec![pool("p", often, 30)]);
    let before: Vec<usize> = names("p", 0..30)
        .map(|id| running.world.times(&id).len())
        .collect();
    pass(10).await;
    for (at, name) in names("p", 0..30).enumerate() {
        assert!(running.world.times(&name).len() > before[at] + 3, "{name}");
    }
    assert!(
        running.world.most_under_way() <= 8,
        "checks of members that left may still end"
    );
}
