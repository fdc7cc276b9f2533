//! Which way requests go, and that none goes a shorter one.

use pcs_models::FailureKind;
use pcs_pool::{Mode, RouteAction, RouteSpec, Settings};
use pcs_tunnel::{ConnectRequest, Via};

use crate::world::{
    Manner, World, connect, corporate, id, member, name, pool, request, set_health, settings, tunnel,
};

fn route(host: &str, action: RouteAction) -> RouteSpec {
    RouteSpec {
        hosts: vec![host.parse().unwrap()],
        action,
    }
}

fn asking(target: &str, pool: &str) -> ConnectRequest {
    ConnectRequest {
        pool: Some(name(pool)),
        ..request(target)
    }
}

#[tokio::test(start_paused = true)]
async fn routes_pools_and_headers_are_weighed_as_the_contract_says() {
    let world = World::new();
    let pools = world.pools(Settings {
        corporate: Some(corporate()),
        pools: vec![pool("default", &["a"]), pool("other", &["b"])],
        routes: vec![
            route("evil.example", RouteAction::Reject),
            route("other.example", RouteAction::Pool(name("other"))),
            route("local.example", RouteAction::Direct),
            route("corp.example", RouteAction::Corporate),
        ],
        ..Settings::default()
    });
    let cases: [(ConnectRequest, Result<&str, FailureKind>); 10] = [
        (request("t:443"), Ok("a")),
        (request("other.example:443"), Ok("b")),
        (request("local.example:443"), Ok("_direct")),
        (request("corp.example:443"), Ok("_corporate")),
        (request("evil.example:443"), Err(FailureKind::Denied)),
        (asking("t:443", "other"), Ok("b")),
        (asking("local.example:443", "other"), Ok("b")),
        (asking("evil.example:443", "other"), Err(FailureKind::Denied)),
        (asking("t:443", "nowhere"), Err(FailureKind::UnknownPool)),
        (asking("evil.example:443", "nowhere"), Err(FailureKind::Denied)),
    ];
    for (mut request, expected) in cases {
        let what = format!("{} {:?}", request.target, request.pool);
        let result = connect(&pools, &mut request).await;
        let got = result
            .as_ref()
            .map(|connected| connected.via.label())
            .map_err(pcs_tunnel::DialError::kind);
        assert_eq!(got, expected, "{what}");
    }
    let hops: Vec<usize> = world.take_calls().iter().map(|call| call.hops).collect();
    assert_eq!(hops, [2, 2, 0, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_tells_the_pool_it_was_met_in() {
    let world = World::new();
    world.set("b", Manner::Refuses);
    let mut falling = pool("default", &[]);
    falling.fallback = Some(name("other"));
    let pools = world.pools(Settings {
        pools: vec![falling, pool("other", &["b"]), pool("empty", &[])],
        routes: vec![route("empty.example", RouteAction::Pool(name("empty")))],
        ..Settings::default()
    });
    for (target, expected) in [("t:443", "other"), ("empty.example:443", "empty")] {
        let error = tunnel(&pools, target).await.unwrap_err();
        assert_eq!(error.pool().map(ToString::to_string).as_deref(), Some(expected));
    }
    let error = connect(&pools, &mut asking("t:443", "nowhere"))
        .await
        .unwrap_err();
    assert_eq!(error.pool(), None);
}

#[tokio::test(start_paused = true)]
async fn what_nothing_steers_goes_the_configured_way_or_fails() {
    let cases = [
        (
            "nothing configured",
            Settings::default(),
            Err(FailureKind::Exhausted),
        ),
        (
            "plain mode",
            Settings {
                mode: Mode::Plain,
                ..Settings::default()
            },
            Ok("_direct"),
        ),
        (
            "corporate only",
            Settings {
                corporate: Some(corporate()),
                ..Settings::default()
            },
            Ok("_corporate"),
        ),
        (
            "an empty default pool",
            settings(&[]),
            Err(FailureKind::Exhausted),
        ),
        (
            "an empty pool in plain mode, which cannot be",
            Settings {
                mode: Mode::Plain,
                ..settings(&[])
            },
            Err(FailureKind::Exhausted),
        ),
        (
            "only a pool of another name",
            Settings {
                corporate: Some(corporate()),
                pools: vec![pool("other", &["b"])],
                mode: Mode::Plain,
                ..Settings::default()
            },
            Err(FailureKind::Exhausted),
        ),
        (
            "a route to a corporate proxy that is not there",
            Settings {
                routes: vec![route("*", RouteAction::Corporate)],
                mode: Mode::Plain,
                ..Settings::default()
            },
            Err(FailureKind::Exhausted),
        ),
    ];
    for (what, settings, expected) in cases {
        let world = World::new();
        let pools = world.pools(settings);
        let got = tunnel(&pools, "t:443").await;
        assert_eq!(
            got.as_deref().map_err(pcs_tunnel::DialError::kind),
            expected,
            "{what}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn plain_mode_ends_with_the_first_member_for_good() {
    let world = World::new();
    let pools = world.pools(Settings {
        mode: Mode::Plain,
        ..Settings::default()
    });
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "_direct");
    pools.add(name("default"), member("a")).unwrap();
    assert_eq!(tunnel(&pools, "t:443").await.unwrap(), "a");
    pools.remove(&id("a")).unwrap();
    assert_eq!(
        tunnel(&pools, "t:443").await.unwrap_err().kind(),
        FailureKind::Exhausted
    );
    let error = pools
        .apply(Settings {
            mode: Mode::Plain,
            ..Settings::default()
        })
        .unwrap_err();
    assert_eq!(error, pcs_pool::SettingsError::NoChainLeft);
    assert_eq!(
        tunnel(&pools, "t:443").await.unwrap_err().kind(),
        FailureKind::Exhausted
    );
}

/// Every state a pool can get into, crossed with every way to ask: no dial may skip a configured hop.
#[tokio::test(start_paused = true)]
async fn no_dial_is_ever_shorter_than_configured() {
    for has_corporate in [false, true] {
        for state in ["well", "unhealthy", "disabled", "removed", "reloaded away"] {
            for mode in [Mode::Chain, Mode::Plain] {
                let world = World::new();
                let corporate = has_corporate.then(corporate);
                let before = Settings {
                    corporate: corporate.clone(),
                    mode,
                    ..settings(&["a"])
                };
                let pools = world.pools(before.clone());
                match state {
                    "unhealthy" => set_health(&pools, "a", false),
                    "disabled" => {
                        let off = pcs_pool::Patch {
                            enabled: Some(false),
                            ..Default::default()
                        };
                        pools.patch(&id("a"), &off).unwrap();
                    }
                    "removed" => pools.remove(&id("a")).unwrap(),
                    "reloaded away" => {
                        let pools_now = vec![pool("other", &["b"])];
                        pools
                            .apply(Settings {
                                pools: pools_now,
                                ..before
                            })
                            .unwrap();
                    }
                    _ => {}
                }
                for mut request in [
                    request("t:443"),
                    asking("t:443", "default"),
                    crate::world::forward("t:80"),
                ] {
                    if let Ok(connected) = connect(&pools, &mut request).await {
                        assert!(
                            matches!(connected.via, Via::Proxy { .. }),
                            "{state}: {connected:?}"
                        );
                    }
                }
                let full = usize::from(has_corporate) + 1;
                let short: Vec<_> = world
                    .take_calls()
                    .into_iter()
                    .filter(|call| call.hops != full)
                    .collect();
                assert!(short.is_empty(), "{state}, corporate {has_corporate}: {short:?}");
            }
        }
    }
}
