//! The other calls of `pcs`, and how it ends.

use std::time::Duration;

use pcs_testkit::real::{Signal, Squid, Tinyproxy, find};
use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy, TestCa, need};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{connect, curl_text, dial, refuses, run};
use crate::pcs::{CORPORATE, Call, Pcs, ROTATING, config, corporate, member, squid};

/// A chain of two in-process proxies.
async fn chain() -> (Proxy, Proxy, String) {
    let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
    let second = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
    let members = [member("rota-1", "http", second.address(), Some(ROTATING))];
    let config = config(Some(&corporate), &members, "");
    (first, second, config)
}

#[tokio::test]
async fn sigterm_and_sigint_let_tunnels_end_and_exit_with_0() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let (_first, _second, config) = chain().await;
        let origin = Origin::start(OriginKind::Echo).await;
        let mut pcs = Pcs::start(&config).await;
        let (mut tunnel, head) = connect(pcs.address(), &origin.address().to_string()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        pcs.signal(signal);
        // The listener goes at once…
        refuses(pcs.address()).await;
        // …the tunnel does not.
        tunnel.write_all(b"still here").await.unwrap();
        let mut echoed = [0; 10];
        tunnel.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"still here");
        assert!(pcs.ended().is_none());
        drop(tunnel);
        assert_eq!(pcs.wait().await.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn a_tunnel_that_outlives_the_grace_period_is_cut_and_the_exit_is_0() {
    let (_first, _second, config) = chain().await;
    let origin = Origin::start(OriginKind::Echo).await;
    let mut pcs = Pcs::start(&config.replace("grace_seconds: 10", "grace_seconds: 0.3")).await;
    let (mut tunnel, _) = connect(pcs.address(), &origin.address().to_string()).await;
    pcs.signal(Signal::Terminate);
    assert_eq!(pcs.wait().await.code(), Some(0));
    let mut rest = Vec::new();
    let _ = tunnel.read_to_end(&mut rest).await;
    assert!(
        pcs.events().iter().any(|event| event["level"] == "WARN"),
        "{}",
        pcs.log()
    );
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (_first, _second, config) = chain().await;
    let origin = Origin::start(OriginKind::Echo).await;
    // Longer than `wait` waits.
    let mut pcs = Pcs::start(&config.replace("grace_seconds: 10", "grace_seconds: 100")).await;
    let (_tunnel, _) = connect(pcs.address(), &origin.address().to_string()).await;
    pcs.signal(Signal::Terminate);
    refuses(pcs.address()).await;
    assert!(pcs.ended().is_none());
    pcs.signal(Signal::Terminate);
    pcs.wait().await;
    let log = pcs.log();
    assert!(
        log.contains("A second signal came") && !log.contains("grace period ended"),
        "{log}"
    );
}

#[tokio::test]
async fn healthcheck_tells_a_running_server_from_none() {
    let (_first, _second, config) = chain().await;
    let pcs = Pcs::start(&config).await;
    let admin = format!("http://{}", pcs.listener("admin").unwrap());
    let (status, out, err) = Call::with(&config)
        .args(&["--admin", &admin])
        .output("healthcheck")
        .await;
    assert_eq!(status, 0, "{out}{err}");
    // By the configuration, and by the proxy port where the admin API is off.
    let fixed = pcs_testkit::real::free_address([127, 0, 0, 1].into()).port();
    let off = config
        .replace("admin: {port: 0}", "admin: {enabled: false}")
        .replace("server: {port: 0", &format!("server: {{port: {fixed}"));
    let (status, out, err) = Call::with(&off).output("healthcheck").await;
    assert_eq!(status, 1, "nobody is there: {out}{err}");
    let _quiet = Pcs::start(&off).await;
    let (status, out, err) = Call::with(&off).output("healthcheck").await;
    assert_eq!(status, 0, "{out}{err}");
    drop(pcs);
    let (status, _, _) = Call::with(&config)
        .args(&["--admin", &admin])
        .output("healthcheck")
        .await;
    assert_eq!(status, 1, "it has ended");
}

#[tokio::test]
async fn healthcheck_finds_a_server_that_does_not_talk_http_to_it() {
    for server in [
        "protocols: [socks5]",
        "protocols: [socks5], auth: {users: [{username: u, password: p}]}",
        "bind_address: 0.0.0.0, allow_from: [10.0.0.0/8]",
        "allow_from: [10.0.0.0/8, 127.0.0.1]",
    ] {
        let port = pcs_testkit::real::free_address([127, 0, 0, 1].into()).port();
        let config = config(None, &[], "")
            .replace("admin: {port: 0}", "admin: {enabled: false}")
            .replace("server: {port: 0", &format!("server: {{port: {port}, {server}"));
        let (status, out, err) = Call::with(&config).output("healthcheck").await;
        assert_eq!(status, 1, "nobody is there: {out}{err}");
        let _pcs = Pcs::start(&config).await;
        let (status, out, err) = Call::with(&config).args(&["--json"]).output("healthcheck").await;
        assert_eq!(status, 0, "{server}: {out}{err}");
        let said: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(said["status"], "healthy", "{server}: {out}");
    }
    // Whoever accepts and stays silent is no server of this configuration.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let config = config(None, &[], "")
        .replace("admin: {port: 0}", "admin: {enabled: false}")
        .replace(
            "server: {port: 0",
            &format!("server: {{port: {port}, protocols: [socks5]"),
        );
    let asked = tokio::spawn(Call::with(&config).output("healthcheck"));
    let (mut stream, _) = silent.accept().await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert_eq!(asked.await.unwrap().0, 1);
}

#[tokio::test]
async fn probe_tells_every_hop_as_json() {
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let mut second = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Http).await;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let config = config(Some(&squid(&first)), &members, "");
    let url = origin.url("/");
    let (status, out, err) = Call::with(&config).args(&["--json", &url]).output("probe").await;
    assert_eq!(status, 0, "{out}{err}");
    let probe: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&probe["ok"], &probe["proxy"]),
        (&Value::Bool(true), &Value::from("tiny-1")),
        "{out}"
    );
    let hops: Vec<(&str, bool)> = hops(&probe);
    assert_eq!(
        hops,
        [("corporate", true), ("tiny-1", true), ("target", true)],
        "{out}"
    );
    assert!(
        probe["hops"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hop| hop["ms"].is_number() && hop["error"].is_null()),
        "{out}"
    );
    let (status, out, err) = Call::with(&config).args(&[&url]).output("probe").await;
    assert_eq!(status, 0, "{err}");
    assert!(
        out.lines().count() >= 3 && out.contains("corporate") && out.contains("tiny-1"),
        "{out}"
    );

    second.stop();
    let (status, out, err) = Call::with(&config).args(&["--json", &url]).output("probe").await;
    assert_eq!(status, 1, "{out}{err}");
    let probe: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(probe["ok"], false);
    let (stopped_at, ok) = *self::hops(&probe).last().unwrap();
    assert_eq!((stopped_at, ok), ("tiny-1", false), "{out}");
    assert!(
        probe["hops"].as_array().unwrap().last().unwrap()["error"].is_string(),
        "{out}"
    );
}

#[tokio::test]
async fn probe_goes_where_routes_lead() {
    let closed = Proxy::http().behaviour(Behaviour::Refuse).start().await;
    let good = Proxy::http().start().await;
    let corporate_proxy = Proxy::http().start().await;
    let origin = Origin::start(OriginKind::Http).await;
    let target = format!("http://{}/", origin.address());
    let corporate = corporate("http", corporate_proxy.address(), None, &[]);
    let default = [member("dead", "http", closed.address(), None)];
    let good = member("good", "http", good.address(), None);
    let all = [("corporate", true), ("good", true), ("target", true)];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, bool)]);
    let cases: [Case<'_>; 5] = [
        ("pool: us", "routes[1] (pool us)", &all),
        ("pool: none-left", "routes[1] (pool none-left)", &all),
        ("via: direct", "routes[1] (via direct)", &all[2..]),
        ("via: corporate", "routes[1] (via corporate)", &[all[0], all[2]]),
        ("via: reject", "routes[1] (via reject)", &[("target", false)]),
    ];
    for (to, route, expected) in cases {
        let more = format!(
            "pools: {{us: {{proxies: [{good}]}}, none-left: {{fallback: us}}}}\n\
             routes: [{{hosts: [other.example], via: reject}}, {{hosts: [127.0.0.1], {to}}}]"
        );
        let config = config(Some(&corporate), &default, &more);
        let (status, out, err) = Call::with(&config)
            .args(&["--json", &target])
            .output("probe")
            .await;
        let probe: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        assert_eq!(probe["route"], route, "{out}");
        assert_eq!(hops(&probe), expected, "{out}");
        assert_eq!(status, i32::from(to == "via: reject"), "{out}{err}");
        let (_, out, _) = Call::with(&config).args(&[&target]).output("probe").await;
        assert!(out.lines().next().unwrap().contains(route), "{out}");
    }
}

#[tokio::test]
async fn probe_tells_where_a_refused_connect_stopped() {
    let refusing = Proxy::http().behaviour(Behaviour::Status(503)).start().await;
    let guarded = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
    for (proxy, status) in [(&refusing, "503"), (&guarded, "407")] {
        let config = config(None, &[member("rota-1", "http", proxy.address(), None)], "");
        let target = "https://nowhere.example/";
        let (exit, out, err) = Call::with(&config)
            .args(&["--json", target])
            .output("probe")
            .await;
        assert_eq!(exit, 1, "{out}{err}");
        let probe: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(hops(&probe), [("rota-1", true), ("target", false)], "{out}");
        let last = probe["hops"].as_array().unwrap().last().unwrap();
        assert_eq!(last["address"], "nowhere.example:443", "{out}");
        assert!(last["error"].as_str().unwrap().contains("rota-1"), "{out}");
        assert!(last["said"].as_str().unwrap().starts_with(status), "{out}");
        assert!(!out.contains("-0.0"), "{out}");
    }
}

fn hops(probe: &Value) -> Vec<(&str, bool)> {
    let hops = probe["hops"].as_array().unwrap();
    hops.iter()
        .map(|hop| (hop["hop"].as_str().unwrap(), hop["ok"].as_bool().unwrap()))
        .collect()
}

#[tokio::test]
async fn probe_all_prints_an_object_a_line_and_fails_when_one_does() {
    let (first, second, _) = chain().await;
    let third = Proxy::http().behaviour(Behaviour::Refuse).start().await;
    let ca = TestCa::new();
    let origin = Origin::start_tls(OriginKind::Http, &ca.issue(&["127.0.0.1"])).await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
    let members = [
        member("rota-1", "http", second.address(), Some(ROTATING)),
        member("rota-2", "http", third.address(), None),
    ];
    let config = config(Some(&corporate), &members, "");
    let target = format!("http://{}/", origin.address());
    let (status, out, err) = Call::with(&config)
        .args(&["--all", "--json", &target])
        .output("probe")
        .await;
    assert_eq!(status, 1, "{out}{err}");
    let probes: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(probes.len(), 2, "{out}");
    let failed: Vec<&str> = probes
        .iter()
        .filter(|probe| probe["ok"] == false)
        .map(|probe| probe["proxy"].as_str().unwrap())
        .collect();
    assert!(failed.contains(&"rota-2"), "{out}");
    let (_, out, _) = Call::with(&config)
        .args(&["--proxy", "rota-2", "--json", &target])
        .output("probe")
        .await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["proxy"], "rota-2");
}

#[tokio::test]
async fn check_prints_what_is_in_force_and_names_every_fault() {
    let (_first, _second, config) = chain().await;
    let call = Call::with(&config).args(&["--set", "server.timeout_seconds=7", "--no-corporate"]);
    let (status, out, err) = call
        .env("PCS__SERVER__MAX_CONNECTIONS", "77")
        .output("check")
        .await;
    assert_eq!(status, 0, "{out}{err}");
    assert!(
        out.contains("timeout_seconds: 7") && out.contains("max_connections: 77"),
        "{out}"
    );
    let bad = "server: {prot: 1, port: 99999}\nrotation: {stategy: x, proxies: [{host: h, port: 1, protocol: gopher}]}\n";
    for verb in ["check", "run"] {
        let (status, out, err) = Call::with(bad).output(verb).await;
        assert_eq!(status, 2, "{out}{err}");
        for part in [
            "prot",
            "server.port",
            "did you mean `strategy`?",
            "protocol",
            "config.yaml",
        ] {
            assert!(err.contains(part), "{verb} does not say {part}: {err}");
        }
    }
    let (status, _, err) = Call::with("server: {port: 0}")
        .args(&["--nonsense"])
        .output("run")
        .await;
    assert_eq!(status, 2, "{err}");
}

#[tokio::test]
async fn flags_can_stand_for_a_file() {
    need!(find("curl", "curl"));
    let second = need!(
        Tinyproxy::new()
            .basic(ROTATING.0, ROTATING.1)
            .exit("127.0.0.91")
            .start()
    );
    let origin = Origin::start(OriginKind::Http).await;
    let upstream = format!("http://{}:{}@{}", ROTATING.0, ROTATING.1, second.address());
    let ports = [
        "--set",
        "server.port=0",
        "--set",
        "admin.port=0",
        "--set",
        "metrics.port=0",
    ];
    let checks = ["--set", "health_check.enabled=false", "--upstream", &upstream];
    let pcs = Call::with("{}").args(&ports).args(&checks).start().await;
    assert_eq!(
        curl_text(&["-x", &pcs.url(), &origin.url("/ip")]).await,
        "127.0.0.91\n"
    );
    assert!(pcs.config().exists() && pcs.dir().is_dir());
}

#[tokio::test]
async fn completions_version_and_liveness() {
    let (status, out, _) = Call::with("").args(&["bash"]).output("completions").await;
    assert!(status == 0 && out.contains("complete"), "{out}");
    let (status, out, _) = Call::with("").output("--version").await;
    assert!(status == 0 && out.starts_with("pcs "), "{out}");
    let (_first, _second, config) = chain().await;
    let pcs = Pcs::start(&config).await;
    let mut stream = dial(pcs.address()).await;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"status\":\"healthy\"}"),
        "{answer}"
    );
}

#[tokio::test]
async fn small_when_idle() {
    let (_first, _second, config) = chain().await;
    // Waits until it is ready, for at most half a minute: how soon a release build is, the benches measure.
    let pcs = Pcs::start(&config).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", pcs.id())).unwrap_or_default();
    let resident = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    });
    if let Some(kilobytes) = resident {
        let kilobytes: u64 = kilobytes;
        assert!(kilobytes < 50 * 1024, "{kilobytes} kB resident when idle");
    }
}

#[tokio::test]
async fn the_demo_prints_curl_lines_that_work_and_ends_with_0() {
    need!(find("curl", "curl"));
    let mut demo = Call::with("").args(&["--port", "0"]).launch("demo");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let lines = loop {
        let said = demo.log();
        let lines: Vec<String> = said
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("curl "))
            .map(str::to_owned)
            .collect();
        if said.ends_with('\n') && lines.len() > 1 {
            break lines;
        }
        assert!(
            demo.ended().is_none() && std::time::Instant::now() < deadline,
            "{said}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    for line in lines {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &line]);
        let said = run(shell).await;
        assert!(said.ok, "{line}: {said:?}");
    }
    demo.signal(Signal::Interrupt);
    assert_eq!(demo.wait().await.code(), Some(0));
}
