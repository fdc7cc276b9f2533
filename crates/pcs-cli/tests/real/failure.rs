//! The chain is broken: the client is told where, and nothing finds another way.

use std::time::Duration;

use pcs_testkit::real::{Squid, Tinyproxy, find};
use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy, need};

use crate::clients::{Answer, ask, curl, socks};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, corporate, member, silence_after, squid};

/// One try each: what happens to the client is to be seen, not what other members make up for.
const NO_RETRY: &str = "retry: {enabled: false}\ncircuit_breaker: {enabled: false}\nlogging: {level: DEBUG}";

/// Asks for the target as a tunnel, as a plain request and over SOCKS5, all at once: the two answers, and the SOCKS
/// reply.
async fn ask_thrice(pcs: &Pcs, origin: &Origin) -> (Answer, Answer, u8) {
    let target = origin.address().to_string();
    let tunnel = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let plain = format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n\r\n");
    tokio::join!(
        ask(pcs.address(), &tunnel),
        ask(pcs.address(), &plain),
        socks(pcs.address(), &target),
    )
}

/// A `pcs` that waits for hops no longer than it has to, where a hop that says nothing is what is tried.
async fn start(corporate: &str, members: &[String], status: u16) -> Pcs {
    let config = config(Some(corporate), members, NO_RETRY);
    if status == 504 {
        // A plain request has the whole budget.
        let config = config.replace("timeout_seconds: 10,", "timeout_seconds: 5,");
        Pcs::start(&silence_after(&config, 3)).await
    } else {
        Pcs::start(&config).await
    }
}

/// Both answers have this status and name one of these hops, and the target was left alone.
async fn assert_failure(pcs: &Pcs, origin: &Origin, status: u16, hops: &[&str], what: &str) {
    let (tunnel, plain, reply) = ask_thrice(pcs, origin).await;
    for answer in [&tunnel, &plain] {
        assert_eq!(answer.status(), status, "{what}: {answer:?}");
        assert!(
            hops.contains(&answer.problem("hop").as_str()),
            "{what}, not {hops:?}: {answer:?}"
        );
        assert_eq!(answer.problem("status"), status.to_string(), "{what}");
        let proxy_status = answer.field("proxy-status").unwrap_or_default();
        assert!(
            proxy_status.starts_with("pcs") && proxy_status.contains("error="),
            "{what}: {proxy_status}"
        );
        assert_eq!(
            answer.field("proxy-authenticate"),
            None,
            "{what}: the hop's challenge is passed on"
        );
    }
    assert_ne!(reply, 0, "{what}: SOCKS says it went well");
    assert_eq!(origin.accepted(), 0, "{what}: the target saw a connection");
}

/// Every way to fail, and the status it gives.
fn ways() -> Vec<(Behaviour, u16)> {
    vec![
        (Behaviour::Refuse, 502),
        (Behaviour::HangAtAccept, 504),
        (Behaviour::HangAtRequest, 504),
        (Behaviour::ResetAtAccept, 502),
        (Behaviour::CloseAtAccept, 502),
        (Behaviour::CloseAtRequest, 502),
        (Behaviour::ResetAtRequest, 502),
        (Behaviour::Garbage, 502),
        (Behaviour::HugeHead, 502),
        (Behaviour::Dribble(Duration::from_millis(300)), 504),
        (Behaviour::Status(407), 502),
        (Behaviour::Status(403), 502),
        (Behaviour::AnswerWith(b"HTTP/1.1 200 OK".to_vec()), 504),
    ]
}

#[tokio::test]
async fn a_corporate_proxy_that_fails_is_named_and_the_target_sees_no_connection() {
    for (behaviour, status) in ways() {
        let what = format!("corporate {behaviour:?}");
        let origin = Origin::start(OriginKind::Http).await;
        let first = Proxy::http()
            .basic(CORPORATE.0, CORPORATE.1)
            .behaviour(behaviour.clone())
            .start()
            .await;
        let second = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
        let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
        let members = [member("rota-1", "http", second.address(), Some(ROTATING))];
        let pcs = start(&corporate, &members, status).await;
        // A corporate proxy that is slow may be waiting for the rotating one: then either may be named.
        let hops = if status == 504 {
            &["corporate", "rota-1"][..]
        } else {
            &["corporate"]
        };
        assert_failure(&pcs, &origin, status, hops, &what).await;
        assert_eq!(
            second.targets(),
            Vec::<String>::new(),
            "{what}: the second hop was asked without the first"
        );
    }
}

#[tokio::test]
async fn a_rotating_proxy_that_fails_is_named_and_the_target_sees_no_connection() {
    for (behaviour, status) in ways() {
        let what = format!("rotating {behaviour:?}");
        // What the corporate proxy says of a rotating one that refuses is 502; the blame is the latter's.
        let origin = Origin::start(OriginKind::Http).await;
        let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
        let second = Proxy::http()
            .basic(ROTATING.0, ROTATING.1)
            .behaviour(behaviour.clone())
            .start()
            .await;
        // A plain request sees what an HTTP hop answers it; only failures are of interest here.
        if matches!(
            behaviour,
            Behaviour::Status(403) | Behaviour::AnswerWith(_) | Behaviour::Dribble(_)
        ) {
            continue;
        }
        let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
        let members = [member("rota-1", "http", second.address(), Some(ROTATING))];
        let pcs = start(&corporate, &members, status).await;
        assert_failure(&pcs, &origin, status, &["rota-1"], &what).await;
        let through = format!("{}", second.address());
        assert!(
            first.targets().iter().all(|target| *target == through),
            "{what}: {:?}",
            first.targets()
        );
    }
}

#[tokio::test]
async fn real_proxies_that_are_stopped_are_named() {
    need!(find("curl", "curl"));
    let mut first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let mut second = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Http).await;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, NO_RETRY)).await;
    second.stop();
    assert_failure(&pcs, &origin, 502, &["tiny-1"], "the rotating proxy is stopped").await;
    first.stop();
    assert_failure(
        &pcs,
        &origin,
        502,
        &["corporate"],
        "the corporate proxy is stopped",
    )
    .await;
    let said = curl(&[
        "-x",
        &pcs.url(),
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{http_connect}",
        "https://127.0.0.1:1/",
    ])
    .await;
    assert!(!said.ok && said.out == "000 502", "{said:?}");
}

#[tokio::test]
async fn wrong_credentials_are_told_by_hop_and_never_by_a_407_of_the_hop() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(Squid::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Http).await;
    let right = member("squid-1", "http", second.address(), Some(ROTATING));
    let wrong = member("squid-1", "http", second.address(), Some((ROTATING.0, "not-it")));
    let pcs = Pcs::start(&config(Some(&squid(&first)), &[wrong], NO_RETRY)).await;
    assert_failure(&pcs, &origin, 502, &["squid-1"], "a wrong rotating password").await;
    let corporate = corporate("http", first.address(), Some((CORPORATE.0, "not-it")), &[]);
    let pcs = Pcs::start(&config(Some(&corporate), &[right], NO_RETRY)).await;
    assert_failure(&pcs, &origin, 502, &["corporate"], "a wrong corporate password").await;
}

#[tokio::test]
async fn a_wrong_ntlm_password_is_told_by_hop() {
    let first = need!(Squid::new().ntlm("CORP", CORPORATE.0, CORPORATE.1).start());
    let second = need!(Tinyproxy::new().start());
    let origin = Origin::start(OriginKind::Http).await;
    let corporate = corporate(
        "http",
        first.address(),
        Some((CORPORATE.0, "not-it")),
        &[("domain", "CORP")],
    );
    let members = [member("tiny-1", "http", second.address(), None)];
    let pcs = Pcs::start(&config(Some(&corporate), &members, NO_RETRY)).await;
    assert_failure(&pcs, &origin, 502, &["corporate"], "a wrong NTLM password").await;
    assert!(
        first.log().contains("NA NTProofStr does not fit"),
        "{}",
        first.log()
    );
}

#[tokio::test]
async fn a_target_that_refuses_is_called_the_target() {
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let origin = Origin::start(OriginKind::Http).await;
    origin.refuse();
    let second = Proxy::socks5().basic(ROTATING.0, ROTATING.1).start().await;
    let members = [member("rota-1", "socks5", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, NO_RETRY)).await;
    let (tunnel, plain, reply) = ask_thrice(&pcs, &origin).await;
    for answer in [tunnel, plain] {
        assert_eq!(
            (answer.status(), answer.problem("hop").as_str()),
            (502, "target"),
            "{answer:?}"
        );
    }
    assert_eq!(reply, 5, "connection refused");
}
