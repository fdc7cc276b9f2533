//! Sessions that stay where they are.

use std::collections::HashSet;
use std::time::Duration;

use pcs_models::{Blame, FailureKind, Retry};
use pcs_pool::{PoolSettings, Settings};
use pcs_tunnel::{DialError, Verdict};

use crate::world::{
    Manner, World, all_closed, connect, forward, many, request, session, set_health, settings, with_user,
};

async fn through(pools: &pcs_pool::Pools, id: &str) -> String {
    let mut request = session(request("t:443"), id);
    connect(pools, &mut request).await.unwrap().via.label().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_session_keeps_its_member_and_instances_agree() {
    let (world, other) = (World::new(), World::new());
    let (pools, twin) = (world.pools(many(10)), other.pools(many(10)));
    let mut members = HashSet::new();
    for number in 0..40 {
        let id = format!("client-{number}");
        let first = through(&pools, &id).await;
        for _ in 0..5 {
            assert_eq!(through(&pools, &id).await, first);
        }
        assert_eq!(
            through(&twin, &id).await,
            first,
            "another instance picks the same"
        );
        members.insert(first);
    }
    assert!(members.len() >= 8, "sessions spread: {members:?}");
    assert_eq!(pools.totals().sessions, 40);
}

#[tokio::test(start_paused = true)]
async fn a_dead_member_is_left_for_a_single_other_one_and_not_gone_back_to() {
    let world = World::new();
    let pools = world.pools(many(10));
    let first = through(&pools, "s").await;
    world.set(&first, Manner::Refuses);
    let second = through(&pools, "s").await;
    assert_ne!(first, second);
    for _ in 0..100 {
        assert_eq!(through(&pools, "s").await, second);
    }
    world.set(&first, Manner::Well(Duration::ZERO));
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(500)).await;
        assert_eq!(through(&pools, "s").await, second, "no fail-back within the TTL");
    }
    tokio::time::advance(Duration::from_secs(601)).await;
    assert_eq!(through(&pools, "s").await, first, "after it the session is new");
}

/// A plain request of the session, to an origin that answers with `status` through whichever member; the member
/// that gave the last answer.
async fn plain(pools: &pcs_pool::Pools, id: &str, status: u16) -> String {
    let mut request = session(forward("t:80"), id);
    loop {
        let mut connected = connect(pools, &mut request).await.unwrap();
        if connected.outcome.response(status, true) == Verdict::Pass {
            return connected.via.label().to_owned();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_site_answers_moves_no_session() {
    let world = World::new();
    let pools = world.pools(many(5));
    let first = plain(&pools, "s", 200).await;
    for _ in 0..6 {
        plain(&pools, "s", 503).await;
        assert_eq!(plain(&pools, "s", 200).await, first);
        assert_eq!(through(&pools, "s").await, first);
    }
    assert!(all_closed(&pools));
}

#[tokio::test(start_paused = true)]
async fn one_target_that_a_member_fails_moves_no_session() {
    let world = World::new();
    let pools = world.pools(many(5));
    let first = through(&pools, "s").await;
    world.set(&first, Manner::SaysFor("bad:443", 503));
    for _ in 0..20 {
        let mut request = session(request("bad:443"), "s");
        assert_ne!(connect(&pools, &mut request).await.unwrap().via.label(), first);
        assert_eq!(through(&pools, "s").await, first);
    }
    world.set(&first, Manner::Says(503));
    for _ in 0..5 {
        through(&pools, "s").await;
    }
    world.set(&first, Manner::Well(Duration::ZERO));
    assert_ne!(
        through(&pools, "s").await,
        first,
        "its breaker is open: it is left"
    );
}

#[tokio::test(start_paused = true)]
async fn a_member_that_breaks_plain_requests_off_is_left() {
    let world = World::new();
    let pools = world.pools(many(5));
    let first = plain(&pools, "s", 200).await;
    let mut request = session(forward("t:80"), "s");
    let mut connected = connect(&pools, &mut request).await.unwrap();
    let broken = DialError::new(FailureKind::Reset, Blame::Target, Retry::Other, "closed");
    assert_eq!(connected.outcome.failed(&broken), Verdict::Retry);
    let mut connected = connect(&pools, &mut request).await.unwrap();
    assert_eq!(connected.outcome.response(200, true), Verdict::Pass);
    let second = connected.via.label().to_owned();
    assert_ne!(first, second);
    assert_eq!(plain(&pools, "s", 200).await, second);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_member_is_left_as_well() {
    let world = World::new();
    let pools = world.pools(many(5));
    let first = through(&pools, "s").await;
    set_health(&pools, &first, false);
    let second = through(&pools, "s").await;
    set_health(&pools, &first, true);
    assert_ne!(first, second);
    assert_eq!(through(&pools, "s").await, second);
}

#[tokio::test(start_paused = true)]
async fn a_long_tunnel_keeps_its_session_alive() {
    let world = World::new();
    let pools = world.pools(many(5));
    let mut first = session(request("t:443"), "s");
    let open = connect(&pools, &mut first).await.unwrap();
    tokio::time::advance(Duration::from_secs(500)).await;
    let label = open.via.label().to_owned();
    drop(open);
    tokio::time::advance(Duration::from_secs(500)).await;
    set_health(&pools, &label, false);
    set_health(&pools, &label, true);
    assert_eq!(through(&pools, "s").await, label);
    assert_eq!(pools.totals().sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_template_gets_the_session_or_a_fresh_one_each_time() {
    let world = World::new();
    let members = vec![with_user("gate", "user-{session}")];
    let default = PoolSettings::new(crate::world::name("default"), members);
    let pools = world.pools(Settings {
        pools: vec![default],
        ..Settings::default()
    });
    connect(&pools, &mut session(request("t:443"), "mine"))
        .await
        .unwrap();
    for _ in 0..3 {
        connect(&pools, &mut request("t:443")).await.unwrap();
    }
    connect(&pools, &mut forward("t:80")).await.unwrap();
    let sessions: Vec<String> = world
        .take_calls()
        .into_iter()
        .map(|call| call.session.unwrap())
        .collect();
    assert_eq!(sessions[0], "mine");
    assert_eq!(sessions.iter().collect::<HashSet<_>>().len(), 5, "{sessions:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fits_no_user_name_is_no_attempt_and_nobodys_fault() {
    let world = World::new();
    world.set("a", Manner::Unfit);
    let pools = world.pools(settings(&["a"]));
    let mut request = session(request("t:443"), "a:b");
    let error = connect(&pools, &mut request).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::BadSession);
    assert_eq!(request.attempts.len(), 0);
    assert!(all_closed(&pools));
}

#[tokio::test(start_paused = true)]
async fn plain_members_are_not_told_of_made_up_sessions() {
    let world = World::new();
    let pools = world.pools(many(1));
    connect(&pools, &mut request("t:443")).await.unwrap();
    assert_eq!(world.take_calls()[0].session, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_fell_back_on_another_pool_stays_there_too() {
    let world = World::new();
    let mut first = crate::world::pool("default", &["a"]);
    first.fallback = Some(crate::world::name("second"));
    let second = crate::world::pool("second", &["b", "c"]);
    let pools = world.pools(Settings {
        pools: vec![first, second],
        ..Settings::default()
    });
    set_health(&pools, "a", false);
    let fallen = through(&pools, "s").await;
    assert_ne!(fallen, "a");
    set_health(&pools, "a", true);
    assert_eq!(through(&pools, "s").await, fallen);
    assert_eq!(through(&pools, "another").await, "a");
    set_health(&pools, &fallen, false);
    assert_eq!(through(&pools, "s").await, "a", "until that one fails");
}
