//! Which exit the target sees.

use pcs_testkit::real::{Microsocks, Squid, Tinyproxy, find};
use pcs_testkit::{Origin, OriginKind, need};

use crate::clients::curl_text;
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
        peers.push(peer);
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
}
