//! It heals itself: who is blamed, who is not, and how soon all is well again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy};
use serde_json::Value;

use crate::clients::{Answer, ask};
use crate::load::{End, Load, Request};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, corporate, member, silence_after};

/// A corporate proxy and `count` rotating ones that leave from addresses of their own, in front of a target.
struct Scene {
    first: Proxy,
    members: Vec<Proxy>,
    origin: Origin,
    pcs: Pcs,
}

/// Checks that find a change within a second, and one that says nothing within seven.
const QUICK: &str =
    "enabled: true, method: http, interval_seconds: 0.2, timeout_seconds: 3, failure_threshold: 2";
/// None at all: what real traffic shows has to do.
const NO_CHECKS: &str = "enabled: false";

impl Scene {
    async fn start(count: usize, checks: &str, more: &str) -> Self {
        Self::with(count, checks, more, str::to_owned).await
    }

    /// With a configuration that is changed before it is used.
    async fn with(count: usize, checks: &str, more: &str, change: impl Fn(&str) -> String) -> Self {
        let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
        let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
        let origin = Origin::start(OriginKind::Http).await;
        let mut members = Vec::new();
        let mut entries = Vec::new();
        for n in 1..=count {
            let exit = format!("127.0.0.{}", 110 + n);
            let proxy = Proxy::http()
                .basic(ROTATING.0, ROTATING.1)
                .exit(&exit)
                .start()
                .await;
            entries.push(member(
                &format!("rota-{n}"),
                "http",
                proxy.address(),
                Some(ROTATING),
            ));
            members.push(proxy);
        }
        let checks = format!(
            "health_check: {{{checks}, test_url: {:?}}}",
            origin.url("/health")
        );
        let config = change(&config(Some(&corporate), &entries, more));
        let pcs = Pcs::start(&config.replace("health_check: {enabled: false}", &checks)).await;
        Self {
            first,
            members,
            origin,
            pcs,
        }
    }

    /// A plain request for the exit it leaves from.
    async fn ask(&self) -> Answer {
        let url = self.origin.url("/ip");
        ask(
            self.pcs.address(),
            &format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await
    }
}

#[tokio::test]
async fn a_member_that_dies_is_left_out_and_used_again_when_it_is_back() {
    let scene = Scene::with(3, QUICK, "", |config| silence_after(config, 3)).await;
    scene
        .pcs
        .until("all healthy", |listed| {
            listed.iter().all(|proxy| proxy["healthy"] == true)
        })
        .await;
    for behaviour in [Behaviour::Refuse, Behaviour::HangAtAccept] {
        scene.members[1].behave(behaviour.clone());
        for _ in 0..12 {
            let answer = scene.ask().await;
            assert_eq!(
                answer.status(),
                200,
                "{behaviour:?} reaches the client: {answer:?}"
            );
        }
        scene
            .pcs
            .until("unhealthy", |listed| {
                listed.iter().any(|proxy| proxy["healthy"] == false)
            })
            .await;
        scene.members[1].behave(Behaviour::Good);
        scene
            .pcs
            .until("healthy again", |listed| {
                listed.iter().all(|proxy| proxy["healthy"] == true)
            })
            .await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while scene.ask().await.body != "127.0.0.112\n" {
            assert!(
                Instant::now() < deadline,
                "never used again after {behaviour:?}: {:?}",
                scene.pcs.proxies().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_corporate_proxy_that_is_away_is_blamed_alone() {
    let scene = Scene::start(3, QUICK, "").await;
    scene
        .pcs
        .until("all healthy", |listed| {
            listed.iter().all(|proxy| proxy["healthy"] == true)
        })
        .await;
    scene.first.kill();
    scene.first.behave(Behaviour::Refuse);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        let answer = scene.ask().await;
        assert_eq!(
            (answer.status(), answer.problem("hop").as_str()),
            (502, "corporate"),
            "{answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for proxy in scene.pcs.proxies().await {
        assert_eq!(
            (&proxy["healthy"], proxy["circuit"].as_str()),
            (&Value::Bool(true), Some("closed")),
            "{proxy}"
        );
    }
    scene.first.behave(Behaviour::Good);
    let back = Instant::now();
    while scene.ask().await.status() != 200 {
        assert!(back.elapsed() < Duration::from_secs(30), "not back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_thousand_requests_to_a_dead_target_open_no_breaker() {
    let scene = Scene::start(10, QUICK, "circuit_breaker: {failure_threshold: 2}").await;
    let (dead, _kept) = pcs_testkit::refusing_address();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let proxy = scene.pcs.address();
        clients.spawn(async move {
            for n in 0..100 {
                let answer = if n % 2 == 0 {
                    ask(proxy, &format!("CONNECT {dead} HTTP/1.1\r\nHost: {dead}\r\n\r\n")).await
                } else {
                    ask(
                        proxy,
                        &format!("GET http://{dead}/ HTTP/1.1\r\nHost: {dead}\r\nConnection: close\r\n\r\n"),
                    )
                    .await
                };
                assert_eq!(answer.status(), 502, "{answer:?}");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    for proxy in scene.pcs.proxies().await {
        assert_eq!(proxy["circuit"], "closed", "{proxy}");
    }
    assert_eq!(scene.ask().await.status(), 200);
}

#[tokio::test]
async fn members_that_lie_are_found_out_without_health_checks() {
    let more = "circuit_breaker: {failure_threshold: 3, timeout_seconds: 1.5}";
    let scene = Scene::start(3, NO_CHECKS, more).await;
    scene.members[0].behave(Behaviour::Status(503));
    let target = scene.origin.address().to_string();
    scene.members[2].behave(Behaviour::StatusFor {
        target: "elsewhere.test".to_owned(),
        status: 503,
    });
    for _ in 0..30 {
        let answer = ask(
            scene.pcs.address(),
            &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    let opened = scene
        .pcs
        .proxies()
        .await
        .iter()
        .any(|proxy| proxy["circuit"] != "closed");
    assert!(
        opened,
        "thirty requests did not open the breaker of a member that answers 503 to each"
    );
    scene.members[0].behave(Behaviour::Good);
    let deadline = Instant::now() + Duration::from_secs(60);
    while scene
        .pcs
        .proxies()
        .await
        .iter()
        .any(|proxy| proxy["circuit"] != "closed")
    {
        assert!(
            Instant::now() < deadline,
            "never closed again: {:?}",
            scene.pcs.proxies().await
        );
        assert_eq!(scene.ask().await.status(), 200);
    }
}

/// Thirty-two clients that ask for one target each of two, by turns through tunnels and by plain requests.
struct Crowd {
    near: Load,
    far: Load,
}

impl Crowd {
    fn start(scene: &Scene, far: &Origin) -> Self {
        let load = |target| Load::start(16, Duration::from_millis(20), scene.pcs.address(), target);
        Self {
            near: load(scene.origin.address()),
            far: load(far.address()),
        }
    }

    /// Waits until each half saw so many requests that began from now on served.
    async fn see_served(&self, count: usize) {
        for half in [&self.near, &self.far] {
            half.see("served", count, |request| request.exit().is_some())
                .await;
        }
    }

    /// What went wrong for anybody.
    async fn errors(self) -> Vec<Request> {
        let mut requests = self.near.stop().await;
        requests.extend(self.far.stop().await);
        requests.retain(|request| request.exit().is_none());
        requests
    }
}

impl Scene {
    async fn circuits(&self) -> Vec<String> {
        let listed = self.pcs.proxies().await;
        let circuits = listed
            .iter()
            .map(|proxy| proxy["circuit"].as_str().unwrap().to_owned());
        circuits.collect()
    }
}

/// One of three members lies, and tells the truth again: what went wrong for clients. Whether its breaker `opens` by
/// the lie or not, nobody else's does.
async fn one_lies_to_a_crowd(lie: impl Fn(SocketAddr) -> Behaviour, opens: bool) -> Vec<Request> {
    let more = "circuit_breaker: {failure_threshold: 3, timeout_seconds: 1}";
    let scene = Scene::start(3, NO_CHECKS, more).await;
    let far = Origin::start(OriginKind::Http).await;
    let crowd = Crowd::start(&scene, &far);
    crowd.see_served(50).await;
    scene.members[0].behave(lie(far.address()));
    if opens {
        scene
            .pcs
            .until("found out", |listed| listed[0]["circuit"] != "closed")
            .await;
    }
    crowd.see_served(200).await;
    assert_eq!(
        scene.circuits().await[1..],
        ["closed", "closed"],
        "those that tell the truth"
    );
    scene.members[0].behave(Behaviour::Good);
    scene
        .pcs
        .until("forgiven", |listed| {
            listed.iter().all(|proxy| proxy["circuit"] == "closed")
        })
        .await;
    let before = scene.members[0].targets().len();
    crowd.see_served(50).await;
    assert!(scene.members[0].targets().len() > before, "used again");
    crowd.errors().await
}

#[tokio::test]
async fn a_member_that_says_200_and_resets_is_found_out_under_32_clients() {
    // Longer than the test: once found out, it is not tried again.
    let more = "circuit_breaker: {failure_threshold: 3, timeout_seconds: 600}";
    let scene = Scene::start(3, NO_CHECKS, more).await;
    let mut targets = Vec::new();
    for _ in 0..4 {
        targets.push(Origin::start(OriginKind::Http).await);
    }
    let addresses: Vec<SocketAddr> = targets.iter().map(Origin::address).collect();
    let load = Load::tunnels(32, Duration::from_millis(20), scene.pcs.address(), &addresses);
    let of_all = |request: &Request| request.exit().is_some();
    load.see("served", 100, of_all).await;
    scene.members[0].behave(Behaviour::SuccessThenReset);
    scene
        .pcs
        .until("found out", |listed| listed[0]["circuit"] == "open")
        .await;
    load.see("served", 200, of_all).await;
    let found_out = Instant::now();
    load.see("served", 400, of_all).await;
    assert_eq!(scene.circuits().await, ["open", "closed", "closed"]);
    let mut requests = load.stop().await;
    let count = requests.len();
    requests.retain(|request| !of_all(request));
    eprintln!("{count} tunnels, {} lost in the liar", requests.len());
    // What was handed to it by a 200 is lost; nobody is told no, and nobody meets it once it is found out.
    let lost = End::Broken("rota-1".to_owned());
    let others: Vec<_> = requests.iter().filter(|request| request.end != lost).collect();
    assert_eq!(others.len(), 0, "{others:?}");
    assert!(!requests.is_empty(), "it never lied");
    let late = requests
        .iter()
        .filter(|request| request.began >= found_out)
        .count();
    assert_eq!(late, 0, "it went on lying");
}

#[tokio::test]
async fn a_member_that_says_503_costs_no_one_of_32_clients_an_error() {
    let all = |_| Behaviour::Status(503);
    let one = |far: SocketAddr| Behaviour::StatusFor {
        target: far.to_string(),
        status: 503,
    };
    // For one target only: what it does for the other target in between keeps its breaker closed, or not.
    assert_eq!(one_lies_to_a_crowd(all, true).await.len(), 0);
    let errors = one_lies_to_a_crowd(one, false).await;
    assert_eq!(errors.len(), 0, "{errors:?}");
}

#[tokio::test]
async fn a_corporate_502_for_all_members_is_nobodys_under_32_clients() {
    let more = "circuit_breaker: {failure_threshold: 3, timeout_seconds: 1}";
    let scene = Scene::start(3, NO_CHECKS, more).await;
    let far = Origin::start(OriginKind::Http).await;
    let crowd = Crowd::start(&scene, &far);
    crowd.see_served(50).await;
    scene.first.behave(Behaviour::Status(502));
    for half in [&crowd.near, &crowd.far] {
        half.see("refused", 200, |request| {
            matches!(request.end, End::Refused(502, _))
        })
        .await;
    }
    assert_eq!(scene.circuits().await, ["closed"; 3]);
    scene.first.behave(Behaviour::Good);
    crowd.see_served(50).await;
    let back = Instant::now();
    crowd.see_served(200).await;
    assert_eq!(scene.circuits().await, ["closed"; 3]);
    let errors = crowd.errors().await;
    let late = errors.iter().filter(|request| request.began >= back).count();
    assert_eq!(late, 0, "failed after its return");
    let other: Vec<_> = errors
        .iter()
        .filter(|request| !matches!(&request.end, End::Refused(502, hop) if hop.starts_with("rota-") || hop == "corporate"))
        .collect();
    assert_eq!(other.len(), 0, "{other:?}");
}
