//! One call of curl through two real hops, in every mix of protocols and credentials.

use pcs_testkit::real::{Dante, Microsocks, Peer, Squid, Stunnel, Tinyproxy, find};
use pcs_testkit::{Origin, OriginKind, TestCa, need};

use crate::clients::{ask, curl_text};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, corporate, member, squid};

/// A plain and a TLS target, with the authority that vouches for the latter.
struct Targets {
    ca: TestCa,
    plain: Origin,
    tls: Origin,
}

impl Targets {
    async fn start() -> Self {
        let ca = TestCa::new();
        let plain = Origin::start(OriginKind::Http).await;
        let tls = Origin::start_tls(OriginKind::Http, &ca.issue(&["127.0.0.1", "localhost"])).await;
        Self { ca, plain, tls }
    }

    /// Fetches `/ip` of both by HTTP proxying and by SOCKS with names, and wants to see this exit each time.
    async fn see_exit(&self, pcs: &Pcs, exit: &str) {
        let file = self.ca.file();
        let ca = ["--cacert", file.to_str().unwrap()];
        let socks = pcs.address().to_string();
        let exit = format!("{exit}\n");
        let plain = self.plain.url("/ip");
        let tls = self.tls.url("/ip");
        assert_eq!(curl_text(&["-x", &pcs.url(), &plain]).await, exit);
        assert_eq!(curl_text(&["-x", &pcs.url(), ca[0], ca[1], &tls]).await, exit);
        let both = curl_text(&["-x", &pcs.url(), ca[0], ca[1], &plain, &tls]).await;
        assert_eq!(both, format!("{exit}{exit}"), "http and https in one call");
        let plain = plain.replace("127.0.0.1", "localhost");
        let tls = tls.replace("127.0.0.1", "localhost");
        assert_eq!(curl_text(&["--socks5-hostname", &socks, &plain]).await, exit);
        assert_eq!(
            curl_text(&["--socks5-hostname", &socks, ca[0], ca[1], &tls]).await,
            exit
        );
        for head in self.plain.heads().iter().chain(&self.tls.heads()) {
            let names: Vec<String> = head
                .fields()
                .iter()
                .map(|(name, _)| name.to_lowercase())
                .collect();
            let leaks = names
                .iter()
                .filter(|name| name.starts_with("proxy-") || name.starts_with("x-proxy"));
            assert_eq!(leaks.count(), 0, "{head:?}");
            assert!(
                !names
                    .iter()
                    .any(|name| name.starts_with("x-forwarded") || name == "forwarded"),
                "{head:?}"
            );
        }
        assert!(
            self.plain
                .peers()
                .iter()
                .chain(&self.tls.peers())
                .all(|peer| exit.contains(&peer.ip().to_string()))
        );
    }
}

/// Every tunnel went through the corporate proxy, and led to the rotating one alone.
fn assert_corporate_saw_only(squid: &Peer, rotating: &Peer) {
    let log = squid.log();
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("TCP_")).collect();
    let wanted = format!("CONNECT {}", rotating.address());
    assert!(
        !requests.is_empty() && requests.iter().all(|line| line.contains(&wanted)),
        "{log}"
    );
}

#[tokio::test]
async fn squid_then_tinyproxy_with_two_different_credentials() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(
        Tinyproxy::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.41")
            .start()
    );
    let targets = Targets::start().await;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    targets.see_exit(&pcs, "127.0.0.41").await;
    assert_corporate_saw_only(&first, &second);
    for access in pcs.accesses(6).await {
        assert_eq!(
            (access["proxy"].as_str(), access["attempts"].as_u64()),
            (Some("tiny-1"), Some(1)),
            "{access}"
        );
    }
}

#[tokio::test]
async fn squid_then_squid_with_two_different_credentials() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(
        Squid::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.42")
            .start()
    );
    let targets = Targets::start().await;
    let members = [member("squid-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    targets.see_exit(&pcs, "127.0.0.42").await;
    assert_corporate_saw_only(&first, &second);
}

#[tokio::test]
async fn ntlm_corporate_then_basic_rotating_then_https_in_one_call() {
    need!(find("curl", "curl"));
    let first = need!(Squid::new().ntlm("CORP", CORPORATE.0, CORPORATE.1).start());
    let second = need!(
        Tinyproxy::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.43")
            .start()
    );
    let targets = Targets::start().await;
    // The scheme is found out, then forced: both have to work.
    for more in [&[("domain", "CORP")][..], &[("domain", "CORP"), ("auth", "ntlm")]] {
        let corporate = corporate("http", first.address(), Some(CORPORATE), more);
        let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
        let pcs = Pcs::start(&config(Some(&corporate), &members, "")).await;
        targets.see_exit(&pcs, "127.0.0.43").await;
    }
    let log = first.log();
    assert!(log.contains(&format!("AF {}", CORPORATE.0)), "{log}");
    assert!(!log.contains("NA "), "the helper found fault:\n{log}");
}

#[tokio::test]
async fn an_ntlm_corporate_proxy_alone_forwards_plain_requests() {
    need!(find("curl", "curl"));
    let first = need!(
        Squid::new()
            .ntlm("CORP", CORPORATE.0, CORPORATE.1)
            .exit("127.0.0.44")
            .start()
    );
    let targets = Targets::start().await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[("domain", "CORP")]);
    // A pool that was named and is empty is no shorter chain: it is 503.
    let pcs = Pcs::start(&config(Some(&corporate), &[], "")).await;
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", targets.plain.url("/"));
    let answer = ask(pcs.address(), &request).await;
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert_eq!(targets.plain.accepted(), 0);
    // A route may say that the corporate proxy is enough.
    let routed = config(
        Some(&corporate),
        &[],
        "routes: [{hosts: [\"*\"], via: corporate}]",
    );
    let pcs = Pcs::start(&routed).await;
    targets.see_exit(&pcs, "127.0.0.44").await;
}

#[tokio::test]
async fn a_tls_hop_is_proven_by_the_authority_of_the_configuration() {
    need!(find("curl", "curl"));
    let targets = Targets::start().await;
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let outer = need!(Stunnel::new(&targets.ca.issue(&["proxy.corp.test"]), first.address()).start());
    let second = need!(
        Squid::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.45")
            .start()
    );
    let inner = need!(Stunnel::new(&targets.ca.issue(&["127.0.0.1"]), second.address()).start());
    let file = targets.ca.file();
    let tls = format!(
        "{{ca_file: {:?}, server_name: proxy.corp.test}}",
        file.display().to_string()
    );
    let corporate_over_tls = corporate("https", outer.address(), Some(CORPORATE), &[("tls", &tls)]);
    let tls = format!(", tls: {{ca_file: {:?}}}}}", file.display().to_string());
    let over_tls = member("inner", "https", inner.address(), Some(ROTATING)).replace('}', &tls);
    // TLS to the first hop, and within it TLS to the second.
    let pcs = Pcs::start(&config(Some(&corporate_over_tls), &[over_tls], "")).await;
    targets.see_exit(&pcs, "127.0.0.45").await;
    drop(pcs);
    // Without the authority the hop is not believed, and nothing else is tried.
    let unproven = corporate("https", outer.address(), Some(CORPORATE), &[]);
    let members = [member("squid-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&unproven), &members, "")).await;
    let before = targets.plain.accepted();
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", targets.plain.url("/ip"));
    let answer = ask(pcs.address(), &request).await;
    assert_eq!(
        (answer.status(), answer.problem("hop").as_str()),
        (502, "corporate"),
        "{answer:?}"
    );
    assert_eq!(targets.plain.accepted(), before);
}

#[tokio::test]
async fn dante_then_microsocks_with_a_password() {
    need!(find("curl", "curl"));
    let first = need!(Dante::new().start());
    let second = need!(
        Microsocks::new()
            .login(ROTATING.0, ROTATING.1)
            .exit("127.0.0.46")
            .start()
    );
    let targets = Targets::start().await;
    for protocol in ["socks4", "socks5"] {
        let corporate = corporate(protocol, first.address(), None, &[]);
        let members = [member("micro-1", "socks5", second.address(), Some(ROTATING))];
        let pcs = Pcs::start(&config(Some(&corporate), &members, "")).await;
        targets.see_exit(&pcs, "127.0.0.46").await;
    }
}

#[tokio::test]
async fn squid_then_socks_and_socks_then_tinyproxy() {
    need!(find("curl", "curl"));
    let targets = Targets::start().await;
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(
        Microsocks::new()
            .login(ROTATING.0, ROTATING.1)
            .exit("127.0.0.47")
            .start()
    );
    let members = [member("micro-1", "socks5", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    targets.see_exit(&pcs, "127.0.0.47").await;

    let targets = Targets::start().await;
    let first = need!(Dante::new().start());
    let second = need!(
        Tinyproxy::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.48")
            .start()
    );
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let corporate = corporate("socks5", first.address(), None, &[]);
    let pcs = Pcs::start(&config(Some(&corporate), &members, "")).await;
    targets.see_exit(&pcs, "127.0.0.48").await;
}

#[tokio::test]
async fn plain_mode_forwards_by_itself_and_warns_once() {
    need!(find("curl", "curl"));
    let targets = Targets::start().await;
    let pcs = Pcs::start("server: {port: 0}\nmetrics: {port: 0}\nadmin: {port: 0}\n").await;
    targets.see_exit(&pcs, "127.0.0.1").await;
    let warnings = pcs
        .events()
        .iter()
        .filter(|event| event["level"] == "WARN")
        .count();
    assert_eq!(warnings, 1, "{}", pcs.log());
}
