//! The pools over the production dial and real sockets: what hops say is read as the scripted world says it.

use std::sync::Arc;
use std::time::Duration;

use pcs_models::{FailureKind, HopName};
use pcs_pool::{
    Circuit, MemberSpec, NoEvents, Overlay, PoolSettings, Pools, Settings, TunnelSettings, WarmConnections,
};
use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy, until, within};
use pcs_tunnel::{
    ChainConnector, ConnectRequest, DialError, DialTimeouts, Form, Network, NetworkSettings, Purpose, Verdict,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::world::{all_closed, circuit, connect, id, name};

struct Scene {
    corporate: Option<Proxy>,
    members: Vec<Proxy>,
    origin: Origin,
    pools: Pools,
}

async fn scene(behind: bool, count: usize, tunnel: TunnelSettings) -> Scene {
    let corporate = if behind {
        Some(Proxy::http().basic("corp", "pw").start().await)
    } else {
        None
    };
    let mut members = Vec::new();
    let mut specs = Vec::new();
    for number in 0..count {
        let proxy = Proxy::http().basic("rotating", "pw").start().await;
        let id = format!("p{number}");
        specs.push(MemberSpec::new(crate::world::id(&id), proxy.hop(&id)));
        members.push(proxy);
    }
    let settings = Settings {
        corporate: corporate.as_ref().map(|proxy| proxy.hop("first")),
        pools: vec![PoolSettings::new(name("default"), specs)],
        tunnel,
        ..Settings::default()
    };
    let network = Arc::new(Network::new(NetworkSettings::default()));
    let dial = Arc::new(ChainConnector::new(network, DialTimeouts::default()));
    let pools = Pools::new(settings, Overlay::default(), dial, Arc::new(NoEvents)).unwrap();
    Scene {
        corporate,
        members,
        origin: Origin::start(OriginKind::Echo).await,
        pools,
    }
}

/// Cuts all connections of a proxy, and lets it come back.
async fn restart(proxy: &Proxy) {
    proxy.kill();
    until("cut", || proxy.active() == 0).await;
    // The ends of streams reach us when the reactor looks next.
    tokio::time::sleep(Duration::from_millis(20)).await;
    proxy.behave(Behaviour::Good);
}

impl Scene {
    fn request(target: &str, seconds: u64) -> ConnectRequest {
        ConnectRequest::tunnel(
            target.parse().unwrap(),
            Instant::now() + Duration::from_secs(seconds),
        )
    }

    /// One tunnel with an echo through it.
    async fn echo(&self) -> Result<String, DialError> {
        self.echo_within(30).await
    }

    async fn echo_within(&self, seconds: u64) -> Result<String, DialError> {
        let mut request = Self::request(&self.origin.address().to_string(), seconds);
        let mut connected = connect(&self.pools, &mut request).await?;
        connected.stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        connected.stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
        Ok(connected.via.label().to_owned())
    }
}

#[tokio::test]
async fn members_take_turns_and_those_that_misbehave_rest() {
    let bad = [
        Behaviour::Refuse,
        Behaviour::ResetAtAccept,
        Behaviour::CloseAtRequest,
        Behaviour::Garbage,
        Behaviour::HugeHead,
        Behaviour::Status(503),
        Behaviour::Status(407),
    ];
    for behind in [false, true] {
        for behaviour in bad.clone() {
            let scene = scene(behind, 3, TunnelSettings::default()).await;
            let mut went = Vec::new();
            for _ in 0..6 {
                went.push(scene.echo().await.unwrap());
            }
            assert_eq!(went.concat(), "p0p1p2p0p1p2");
            scene.members[1].behave(behaviour.clone());
            for _ in 0..18 {
                assert_ne!(
                    scene.echo().await.unwrap(),
                    "p1",
                    "{behaviour:?}, behind corporate: {behind}"
                );
            }
            let what = format!("{behaviour:?}, behind corporate: {behind}");
            assert_eq!(circuit(&scene.pools, "p1"), Circuit::Open, "{what}");
            assert_eq!(circuit(&scene.pools, "p0"), Circuit::Closed, "{what}");
            assert_eq!(circuit(&scene.pools, "p2"), Circuit::Closed, "{what}");
        }
    }
}

#[tokio::test]
async fn a_member_that_hangs_costs_half_the_time_and_no_error() {
    for behaviour in [Behaviour::HangAtAccept, Behaviour::HangAtRequest] {
        let scene = scene(true, 2, TunnelSettings::default()).await;
        scene.members[0].behave(behaviour);
        for _ in 0..2 {
            assert_eq!(scene.echo_within(4).await.unwrap(), "p1");
        }
    }
}

#[tokio::test]
async fn a_dead_corporate_proxy_is_named_and_nobody_else_is_charged() {
    let bad = [
        Behaviour::Refuse,
        Behaviour::ResetAtAccept,
        Behaviour::Garbage,
        Behaviour::Status(407),
    ];
    for behaviour in bad {
        let scene = scene(true, 3, TunnelSettings::default()).await;
        let corporate = scene.corporate.as_ref().unwrap();
        corporate.behave(behaviour.clone());
        for _ in 0..20 {
            let error = scene.echo().await.unwrap_err();
            assert_eq!(error.hop(), Some(&HopName::corporate()), "{behaviour:?}: {error}");
        }
        assert!(all_closed(&scene.pools), "{behaviour:?}");
        assert_eq!(scene.origin.accepted(), 0);
        corporate.behave(Behaviour::Good);
        // A listener that was closed takes a moment to come back.
        let patience = Instant::now() + Duration::from_secs(10);
        while let Err(error) = scene.echo().await {
            assert!(Instant::now() < patience, "{behaviour:?}: {error}");
        }
    }
}

#[tokio::test]
async fn what_the_corporate_proxy_says_of_all_members_charges_none() {
    for status in [502, 503, 504, 403] {
        let scene = scene(true, 3, TunnelSettings::default()).await;
        scene
            .corporate
            .as_ref()
            .unwrap()
            .behave(Behaviour::Status(status));
        for _ in 0..20 {
            scene.echo().await.unwrap_err();
        }
        assert!(all_closed(&scene.pools), "{status}");
        assert!(scene.members.iter().all(|member| member.accepted() == 0));
    }
}

#[tokio::test]
async fn a_dead_target_is_named_and_nobody_is_charged() {
    let scene = scene(true, 3, TunnelSettings::default()).await;
    let (dead, _kept) = pcs_testkit::refusing_address();
    for _ in 0..50 {
        let mut request = Scene::request(&dead.to_string(), 30);
        let error = connect(&scene.pools, &mut request).await.unwrap_err();
        if request.attempts.len() > 1 {
            assert_eq!(error.hop(), Some(&HopName::target()), "{error}");
        }
    }
    assert!(all_closed(&scene.pools));
}

#[tokio::test]
async fn a_plain_request_is_kept_and_its_stale_stream_found_out() {
    let scene = scene(false, 1, TunnelSettings::default()).await;
    let mut request = Scene::request(&scene.origin.address().to_string(), 30);
    request.purpose = Purpose::Forward;
    for reused in [false, true] {
        let mut connected = connect(&scene.pools, &mut request.clone()).await.unwrap();
        assert!(matches!(
            &connected.form,
            Form::Absolute {
                authorization: Some(_)
            }
        ));
        assert_eq!(connected.reused, reused);
        assert_eq!(connected.outcome.response(200, true), Verdict::Pass);
        connected.outcome.park(connected.stream);
    }
    restart(&scene.members[0]).await;
    let fresh = async {
        loop {
            // The listener takes a moment to come back.
            if let Ok(fresh) = connect(&scene.pools, &mut request.clone()).await {
                return fresh;
            }
        }
    };
    assert!(!within("connected", fresh).await.reused);
}

#[tokio::test]
async fn warm_chains_stand_before_they_are_asked_for() {
    let warm = TunnelSettings {
        warm: WarmConnections::Fixed(2),
        ..TunnelSettings::default()
    };
    let scene = scene(true, 2, warm).await;
    let mut keeper = JoinSet::new();
    let pools = scene.pools.clone();
    keeper.spawn(async move { pools.keep_warm().await });
    until("warm", || scene.pools.totals().warm >= 4).await;
    assert!(
        scene.members.iter().all(|member| member.targets().is_empty()),
        "no target was named so far"
    );
    for _ in 0..10 {
        scene.echo().await.unwrap();
    }
    assert!(scene.pools.warm_counts().0 >= 4);
    let failed_before: u64 = scene
        .pools
        .members()
        .iter()
        .map(|member| member.traffic().failed())
        .sum();
    for member in &scene.members {
        restart(member).await;
    }
    until("listening again", || {
        let mut members = scene.members.iter();
        members.all(|member| std::net::TcpStream::connect(member.address()).is_ok())
    })
    .await;
    for _ in 0..10 {
        scene.echo().await.unwrap();
    }
    let failed: u64 = scene
        .pools
        .members()
        .iter()
        .map(|member| member.traffic().failed())
        .sum();
    assert_eq!(failed, failed_before, "a stale chain is no failure");
}

#[tokio::test]
async fn all_members_gone_is_told_as_exhausted_and_no_target_is_dialled() {
    let scene = scene(false, 2, TunnelSettings::default()).await;
    for member in ["p0", "p1"] {
        scene.pools.remove(&id(member)).unwrap();
    }
    assert_eq!(scene.echo().await.unwrap_err().kind(), FailureKind::Exhausted);
    assert_eq!(scene.origin.accepted(), 0);
}
