//! The real peers start, work with curl, and end.

use std::process::Command;
use std::time::Duration;

use pcs_testkit::real::{
    Dante, Microsocks, Peer, Prometheus, Squid, Stunnel, Tinyproxy, check_metrics, find,
};
use pcs_testkit::{Origin, OriginKind, TestCa, need};

/// What curl says, without the proxy settings of the machine.
async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20"]).args(arguments);
    command.env_clear().env("PATH", "/usr/bin:/bin");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn http(origin: &Origin, peer: &Peer, login: &str) -> String {
    let proxy = format!("http://{login}{}", peer.address());
    curl(&["-x", &proxy, &origin.url("/ip")]).await
}

#[tokio::test]
async fn squid_asks_for_basic_and_leaves_from_its_exit() {
    need!(find("curl", "curl"));
    let squid = need!(Squid::new().basic("user", "pa:ss").exit("127.0.0.31").start());
    let origin = Origin::start(OriginKind::Http).await;
    assert_eq!(
        http(&origin, &squid, "user:pa%3ass@").await,
        "127.0.0.31\n",
        "{}",
        squid.log()
    );
    assert!(!http(&origin, &squid, "user:wrong@").await.contains("127.0.0.31"));
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn squid_asks_for_ntlm_and_its_helper_refuses_who_sends_no_mic() {
    need!(find("curl", "curl"));
    let squid = need!(Squid::new().ntlm("CORP", "user", "secret").start());
    let origin = Origin::start(OriginKind::Http).await;
    let proxy = format!("http://{}", squid.address());
    // curl computes NTProofStr but no MIC, so the helper must get as far as that and refuse.
    let url = origin.url("/ip");
    curl(&["--proxy-ntlm", "-x", &proxy, "-U", "CORP\\user:secret", &url]).await;
    curl(&["--proxy-ntlm", "-x", &proxy, "-U", "CORP\\user:wrong", &url]).await;
    let log = squid.log();
    assert!(
        log.contains("NA an LM response beside a timestamp") || log.contains("NA a timestamp asks for a MIC"),
        "{log}"
    );
    assert!(log.contains("NA NTProofStr does not fit"), "{log}");
    assert_eq!(origin.accepted(), 0);
}

#[tokio::test]
async fn tinyproxy_asks_for_basic_and_leaves_from_its_exit() {
    need!(find("curl", "curl"));
    let mut tinyproxy = need!(Tinyproxy::new().basic("user", "pass").exit("127.0.0.32").start());
    let origin = Origin::start(OriginKind::Http).await;
    assert_eq!(
        http(&origin, &tinyproxy, "user:pass@").await,
        "127.0.0.32\n",
        "{}",
        tinyproxy.log()
    );
    tinyproxy.stop();
    assert!(http(&origin, &tinyproxy, "user:pass@").await.contains("connect"));
}

#[tokio::test]
async fn socks_proxies_work() {
    need!(find("curl", "curl"));
    let microsocks = need!(Microsocks::new().login("user", "pass").exit("127.0.0.33").start());
    let dante = need!(Dante::new().start());
    let origin = Origin::start(OriginKind::Http).await;
    let url = origin.url("/ip");
    let proxy = format!("socks5h://user:pass@{}", microsocks.address());
    assert_eq!(
        curl(&["-x", &proxy, &url]).await,
        "127.0.0.33\n",
        "{}",
        microsocks.log()
    );
    for scheme in ["socks4", "socks5h"] {
        let proxy = format!("{scheme}://{}", dante.address());
        assert_eq!(
            curl(&["-x", &proxy, &url]).await,
            "127.0.0.1\n",
            "{}",
            dante.log()
        );
    }
}

#[tokio::test]
async fn stunnel_puts_tls_in_front_of_squid() {
    need!(find("curl", "curl"));
    let ca = TestCa::new();
    let squid = need!(Squid::new().start());
    let stunnel = need!(Stunnel::new(&ca.issue(&["127.0.0.1"]), squid.address()).start());
    let origin = Origin::start(OriginKind::Http).await;
    let proxy = format!("https://{}", stunnel.address());
    let file = ca.file();
    let arguments = [
        "-x",
        &proxy,
        "--proxy-cacert",
        file.to_str().unwrap(),
        &origin.url("/ip"),
    ];
    assert_eq!(curl(&arguments).await, "127.0.0.1\n", "{}", stunnel.log());
}

#[tokio::test]
async fn prometheus_starts_and_promtool_finds_fault() {
    need!(find("curl", "curl"));
    let origin = Origin::start(OriginKind::Http).await;
    let prometheus = need!(Prometheus::new(origin.address(), "/metrics").start());
    let ready = format!("http://{}/api/v1/status/config", prometheus.address());
    // It listens before it has read its configuration.
    let mut said = String::new();
    for _ in 0..250 {
        said = curl(&[&ready]).await;
        if said.contains("job_name: pcs") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(said.contains("job_name: pcs"), "{said}\n{}", prometheus.log());
    let clean = "# HELP a_total All a.\n# TYPE a_total counter\na_total 1\n";
    assert_eq!(need!(check_metrics(clean)), Vec::<String>::new());
    assert!(!need!(check_metrics("# TYPE a counter\na 1\n")).is_empty());
}
