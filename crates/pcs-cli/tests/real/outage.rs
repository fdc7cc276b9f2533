//! Real proxies die, hang and come back under the load of thirty-two clients.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use pcs_testkit::real::{Peer, Squid, Tinyproxy, Unavailable};
use pcs_testkit::{Origin, OriginKind, need};
use serde_json::Value;

use crate::clients::ask;
use crate::load::{End, Load, Request};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, member, silence_after, squid};

/// How many clients there are.
const CLIENTS: usize = 32;
/// Checks in a row that bring a proxy back: not the default, so that it is seen to count.
const SUCCESSES: u64 = 4;
/// How long a proxy that may be frozen is waited for, in seconds: long enough for one that is merely slow.
const SILENCE: u32 = 3;
/// How long the corporate proxy is away.
const OUTAGE: Duration = Duration::from_secs(30);
/// How soon after its return everything works again.
const RETURN: Duration = Duration::from_secs(1);

/// How a process goes away, and comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// SIGKILL, and another process: its port refuses meanwhile.
    Killed,
    /// SIGSTOP, and SIGCONT: it takes connections and says nothing.
    Frozen,
}

impl Way {
    fn away(self, peer: &mut Peer) {
        match self {
            Self::Killed => peer.kill(),
            Self::Frozen => peer.freeze(),
        }
    }

    fn back(self, peer: &mut Peer) {
        match self {
            Self::Killed => peer.restart().unwrap(),
            Self::Frozen => peer.thaw(),
        }
    }
}

/// Squid, and three tinyproxies behind it that leave from addresses of their own. All listen on addresses that
/// nobody else uses: their ports are still free when they come back.
struct Scene {
    first: Peer,
    members: Vec<Peer>,
    target: Origin,
    /// What health checks ask: no client does.
    health: Origin,
    pcs: Pcs,
}

impl Scene {
    /// For a proxy that goes away in this way; `net` is the third number of the addresses.
    async fn start(way: Way, net: u8) -> Result<Self, Unavailable> {
        let first = Squid::new()
            .listen(&format!("127.0.{net}.1"))
            .basic(CORPORATE.0, CORPORATE.1)
            .start()?;
        let (mut members, mut entries) = (Vec::new(), Vec::new());
        for n in 1..=3 {
            let peer = Tinyproxy::new()
                .listen(&format!("127.0.{net}.{}", 10 + n))
                .exit(&exit(net, n))
                .basic(ROTATING.0, ROTATING.1)
                .start()?;
            entries.push(member(&name(n), "http", peer.address(), Some(ROTATING)));
            members.push(peer);
        }
        let target = Origin::start(OriginKind::Http).await;
        let health = Origin::start(OriginKind::Http).await;
        let checks = format!(
            "health_check: {{interval_seconds: 0.5, timeout_seconds: {SILENCE}, failure_threshold: 2, \
             success_threshold: {SUCCESSES}, test_url: {:?}}}",
            health.url("/health")
        );
        let mut config = config(Some(&squid(&first)), &entries, "");
        if way == Way::Frozen {
            config = silence_after(&config, SILENCE);
        }
        let pcs = Pcs::start(&config.replace("health_check: {enabled: false}", &checks)).await;
        let scene = Self {
            first,
            members,
            target,
            health,
            pcs,
        };
        scene
            .pcs
            .until("all checked", |listed| {
                listed.iter().all(|proxy| successes(proxy) > 0)
            })
            .await;
        Ok(scene)
    }

    fn load(&self, pause: Duration) -> Load {
        Load::start(CLIENTS, pause, self.pcs.address(), self.target.address())
    }

    async fn until_one_is_unhealthy(&self) {
        let any = |listed: &[Value]| listed.iter().any(|proxy| proxy["healthy"] == false);
        self.pcs.until("unhealthy", any).await;
    }

    /// See [`Pcs::until`].
    async fn until_all_are_healthy(&self) -> (Vec<Value>, Instant) {
        let all = |listed: &[Value]| listed.iter().all(|proxy| proxy["healthy"] == true);
        self.pcs.until("healthy again", all).await
    }

    /// How many checks came from this exit in this time.
    fn checks(&self, exit: &str, from: Instant, to: Instant) -> u64 {
        let exit: IpAddr = exit.parse().unwrap();
        let arrivals = self.health.arrivals().into_iter();
        let between = arrivals.filter(|(at, peer)| peer.ip() == exit && (from..=to).contains(at));
        between.count().try_into().unwrap()
    }
}

fn name(n: usize) -> String {
    format!("tiny-{n}")
}

fn exit(net: u8, n: usize) -> String {
    format!("127.0.{net}.{}", 20 + n)
}

fn successes(proxy: &Value) -> u64 {
    proxy["health"]["consecutive_successes"].as_u64().unwrap()
}

/// Requests that the target did not answer.
fn failures(requests: &[Request]) -> Vec<&Request> {
    requests
        .iter()
        .filter(|request| request.exit().is_none())
        .collect()
}

/// One of three rotating proxies goes away and comes back.
async fn a_member_goes_and_comes(way: Way, net: u8) -> Result<(), Unavailable> {
    let mut scene = Scene::start(way, net).await?;
    let (lost, victim) = (exit(net, 1), name(1));
    let by_it = |request: &Request| request.exit() == Some(&*lost);
    let load = scene.load(Duration::from_millis(30));
    load.see("served by it", 50, by_it).await;
    way.away(&mut scene.members[0]);
    scene.until_one_is_unhealthy().await;
    // Traffic goes on over the rest, and over nobody else.
    let unhealthy = Instant::now();
    for n in 2..=3 {
        let rest = exit(net, n);
        load.see("served by the rest", 100, |request| {
            request.exit() == Some(&*rest)
        })
        .await;
    }
    let returns = Instant::now();
    way.back(&mut scene.members[0]);
    let (listed, still_unhealthy) = scene.until_all_are_healthy().await;
    let back = listed.iter().find(|proxy| proxy["id"] == victim).unwrap();
    assert!(successes(back) >= SUCCESSES, "believed before the checks said so");
    load.see("served by it again", 100, by_it).await;
    let requests = load.stop().await;
    let early = requests
        .iter()
        .filter(|request| request.began >= unhealthy && request.ended < still_unhealthy && by_it(request))
        .count();
    assert_eq!(early, 0, "requests through a proxy that is unhealthy");
    let again = requests
        .iter()
        .filter(|request| request.ended >= still_unhealthy && by_it(request));
    let used = again.map(|request| request.ended).min().unwrap();
    // The check that made it healthy may be the first of them.
    let checks = scene.checks(&lost, still_unhealthy, used);
    assert!(
        checks <= SUCCESSES + 1,
        "used again only {checks} checks after it was healthy, {:?} after",
        used - still_unhealthy
    );
    let failed = failures(&requests);
    let excused = |request: &&&Request| way == Way::Killed && request.end == End::Broken(victim.clone());
    let (broken, errors): (Vec<&Request>, Vec<&Request>) =
        failed.iter().copied().partition(|request| excused(&request));
    eprintln!(
        "{way:?}: {} requests, {} broke off in the dead proxy, {} other errors; healthy {:?} after its return, \
         used {:?} and {checks} checks later",
        requests.len(),
        broken.len(),
        errors.len(),
        still_unhealthy - returns,
        used - still_unhealthy,
    );
    assert!(errors.is_empty(), "clients saw {errors:?}");
    assert!(broken.len() <= CLIENTS, "more than one a client: {broken:?}");
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_is_killed_under_load_costs_only_what_it_was_handed() {
    need!(a_member_goes_and_comes(Way::Killed, 61).await);
}

#[tokio::test]
async fn a_proxy_that_freezes_under_load_costs_nothing() {
    need!(a_member_goes_and_comes(Way::Frozen, 62).await);
}

/// The corporate proxy goes away for [`OUTAGE`].
async fn the_corporate_proxy_goes_and_comes(way: Way, net: u8) -> Result<(), Unavailable> {
    let mut scene = Scene::start(way, net).await?;
    let load = scene.load(Duration::from_millis(100));
    load.see("served", 200, |request| request.exit().is_some()).await;
    let gone = Instant::now();
    way.away(&mut scene.first);
    while gone.elapsed() < OUTAGE {
        for proxy in scene.pcs.proxies().await {
            assert_eq!(
                (proxy["healthy"].as_bool(), proxy["circuit"].as_str()),
                (Some(true), Some("closed")),
                "{:?} into the outage: {proxy}",
                gone.elapsed()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    way.back(&mut scene.first);
    let back = Instant::now();
    let since = |request: &Request| request.began.checked_duration_since(back);
    load.see("served long after", 500, |request| {
        since(request) > Some(RETURN) && request.exit().is_some()
    })
    .await;
    for proxy in scene.pcs.proxies().await {
        assert_eq!(
            (proxy["healthy"].as_bool(), proxy["circuit"].as_str()),
            (Some(true), Some("closed")),
            "after the outage: {proxy}"
        );
    }
    let requests = load.stop().await;
    let failed = failures(&requests);
    // A tunnel that stood when Squid was killed broke off; everything else was told.
    let cut = |request: &&&Request| {
        request.began < gone && way == Way::Killed && matches!(request.end, End::Broken(_))
    };
    let told = |request: &Request| matches!(&request.end, End::Refused(502 | 504, hop) if hop == "corporate");
    let nameless: Vec<_> = failed
        .iter()
        .filter(|request| !told(request) && !cut(request))
        .collect();
    let late: Vec<_> = failed
        .iter()
        .filter(|request| since(request) > Some(RETURN))
        .collect();
    let served = requests.iter().filter(|request| request.exit().is_some());
    let served: Vec<_> = served
        .filter_map(|request| Some((since(request)?, request)))
        .collect();
    // By its beginning: how long one takes is a matter of the machine.
    let first = served.iter().map(|(since, _)| *since).min();
    let last = failed.iter().filter_map(|request| since(request)).max();
    eprintln!(
        "{way:?}: {} requests, {} told of the corporate proxy, {} cut in a tunnel; the first to be served began \
         {first:?} after its return, the last to fail began {last:?} after it",
        requests.len(),
        failed.iter().filter(|request| told(request)).count(),
        failed.iter().filter(cut).count(),
    );
    assert!(nameless.is_empty(), "of {}: {nameless:?}", failed.len());
    assert!(late.is_empty(), "{late:?}");
    // A proxy that goes on where it was stopped first works off what piled up in front of it.
    assert!(
        way == Way::Frozen || first.is_some_and(|first| first <= RETURN),
        "{first:?}"
    );
    assert!(
        failed.iter().filter(|request| told(request)).count() > CLIENTS,
        "the outage was seen"
    );
    let exits: BTreeSet<&str> = served.iter().filter_map(|(_, request)| request.exit()).collect();
    assert_eq!(exits.len(), 3, "full service is over all of them");
    Ok(())
}

#[tokio::test]
async fn a_corporate_proxy_that_is_killed_for_30_s_is_named_and_back_within_a_second() {
    need!(the_corporate_proxy_goes_and_comes(Way::Killed, 63).await);
}

#[tokio::test]
async fn a_corporate_proxy_that_freezes_for_30_s_is_named_and_back_within_a_second() {
    need!(the_corporate_proxy_goes_and_comes(Way::Frozen, 64).await);
}

#[tokio::test]
async fn a_session_moves_once_when_its_proxy_dies_and_does_not_move_back() {
    let mut scene = need!(Scene::start(Way::Killed, 65).await);
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nX-Proxy-Sticky-Session: s1\r\nConnection: close\r\n\r\n",
        scene.target.url("/ip")
    );
    let hundred = async |scene: &Scene| {
        let mut exits = Vec::new();
        for _ in 0..100 {
            let answer = ask(scene.pcs.address(), &request).await;
            assert_eq!(answer.status(), 200, "{answer:?}");
            exits.push(answer.body.trim().to_owned());
        }
        exits.dedup();
        exits
    };
    let exits = hundred(&scene).await;
    assert_eq!(exits.len(), 1, "one exit address: {exits:?}");
    let lost = (1..=3).find(|n| exit(65, *n) == exits[0]).unwrap();
    scene.members[lost - 1].kill();
    let others = hundred(&scene).await;
    assert_eq!(others.len(), 1, "a single other one from then on: {others:?}");
    assert_ne!(others, exits);
    scene.until_one_is_unhealthy().await;
    scene.members[lost - 1].restart().unwrap();
    scene.until_all_are_healthy().await;
    assert_eq!(hundred(&scene).await, others, "no fail-back");
    // It would be used: another session is.
    let deadline = Instant::now() + Duration::from_secs(60);
    for n in 0.. {
        let other = request.replace("s1", &format!("other-{n}"));
        if ask(scene.pcs.address(), &other).await.body.trim() == exits[0] {
            break;
        }
        assert!(Instant::now() < deadline, "no session picks it any more");
    }
}
