//! Which exit the target sees.

use pcs_testkit::real::{Microsocks, Squid, Tinyproxy, find};
use pcs_testkit::{Origin, OriginKind, need};

use crate::clients::{curl_text, run};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, member, squid};

#[tokio::test]
async fn round_robin_over_three_real_proxies_shows_the_target_a_b_c_a_b_c() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let a = need!(
        Tinyproxy::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.51")
            .start()
    );
    let b = need!(
        Squid::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.52")
            .start()
    );
    let c = need!(
        Microsocks::new()
            .login(ROTATING.0, ROTATING.1)
            .exit("127.0.0.53")
            .start()
    );
    let origin = Origin::start(OriginKind::Http).await;
    let members = [
        member("a", "http", a.address(), Some(ROTATING)),
        member("b", "http", b.address(), Some(ROTATING)),
        member("c", "socks5", c.address(), Some(ROTATING)),
    ];
    let config = config(Some(&squid(&first)), &members, "");
    let url = origin.url("/ip");
    let twice = "127.0.0.51 127.0.0.52 127.0.0.53 127.0.0.51 127.0.0.52 127.0.0.53";

    let pcs = Pcs::start(&config).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(curl_text(&["-x", &pcs.url(), "-p", &url]).await.trim().to_owned());
    }
    assert_eq!(seen.join(" "), twice, "one tunnel each");
    let proxies: Vec<String> = pcs
        .accesses(6)
        .await
        .iter()
        .map(|access| access["proxy"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(proxies, ["a", "b", "c", "a", "b", "c"]);

    let pcs = Pcs::start(&config).await;
    let said = curl_text(&["-x", &pcs.url(), &url, &url, &url, &url, &url, &url]).await;
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>().join(" "),
        twice,
        "one kept client connection"
    );
}

#[tokio::test]
async fn a_session_keeps_its_exit_and_another_may_have_another() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let mut members = Vec::new();
    let mut peers = Vec::new();
    for n in 1..=3 {
        let exit = format!("127.0.0.{}", 60 + n);
        let peer = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).exit(&exit).start());
        members.push(member(
            &format!("tiny-{n}"),
            "http",
            peer.address(),
            Some(ROTATING),
        ));
        peers.push((exit, peer));
    }
    let origin = Origin::start(OriginKind::Http).await;
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    let proxy = |session: &str| format!("http://me-session-{session}:x@{}", pcs.address());
    let url = origin.url("/ip");
    let exit = curl_text(&["-x", &proxy("s1"), &url]).await.trim().to_owned();
    for _ in 0..10 {
        assert_eq!(curl_text(&["-x", &proxy("s1"), &url]).await.trim(), exit);
        let header = "X-Proxy-Sticky-Session: s1";
        let tunnel = curl_text(&["-x", &pcs.url(), "-p", "--proxy-header", header, &url]).await;
        assert_eq!(tunnel.trim(), exit, "header and user name are one session");
    }
    let mut others = std::collections::BTreeSet::new();
    for n in 0..12 {
        others.insert(curl_text(&["-x", &proxy(&format!("other-{n}")), &url]).await);
    }
    assert!(others.len() > 1, "twelve sessions on one exit: {others:?}");
    // Its proxy dies: one other exit from then on.
    let (_, peer) = peers.iter_mut().find(|(address, _)| *address == exit).unwrap();
    peer.stop();
    let next = curl_text(&["-x", &proxy("s1"), &url]).await.trim().to_owned();
    assert_ne!(next, exit);
    for _ in 0..5 {
        assert_eq!(curl_text(&["-x", &proxy("s1"), &url]).await.trim(), next);
    }
}

#[tokio::test]
async fn a_proxy_that_dies_under_load_costs_no_client_an_error() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let mut members = Vec::new();
    let mut peers = Vec::new();
    for n in 1..=3 {
        let peer = need!(
            Tinyproxy::new()
                .basic(ROTATING.0, ROTATING.1)
                .exit(&format!("127.0.0.{}", 70 + n))
                .start()
        );
        members.push(member(
            &format!("tiny-{n}"),
            "http",
            peer.address(),
            Some(ROTATING),
        ));
        peers.push(peer);
    }
    let origin = Origin::start(OriginKind::Http).await;
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (proxy, url) = (pcs.url(), origin.url("/ip"));
        clients.spawn(async move {
            let mut errors = Vec::new();
            for _ in 0..20 {
                let mut command = std::process::Command::new("curl");
                command.args(["-sS", "-f", "-m", "8", "-p", "-x", &proxy, &url]);
                let said = run(command).await;
                if !said.ok {
                    errors.push(said.err);
                }
            }
            errors
        });
    }
    // Refuses at first; then another hangs.
    pcs.accesses(20).await;
    peers.remove(0).stop();
    pcs.accesses(60).await;
    peers[0].freeze();
    let mut errors = Vec::new();
    while let Some(client) = clients.join_next().await {
        errors.extend(client.unwrap());
    }
    peers[0].thaw();
    // A tunnel that stood when its proxy died is lost, at most one a client and death; no new one may be refused.
    assert!(errors.len() <= 16, "{errors:?}");
    let refused: Vec<&String> = errors.iter().filter(|error| error.contains("CONNECT")).collect();
    assert_eq!(refused, Vec::<&String>::new());
}
