//! What happens when nobody is left.

use std::time::Duration;

use pcs_models::FailureKind;
use pcs_pool::{Circuit, Patch, Settings, WhenExhausted};

use crate::world::{Manner, World, circuit, connect, id, name, pool, request, set_health, settings, tunnel};

fn strict(mut settings: Settings) -> Settings {
    settings
        .pools
        .iter_mut()
        .for_each(|pool| pool.when_exhausted = WhenExhausted::Fail);
    settings
}

#[tokio::test(start_paused = true)]
async fn unhealthy_members_are_left_out_while_others_are_there() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b", "c"]));
    set_health(&pools, "a", false);
    for _ in 0..10 {
        assert_ne!(tunnel(&pools, "t:443").await.unwrap(), "a");
    }
    set_health(&pools, "a", true);
    let went: Vec<String> = {
        let mut went = Vec::new();
        for _ in 0..3 {
            went.push(tunnel(&pools, "t:443").await.unwrap());
        }
        went
    };
    assert!(went.contains(&"a".to_owned()), "{went:?}");
    assert_eq!(
        *world.healths.lock(),
        [("a".to_owned(), false), ("a".to_owned(), true)]
    );
}

#[tokio::test(start_paused = true)]
async fn checks_that_bring_a_member_back_end_the_rest_of_its_breaker() {
    for (seen_by_checks, back) in [(true, true), (false, false)] {
        let world = World::new();
        let pools = world.pools(settings(&["a", "b"]));
        world.set("a", Manner::Refuses);
        while circuit(&pools, "a") != Circuit::Open {
            tunnel(&pools, "t:443").await.unwrap();
        }
        world.set("a", Manner::Well(Duration::ZERO));
        if seen_by_checks {
            set_health(&pools, "a", false);
        }
        // One that was never unhealthy is none that checks brought back: they see less than requests do.
        set_health(&pools, "a", true);
        let mut went = Vec::new();
        for _ in 0..10 {
            went.push(tunnel(&pools, "t:443").await.unwrap());
        }
        assert_eq!(went.contains(&"a".to_owned()), back, "{went:?}");
        assert_eq!(circuit(&pools, "a") == Circuit::Closed, back);
    }
}

#[tokio::test(start_paused = true)]
async fn any_takes_unhealthy_ones_and_fail_does_not() {
    for (settings, works) in [
        (settings(&["a", "b"]), true),
        (strict(settings(&["a", "b"])), false),
    ] {
        let world = World::new();
        let pools = world.pools(settings);
        set_health(&pools, "a", false);
        set_health(&pools, "b", false);
        let result = tunnel(&pools, "t:443").await;
        assert_eq!(result.is_ok(), works);
        if let Err(error) = result {
            assert_eq!(error.kind(), FailureKind::Exhausted);
            assert!(world.dialled().is_empty());
        }
        pools.lift_health(true);
        assert!(
            tunnel(&pools, "t:443").await.is_ok(),
            "without a checker all count as healthy"
        );
        pools.lift_health(false);
        assert_eq!(tunnel(&pools, "t:443").await.is_ok(), works);
    }
}

#[tokio::test(start_paused = true)]
async fn disabled_members_are_never_used_whatever_the_settings_say() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    let off = Patch {
        enabled: Some(false),
        ..Patch::default()
    };
    pools.patch(&id("a"), &off).unwrap();
    for _ in 0..5 {
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "b");
    }
    pools.patch(&id("b"), &off).unwrap();
    assert_eq!(
        tunnel(&pools, "t:443").await.unwrap_err().kind(),
        FailureKind::Exhausted
    );
    pools
        .patch(
            &id("a"),
            &Patch {
                enabled: Some(true),
                ..Patch::default()
            },
        )
        .unwrap();
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "a");
    assert_eq!(world.dialled().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_passed_over_by_fail_and_forced_by_any() {
    for any in [true, false] {
        let world = World::new();
        let base = settings(&["only"]);
        let pools = world.pools(if any { base } else { strict(base) });
        world.set("only", Manner::Refuses);
        for _ in 0..3 {
            tunnel(&pools, "t:443").await.unwrap_err();
        }
        assert_eq!(circuit(&pools, "only"), Circuit::Open);
        world.set("only", Manner::Well(Duration::ZERO));
        let result = tunnel(&pools, "t:443").await;
        assert_eq!(result.is_ok(), any);
        tokio::time::advance(Duration::from_secs(31)).await;
        for _ in 0..3 {
            tunnel(&pools, "t:443").await.unwrap();
        }
        assert_eq!(circuit(&pools, "only"), Circuit::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_breaker_lets_one_trial_through_at_a_time() {
    let world = World::new();
    let pools = world.pools(strict(settings(&["a", "b"])));
    world.set("a", Manner::Refuses);
    while circuit(&pools, "a") == Circuit::Closed {
        tunnel(&pools, "t:443").await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(31)).await;
    world.set("a", Manner::Well(Duration::from_secs(1)));
    world.take_calls();
    let tunnels = (0..16).map(|_| tunnel(&pools, "t:443"));
    let went = futures_join(tunnels).await;
    assert!(went.iter().all(Result::is_ok));
    assert_eq!(world.dialled().iter().filter(|proxy| *proxy == "a").count(), 1);
    for _ in 0..8 {
        tunnel(&pools, "t:443").await.unwrap();
    }
    assert_eq!(circuit(&pools, "a"), Circuit::Closed);
}

async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(|future| Some(Box::pin(future))).collect();
    let mut done: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (slot, out) in pending.iter_mut().zip(&mut done) {
            if let Some(future) = slot
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *out = Some(value);
                *slot = None;
            }
        }
        if pending.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_trial_gives_its_place_back() {
    let world = World::new();
    let pools = world.pools(strict(settings(&["only"])));
    world.set("only", Manner::Refuses);
    while circuit(&pools, "only") == Circuit::Closed {
        tunnel(&pools, "t:443").await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(31)).await;
    world.set("only", Manner::Hangs);
    let gone = tokio::time::timeout(Duration::from_secs(1), tunnel(&pools, "t:443")).await;
    assert!(gone.is_err(), "the client went away");
    assert_eq!(circuit(&pools, "only"), Circuit::HalfOpen);
    world.set("only", Manner::Well(Duration::ZERO));
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "only");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_pool_comes_before_any() {
    let world = World::new();
    let mut first = pool("default", &["a"]);
    first.fallback = Some(name("second"));
    let pools = world.pools(Settings {
        pools: vec![first, pool("second", &["b"])],
        ..Settings::default()
    });
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "a");
    set_health(&pools, "a", false);
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "b");
    set_health(&pools, "b", false);
    assert_eq!(
        tunnel(&pools, "t:443").await.unwrap(),
        "a",
        "then the unhealthy ones of the first pool"
    );
    set_health(&pools, "a", true);
    world.set("a", Manner::Refuses);
    let mut request = request("t:443");
    set_health(&pools, "b", true);
    assert_eq!(
        connect(&pools, &mut request).await.unwrap().via.label(),
        "b",
        "a retry falls back as well"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_circuit_rests_is_not_ready() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    assert_eq!(pools.readiness(), (2, 0));
    world.set("a", Manner::Refuses);
    for _ in 0..12 {
        tunnel(&pools, "t:443").await.unwrap();
    }
    assert_eq!(pools.readiness(), (1, 1));
    set_health(&pools, "b", false);
    assert_eq!(pools.readiness(), (0, 2));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(pools.readiness(), (1, 1), "the next request may try it");
}
