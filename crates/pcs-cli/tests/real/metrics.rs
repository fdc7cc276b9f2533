//! What Prometheus makes of the metrics page.

use std::time::{Duration, Instant};

use pcs_testkit::real::{Prometheus, check_metrics, find};
use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy, need};

use crate::clients::{curl, curl_text};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, corporate, member};

/// A chain that has seen four answers of its target, one of its proxy (about a dead target, passed on as it is: the
/// chain did its work) and a rejection.
async fn seasoned() -> (Pcs, Vec<Proxy>, Origin) {
    let origin = Origin::start(OriginKind::Http).await;
    let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
    let good = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
    let bad = Proxy::http().behaviour(Behaviour::Refuse).start().await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
    let members = [
        member("good", "http", good.address(), Some(ROTATING)),
        member("bad", "http", bad.address(), None),
    ];
    let pcs = Pcs::start(&config(Some(&corporate), &members, "")).await;
    for _ in 0..4 {
        curl_text(&["-x", &pcs.url(), &origin.url("/ip")]).await;
    }
    curl(&["-x", &pcs.url(), "http://127.0.0.1:1/"]).await;
    curl(&["-x", &pcs.url(), "http://user@127.0.0.1:1:2/"]).await;
    pcs.accesses(5).await;
    (pcs, vec![first, good, bad], origin)
}

#[tokio::test]
async fn promtool_finds_fault_with_nothing_but_the_given_name() {
    need!(find("curl", "curl"));
    need!(find("promtool", "prometheus"));
    let (pcs, _proxies, _origin) = seasoned().await;
    let url = format!(
        "http://{}/metrics",
        pcs.listener("metrics").expect("metrics are on")
    );
    let page = curl_text(&[&url]).await;
    let mut remarks = need!(check_metrics(&page));
    // The contract's name for a gauge.
    remarks.retain(|remark| !remark.starts_with("proxy_chain_proxies_total "));
    assert_eq!(remarks, Vec::<String>::new(), "{page}");
    for sample in [
        "proxy_chain_requests_total{status=\"success\",proxy=\"good\"} 5",
        "proxy_chain_active_connections ",
        "proxy_chain_max_connections 1000",
        "proxy_chain_config_last_reload_success 1",
        "pcs_build_info{",
    ] {
        assert!(page.contains(sample), "no {sample}:\n{page}");
    }
    assert!(!page.contains("127.0.0.1:1"), "a target is no label:\n{page}");
}

#[tokio::test]
async fn a_real_prometheus_scrapes_it() {
    need!(find("curl", "curl"));
    let (pcs, _proxies, _origin) = seasoned().await;
    let metrics = pcs.listener("metrics").expect("metrics are on");
    let prometheus = need!(Prometheus::new(metrics, "/metrics").start());
    let query = "sum(proxy_chain_requests_total{job=\"pcs\",status=\"success\"})";
    let url = format!("http://{}/api/v1/query", prometheus.address());
    let mut said = String::new();
    // It looks for targets every five seconds, then scrapes every second, with a second for each scrape.
    let deadline = Instant::now() + Duration::from_secs(90);
    while Instant::now() < deadline {
        said = curl(&["-G", "--data-urlencode", &format!("query={query}"), &url])
            .await
            .out;
        if said.contains("\"value\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(said.contains("\"5\"]"), "{said}\n{}", prometheus.log());
}

#[tokio::test]
async fn every_reason_to_reject_has_a_series_from_the_start() {
    need!(find("curl", "curl"));
    let pcs = Pcs::start(&config(None, &[], "")).await;
    let metrics = pcs.listener("metrics").expect("metrics are on");
    let page = curl_text(&[&format!("http://{metrics}/metrics")]).await;
    for reason in [
        "auth",
        "bad_request",
        "denied",
        "head_timeout",
        "max_connections",
        "not_allowed",
        "rate_limit",
        "too_large",
        "unknown_protocol",
        "unsupported",
    ] {
        let sample = format!("\nproxy_chain_rejected_total{{reason=\"{reason}\"}} 0\n");
        assert!(page.contains(&sample), "no {sample}:\n{page}");
    }
}
