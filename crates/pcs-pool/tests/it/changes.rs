//! Reloads and changes made while running.

use pcs_models::{FailureKind, Hop, Protocol};
use pcs_pool::{ChangeError, Filter, Origin, Overlay, Patch, Pools, Settings, SettingsError};

use crate::world::{
    Manner, World, connect, corporate, id, member, name, pool, request, settings, tunnel, with_user,
};

fn ids(list: &[pcs_models::ProxyId]) -> Vec<&str> {
    list.iter().map(pcs_models::ProxyId::as_str).collect()
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_counters_by_id_and_says_what_changed() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b", "c"]));
    for _ in 0..6 {
        tunnel(&pools, "t:443").await.unwrap();
    }
    let mut next = settings(&["b", "c", "d"]);
    next.pools[0].members[0].weight = 5;
    next.pools[0].members[1].hop = Hop::new(Protocol::Socks5, "elsewhere.example:1080".parse().unwrap());
    let applied = pools.apply(next.clone()).unwrap();
    assert_eq!(
        (ids(&applied.added), ids(&applied.removed), ids(&applied.changed)),
        (vec!["d"], vec!["a"], vec!["b", "c"])
    );
    assert_eq!(
        pools.get(&id("b")).unwrap().stats.total_requests,
        2,
        "the same proxy keeps its counters"
    );
    assert_eq!(pools.get(&id("b")).unwrap().weight, 5);
    assert_eq!(
        pools.get(&id("c")).unwrap().stats.total_requests,
        0,
        "another proxy of that id does not"
    );
    assert_eq!(pools.get(&id("a")), None);
    assert_eq!(
        pools.apply(next).unwrap(),
        pcs_pool::Applied::default(),
        "nothing changed"
    );
}

#[tokio::test(start_paused = true)]
async fn sums_do_not_fall_when_a_member_leaves() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    let mut open = connect(&pools, &mut request("t:443")).await.unwrap();
    open.outcome.moved(3, 4);
    drop(open);
    let sums = |pools: &Pools| (pools.totals().bytes_up, pools.totals().bytes_down);
    assert_eq!(sums(&pools), (3, 4));
    pools.apply(settings(&["b"])).unwrap();
    assert_eq!(sums(&pools), (3, 4), "gone by a reload");
    let mut open = connect(&pools, &mut request("t:443")).await.unwrap();
    open.outcome.moved(10, 20);
    drop(open);
    pools.remove(&id("b")).unwrap();
    assert_eq!(sums(&pools), (13, 24), "gone by hand");
}

#[tokio::test(start_paused = true)]
async fn streams_outlive_the_member_they_go_through() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    let mut open = connect(&pools, &mut request("t:443")).await.unwrap();
    let member = pools.members().remove(0);
    pools.apply(settings(&["b"])).unwrap();
    open.outcome.moved(1, 2);
    assert_eq!((member.traffic().active(), member.traffic().bytes_down()), (1, 2));
    drop(open);
    assert_eq!(member.traffic().active(), 0);
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_new_password_or_corporate_proxy_takes_effect_without_losing_counters() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    tunnel(&pools, "t:443").await.unwrap();
    let next = Settings {
        corporate: Some(corporate()),
        ..settings(&["a"])
    };
    assert_eq!(pools.apply(next).unwrap(), pcs_pool::Applied::default());
    tunnel(&pools, "t:443").await.unwrap();
    assert_eq!(
        world
            .take_calls()
            .iter()
            .map(|call| call.hops)
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(pools.get(&id("a")).unwrap().stats.total_requests, 2);
}

#[tokio::test(start_paused = true)]
async fn settings_that_do_not_fit_change_nothing() {
    let world = World::new();
    let pools = world.pools(settings(&["a"]));
    let mut twice = settings(&["a", "b"]);
    twice.pools.push(pool("other", &["b"]));
    let mut circle = settings(&["a"]);
    circle.pools[0].fallback = Some(name("second"));
    let mut second = pool("second", &["b"]);
    second.fallback = Some(name("default"));
    circle.pools.push(second);
    let mut nowhere = settings(&["a"]);
    nowhere.pools[0].fallback = Some(name("nowhere"));
    let cases = [
        (twice, SettingsError::DuplicateId(id("b"))),
        (circle, SettingsError::FallbackCycle(name("default"))),
        (nowhere, SettingsError::UnknownPool(name("nowhere"))),
        (Settings::default(), SettingsError::NoChainLeft),
    ];
    for (settings, expected) in cases {
        assert_eq!(pools.apply(settings).unwrap_err(), expected);
        assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_reloaded_away_fails_instead_of_going_another_way() {
    let world = World::new();
    let mut both = settings(&["a"]);
    both.pools.push(pool("other", &["b"]));
    let pools = world.pools(both);
    pools
        .apply(Settings {
            pools: vec![pool("other", &["b"])],
            ..Settings::default()
        })
        .unwrap();
    assert_eq!(
        tunnel(&pools, "t:443").await.unwrap_err().kind(),
        FailureKind::Exhausted
    );
    pools.apply(settings(&["a"])).unwrap();
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_by_hand_and_the_changes_survive() {
    let world = World::new();
    let base = settings(&["a", "b"]);
    let pools = world.pools(base.clone());
    let view = pools.add(name("default"), with_user("c", "somebody")).unwrap();
    assert_eq!((view.origin, view.id.as_str()), (Origin::Admin, "c"));
    assert_eq!(
        pools.add(name("x"), member("c")).unwrap_err(),
        ChangeError::DuplicateId(id("c"))
    );
    pools.add(name("extra"), member("d")).unwrap();
    pools.remove(&id("a")).unwrap();
    assert_eq!(
        pools.remove(&id("a")).unwrap_err(),
        ChangeError::UnknownProxy(id("a"))
    );
    let tags = [("region".to_owned(), "fr".to_owned())].into();
    let patch = Patch {
        weight: Some(9),
        tags: Some(tags),
        enabled: None,
    };
    assert_eq!(pools.patch(&id("b"), &patch).unwrap().weight, 9);
    assert_eq!(
        pools.patch(&id("zz"), &patch).unwrap_err(),
        ChangeError::UnknownProxy(id("zz"))
    );

    let listed = |pools: &Pools| -> Vec<(String, u16)> {
        pools
            .list(&Filter::default())
            .into_iter()
            .map(|view| (view.id.to_string(), view.weight))
            .collect()
    };
    let expected = [("b".to_owned(), 9), ("c".to_owned(), 1), ("d".to_owned(), 1)];
    assert_eq!(listed(&pools), expected);
    assert_eq!(
        pools.apply(base.clone()).unwrap(),
        pcs_pool::Applied::default(),
        "applied again over a reload"
    );
    assert_eq!(listed(&pools), expected);

    let again = Pools::new(base.clone(), pools.overlay(), world.clone(), world).unwrap();
    assert_eq!(listed(&again), expected, "and over a restart");
    assert_eq!(
        again
            .list(&Filter {
                pool: Some(name("extra")),
                ..Filter::default()
            })
            .len(),
        1
    );

    pools.add(name("default"), member("a")).unwrap();
    assert_eq!(pools.get(&id("a")).unwrap().origin, Origin::Admin);
    pools.apply(base).unwrap();
    assert_eq!(
        pools.get(&id("a")).unwrap().origin,
        Origin::Admin,
        "added back in place of the removed entry"
    );
    pools.remove(&id("a")).unwrap();
    assert_ne!(pools.overlay(), Overlay::default());
}

#[tokio::test(start_paused = true)]
async fn lists_can_be_narrowed() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b", "c"]));
    crate::world::set_health(&pools, "a", false);
    pools
        .patch(
            &id("b"),
            &Patch {
                enabled: Some(false),
                ..Patch::default()
            },
        )
        .unwrap();
    let count = |filter: Filter| pools.list(&filter).len();
    assert_eq!(
        count(Filter {
            healthy: Some(true),
            ..Filter::default()
        }),
        2
    );
    assert_eq!(
        count(Filter {
            healthy: Some(false),
            ..Filter::default()
        }),
        1
    );
    assert_eq!(
        count(Filter {
            enabled: Some(false),
            ..Filter::default()
        }),
        1
    );
    let totals = pools.totals();
    assert_eq!((totals.healthy, totals.unhealthy, totals.disabled), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn round_robin_goes_on_where_it_stood() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b", "c"]));
    let mut went = Vec::new();
    for round in 0..9 {
        went.push(tunnel(&pools, "t:443").await.unwrap());
        if round % 2 == 0 {
            pools.apply(settings(&["a", "b", "c"])).unwrap();
        }
    }
    assert_eq!(went.concat(), "abcabcabc");
    world.set("b", Manner::Refuses);
}

#[test]
fn nothing_shown_holds_a_secret() {
    let world = World::new();
    let mut base = settings(&[]);
    base.pools[0].members.push(with_user("a", "somebody"));
    let pools = world.pools(base.clone());
    let shown = format!(
        "{pools:?} {:?} {:?} {base:?}",
        pools.list(&Filter::default()),
        pools.members()
    );
    assert!(
        !shown.contains("\"secret\"") && !shown.contains(": secret"),
        "{shown}"
    );
}

#[tokio::test(start_paused = true)]
async fn health_checks_speak_and_are_told_through_their_port() {
    use pcs_health::checker::{CheckFailure, CheckReport, Fault, Seen, Verdicts};
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    world.set("a", Manner::Refuses);
    tunnel(&pools, "t:443").await.unwrap();
    assert_eq!(
        pools.traffic(&id("a")),
        Some(Seen {
            successes: 0,
            failures: 1
        })
    );
    assert_eq!(
        pools.traffic(&id("b")),
        Some(Seen {
            successes: 1,
            failures: 0
        })
    );
    assert_eq!(pools.traffic(&id("c")), None);
    let now = tokio::time::Instant::now();
    pools.verdict(&id("a"), pcs_pool::Health::Unhealthy);
    pools.checked(&CheckReport {
        id: id("a"),
        pool: name("default"),
        at: now.into_std(),
        result: Err(CheckFailure::new(FailureKind::Refused, Fault::Member, "refused")),
        health: pcs_pool::Health::Unhealthy,
        consecutive_failures: 3,
        consecutive_successes: 0,
    });
    let view = pools.get(&id("a")).unwrap();
    assert!(!view.is_healthy());
    assert_eq!(
        (
            view.check.at,
            view.check.error.as_deref(),
            view.check.consecutive_failures
        ),
        (Some(now), Some("refused"), 3)
    );
    world.set("a", Manner::Well(std::time::Duration::ZERO));
    let uses_a = async || {
        world.take_calls();
        for _ in 0..4 {
            tunnel(&pools, "t:443").await.unwrap();
        }
        world.dialled().contains(&"a".to_owned())
    };
    assert!(!uses_a().await);
    pools.running(false);
    assert!(uses_a().await, "verdicts of a checker that died keep nobody out");
    pools.running(true);
    assert!(!uses_a().await);
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_tunnel_count_although_its_member_left() {
    let world = World::new();
    let pools = world.pools(settings(&["a", "b"]));
    let mut early = connect(&pools, &mut request("t:443")).await.unwrap();
    let mut late = connect(&pools, &mut request("t:443")).await.unwrap();
    early.outcome.moved(1, 10);
    drop(early);
    for gone in ["a", "b"] {
        pools.remove(&id(gone)).unwrap();
    }
    late.outcome.moved(5, 700);
    let moved = || (pools.totals().bytes_up, pools.totals().bytes_down);
    assert_eq!(moved(), (6, 710));
    drop(late);
    assert_eq!(moved(), (6, 710));
}
