//! The admin API of a running server: changes, reloads, restarts, and who may not.

use std::time::Duration;

use pcs_testkit::real::{Signal, find, free_address};
use pcs_testkit::{Origin, OriginKind, Proxy, need};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{connect, curl_text, refuses};
use crate::load::{Load, Request};
use crate::pcs::{CORPORATE, Call, Pcs, ROTATING, config, corporate, member};

/// A corporate proxy and `count` rotating ones, and their configuration.
pub(crate) async fn chain(count: usize, more: &str) -> (Vec<Proxy>, String) {
    let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
    let mut proxies = vec![first];
    let mut members = Vec::new();
    for n in 1..=count {
        let proxy = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
        members.push(member(
            &format!("rota-{n}"),
            "http",
            proxy.address(),
            Some(ROTATING),
        ));
        proxies.push(proxy);
    }
    (proxies, config(Some(&corporate), &members, more))
}

#[tokio::test]
async fn changes_survive_a_kill_and_a_restart() {
    need!(find("curl", "curl"));
    let (_proxies, config) = chain(2, "").await;
    let config = config.replace("admin: {port: 0}", "admin: {port: 0, state_file: state.json}");
    let extra = Proxy::http()
        .basic(ROTATING.0, ROTATING.1)
        .exit("127.0.0.101")
        .start()
        .await;
    let mut pcs = Pcs::start(&config).await;
    let body = json!({"id": "extra", "host": "127.0.0.1", "port": extra.port(),
        "username": ROTATING.0, "password": ROTATING.1});
    assert_eq!(pcs.api("POST", "proxies", Some(body.clone())).await.0, 201);
    assert_eq!(
        pcs.api("POST", "proxies", Some(body)).await.0,
        409,
        "its id is taken"
    );
    assert_eq!(pcs.api("DELETE", "proxies/rota-1", None).await.0, 204);
    assert_eq!(
        pcs.api("PATCH", "proxies/rota-2", Some(json!({"enabled": false})))
            .await
            .0,
        200
    );
    assert_eq!(pcs.ids().await, ["extra", "rota-2"]);
    pcs.signal(Signal::Kill);
    pcs.wait().await;

    let state = pcs.dir().join("state.json");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&state).unwrap());
    assert_eq!(mode & 0o777, 0o600, "it holds passwords");
    let next = Call::with(&config);
    std::fs::copy(&state, next.dir().join("state.json")).unwrap();
    let pcs = next.start().await;
    assert_eq!(pcs.ids().await, ["extra", "rota-2"]);
    let (_, proxy) = pcs.api("GET", "proxies/rota-2", None).await;
    assert_eq!(proxy["enabled"], false, "{proxy}");
    let origin = Origin::start(OriginKind::Http).await;
    for _ in 0..3 {
        assert_eq!(
            curl_text(&["-x", &pcs.url(), &origin.url("/ip")]).await,
            "127.0.0.101\n"
        );
    }
}

#[tokio::test]
async fn an_edited_entry_has_dropped_its_change_for_good() {
    let (_proxies, config) = chain(2, "").await;
    let before = config.replace("admin: {port: 0}", "admin: {port: 0, state_file: state.json}");
    let edited = before.replace("id: rota-1,", "id: rota-1, weight: 2,");
    assert_ne!(before, edited);
    let mut pcs = Pcs::start(&before).await;
    assert_eq!(pcs.api("DELETE", "proxies/rota-1", None).await.0, 204);
    for (config, what) in [(&edited, "edited"), (&before, "as it was")] {
        pcs.signal(Signal::Kill);
        pcs.wait().await;
        let next = Call::with(config);
        std::fs::copy(pcs.dir().join("state.json"), next.dir().join("state.json")).unwrap();
        pcs = next.start().await;
        assert_eq!(pcs.ids().await, ["rota-1", "rota-2"], "{what}");
    }
}

#[tokio::test]
async fn a_broken_file_and_one_without_a_chain_change_nothing() {
    need!(find("curl", "curl"));
    let (_proxies, config) = chain(1, "").await;
    let origin = Origin::start(OriginKind::Http).await;
    let pcs = Pcs::start(&config).await;
    let bad = ["rotation: {stategy: x}\n", "server: {port: 0}\n", "rotation: [\n"];
    for (n, bad) in bad.into_iter().enumerate() {
        std::fs::write(pcs.config(), bad).unwrap();
        let (status, said) = pcs.api("POST", "reload", None).await;
        assert_eq!(status, 422, "{bad}: {said}");
        pcs.signal(Signal::HangUp);
        let by_signal = |event: &Value| event["cause"] == "SIGHUP";
        pcs.told("reload_refused", n + 1, by_signal).await;
        assert_eq!(pcs.ids().await, ["rota-1"]);
        assert_eq!(
            curl_text(&["-x", &pcs.url(), &origin.url("/ip")]).await,
            "127.0.0.1\n"
        );
    }
}

/// What a process holds in memory of its own, in KiB. Linux alone says.
fn resident(pcs: &Pcs) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pcs.id())).ok()?;
    let field = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    field.trim().trim_end_matches("kB").trim().parse().ok()
}

/// The least of several readings: what it holds for requests under way comes and goes.
async fn least_resident(pcs: &Pcs) -> Option<u64> {
    let mut least = resident(pcs);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        least = least.min(resident(pcs));
    }
    least
}

#[tokio::test]
async fn hundreds_of_reloads_under_load_cost_no_error_and_no_memory() {
    let (_proxies, config) = chain(3, "").await;
    let origin = Origin::start(OriginKind::Http).await;
    let pcs = Pcs::start(&config).await;
    let load = Load::start(16, Duration::from_millis(10), pcs.address(), origin.address());
    let without = |id: &str| {
        let lines: Vec<&str> = config.lines().filter(|line| !line.contains(id)).collect();
        lines.join("\n")
    };
    let files = [without("id: rota-2"), without("id: rota-3")];
    let reload = async |times: usize| {
        for n in 0..times {
            std::fs::write(pcs.config(), &files[n % 2]).unwrap();
            let (status, said) = pcs.api("POST", "reload", None).await;
            let changed = (&said["added"], &said["removed"]);
            assert_eq!(status, 200, "{said}");
            assert_ne!(changed, (&json!([]), &json!([])), "nothing changed");
        }
    };
    // Under load its memory grows for a while whether it is reloaded or not.
    reload(100).await;
    let before = least_resident(&pcs).await;
    reload(300).await;
    let after = least_resident(&pcs).await;
    let requests = load.stop().await;
    let failed: Vec<&Request> = requests
        .iter()
        .filter(|request| request.exit().is_none())
        .collect();
    eprintln!(
        "{} requests, {before:?} KiB before and {after:?} KiB after",
        requests.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert!(requests.len() > 200, "{} requests are no load", requests.len());
    if let (Some(before), Some(after)) = (before, after) {
        assert!(after <= before + 3 * 1024, "from {before} KiB to {after} KiB");
    }
    std::fs::write(pcs.config(), &config).unwrap();
    assert_eq!(pcs.api("POST", "reload", None).await.0, 200);
    assert_eq!(pcs.ids().await.len(), 3);
}

#[tokio::test]
async fn listeners_move_at_a_reload_and_open_tunnels_stay() {
    let (_proxies, config) = chain(1, "").await;
    let origin = Origin::start(OriginKind::Echo).await;
    let pcs = Pcs::start(&config).await;
    let (mut tunnel, _) = connect(pcs.address(), &origin.address().to_string()).await;
    let port = free_address([127, 0, 0, 1].into()).port();
    std::fs::write(
        pcs.config(),
        config.replace("server: {port: 0", &format!("server: {{port: {port}")),
    )
    .unwrap();
    assert_eq!(pcs.api("POST", "reload", None).await.0, 200);
    let moved = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let (_, head) = connect(moved, &origin.address().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    refuses(pcs.address()).await;
    tunnel.write_all(b"still here").await.unwrap();
    let mut echoed = [0; 10];
    tunnel.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"still here");
}

#[tokio::test]
async fn the_metrics_page_moves_at_a_reload() {
    need!(find("curl", "curl"));
    let (_proxies, config) = chain(1, "").await;
    let pcs = Pcs::start(&config).await;
    let metrics = pcs.listener("metrics").unwrap();
    let status = async |path: &str| {
        let url = format!("http://{metrics}{path}");
        curl_text(&["-o", "/dev/null", "-w", "%{http_code}", &url]).await
    };
    assert_eq!(
        (status("/metrics").await, status("/m").await),
        ("200".into(), "404".into())
    );
    let moved = config.replace("metrics: {port: 0}", "metrics: {port: 0, path: /m}");
    std::fs::write(pcs.config(), moved).unwrap();
    assert_eq!(pcs.api("POST", "reload", None).await.0, 200);
    assert_eq!(
        (status("/metrics").await, status("/m").await),
        ("404".into(), "200".into())
    );
    assert!(!pcs.log().contains("needs_restart"), "{}", pcs.log());
}

#[tokio::test]
async fn pages_of_others_and_rebound_names_cannot_change_anything() {
    need!(find("curl", "curl"));
    let (_proxies, config) = chain(1, "").await;
    let pcs = Pcs::start(&config).await;
    let admin = pcs.listener("admin").unwrap();
    let delete = format!("http://{admin}/api/v1/proxies/rota-1");
    let post = format!("http://{admin}/api/v1/proxies");
    let body = "{\"host\":\"h.test\",\"port\":1}";
    let cases: [(&[&str], &str); 4] = [
        (
            &["-X", "DELETE", "-H", "Origin: http://evil.test", &delete],
            "403",
        ),
        (&["-X", "DELETE", "-H", "Host: evil.test", &delete], "421"),
        (&["-H", "Content-Type: text/plain", "-d", body, &post], "415"),
        (
            &[
                "-H",
                "Content-Type: application/json",
                "-H",
                "Origin: null",
                "-d",
                body,
                &post,
            ],
            "403",
        ),
    ];
    for (arguments, wanted) in cases {
        let said = curl_text(&[&["-o", "/dev/null", "-w", "%{http_code}"], arguments].concat()).await;
        assert_eq!(said, wanted, "{arguments:?}");
    }
    assert_eq!(pcs.ids().await, ["rota-1"]);
}

#[tokio::test]
async fn the_command_line_is_a_client_of_it() {
    let (_proxies, config) = chain(1, "").await;
    let pcs = Pcs::start(&config).await;
    let admin = format!("http://{}", pcs.listener("admin").unwrap());
    let at = ["--admin", admin.as_str()];
    let url = "http://user:s3cret-Pe@h.test:8080";
    let steps: [(&[&str], &str); 5] = [
        (&["list"], "rota-1"),
        (&["add", url, "--id", "added"], "added"),
        (&["disable", "added"], ""),
        (&["list", "--json"], "\"added\""),
        (&["remove", "added"], ""),
    ];
    for (arguments, wanted) in steps {
        let (status, out, err) = Call::with("").args(arguments).args(&at).output("proxies").await;
        assert_eq!(status, 0, "{arguments:?}: {out}{err}");
        assert!(out.contains(wanted), "{arguments:?}: {out}");
        assert!(
            !out.contains("s3cret-Pe") && !err.contains("s3cret-Pe"),
            "{arguments:?}: {out}{err}"
        );
    }
    let (status, out, err) = Call::with(&config)
        .args(&at)
        .args(&["--json"])
        .output("stats")
        .await;
    assert_eq!(status, 0, "{err}");
    assert!(
        serde_json::from_str::<Value>(&out).unwrap()["uptime_seconds"].is_number(),
        "{out}"
    );
    let (status, out, err) = Call::with(&config).args(&at).output("reload").await;
    assert_eq!(status, 0, "{out}{err}");
}
