//! Listeners that a reload moves: the new one is open before the old one closes, whatever they have in common.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pcs_testkit::real::{find, free_address};
use pcs_testkit::{Origin, OriginKind, Proxy, need};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{connect, curl_text};
use crate::pcs::{Pcs, config, member};

const TOKEN: &str = "admin-s3cret-Pt";

/// Where the three listen.
#[derive(Clone, Copy)]
struct Places {
    bind: Ipv4Addr,
    ports: [u16; 3],
}

impl Places {
    fn free() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST,
            ports: [(); 3].map(|()| free_address(Ipv4Addr::LOCALHOST.into()).port()),
        }
    }

    /// A configuration with one member that does.
    fn config(self, proxy: &Proxy, more: &str) -> String {
        let Self { bind, ports } = self;
        let [server, admin, metrics] = ports;
        config(None, &[member("rota-1", "http", proxy.address(), None)], more)
            .replace(
                "server: {port: 0",
                &format!("server: {{bind_address: {bind}, port: {server}, allow_from: [127.0.0.0/8]"),
            )
            .replace(
                "admin: {port: 0",
                &format!("admin: {{bind_address: {bind}, port: {admin}, token: {TOKEN}"),
            )
            .replace(
                "metrics: {port: 0",
                &format!("metrics: {{bind_address: {bind}, port: {metrics}"),
            )
    }

    fn at(self, ip: Ipv4Addr) -> [SocketAddr; 3] {
        self.ports.map(|port| (ip, port).into())
    }
}

/// Reloads by the admin API at this address; the status.
async fn reload(pcs: &Pcs, admin: SocketAddr, config: &str) -> String {
    std::fs::write(pcs.config(), config).unwrap();
    let url = format!("http://{admin}/api/v1/reload");
    let token = format!("Authorization: Bearer {TOKEN}");
    curl_text(&[
        "-X",
        "POST",
        "-H",
        &token,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &url,
    ])
    .await
}

/// What is wrong with one of the three, if anything is.
async fn fault([server, admin, metrics]: [SocketAddr; 3], target: &Origin) -> Option<String> {
    let target = target.address();
    let tunnel = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    let get = |path: &str, host: SocketAddr| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        )
    };
    let asked = [
        (server, tunnel, "HTTP/1.1 200"),
        (admin, get("/api/v1/proxies", admin), "rota-1"),
        (metrics, get("/metrics", metrics), "pcs_build_info"),
    ];
    for (address, question, wanted) in asked {
        let said = match say(address, &question).await {
            Ok(said) => said,
            Err(error) => error.to_string(),
        };
        if !said.contains(wanted) {
            return Some(format!("{address}: {said}"));
        }
    }
    None
}

/// What is answered, until the other side is done or has said enough.
async fn say(address: SocketAddr, question: &str) -> std::io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(question.as_bytes()).await?;
    let mut said = Vec::new();
    while stream.read_buf(&mut said).await? > 0 && !question.starts_with("CONNECT") {}
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Each of the three serves what it is there for, as soon as what was there before is closed.
async fn settles(places: [SocketAddr; 3], target: &Origin) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Some(fault) = fault(places, target).await {
        assert!(Instant::now() < deadline, "{fault}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_listener_moves_to_a_wider_address_and_back() {
    need!(find("curl", "curl"));
    let proxy = Proxy::http().start().await;
    let origin = Origin::start(OriginKind::Echo).await;
    let narrow = Places::free();
    let wide = Places {
        bind: Ipv4Addr::UNSPECIFIED,
        ..narrow
    };
    let pcs = Pcs::start(&narrow.config(&proxy, "")).await;
    let here = narrow.at(Ipv4Addr::LOCALHOST);
    settles(here, &origin).await;
    assert_eq!(reload(&pcs, here[1], &wide.config(&proxy, "")).await, "200");
    settles(here, &origin).await;
    let [server, ..] = narrow.at(Ipv4Addr::new(127, 0, 0, 9));
    let (_, head) = connect(server, &origin.address().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(reload(&pcs, here[1], &narrow.config(&proxy, "")).await, "200");
    settles(here, &origin).await;
}

#[tokio::test]
async fn ports_are_swapped_by_one_reload() {
    need!(find("curl", "curl"));
    let proxy = Proxy::http().start().await;
    let origin = Origin::start(OriginKind::Echo).await;
    let before = Places::free();
    let [server, admin, metrics] = before.ports;
    let after = Places {
        ports: [metrics, server, admin],
        ..before
    };
    let pcs = Pcs::start(&before.config(&proxy, "")).await;
    let [_, desk, _] = before.at(Ipv4Addr::LOCALHOST);
    assert_eq!(reload(&pcs, desk, &after.config(&proxy, "")).await, "200");
    settles(after.at(Ipv4Addr::LOCALHOST), &origin).await;
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_refused_and_nothing_moves() {
    need!(find("curl", "curl"));
    let proxy = Proxy::http().start().await;
    let origin = Origin::start(OriginKind::Echo).await;
    let before = Places::free();
    let pcs = Pcs::start(&before.config(&proxy, "")).await;
    let here = before.at(Ipv4Addr::LOCALHOST);
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut after = Places::free();
    after.ports[2] = taken.local_addr().unwrap().port();
    assert_eq!(reload(&pcs, here[1], &after.config(&proxy, "")).await, "422");
    settles(here, &origin).await;
    let [server, admin, _] = after.at(Ipv4Addr::LOCALHOST);
    for address in [server, admin] {
        assert!(
            std::net::TcpStream::connect(address).is_err(),
            "{address} was opened"
        );
    }
}

#[tokio::test]
async fn a_port_of_ours_that_stays_is_not_taken_over() {
    need!(find("curl", "curl"));
    let proxy = Proxy::http().start().await;
    let origin = Origin::start(OriginKind::Echo).await;
    let before = Places::free();
    let mut after = before;
    after.ports[2] = before.ports[1];
    // Port 0 is what the configuration says, so that it cannot tell them apart.
    let any = |config: String| config.replace(&format!("port: {}, token", before.ports[1]), "port: 0, token");
    let pcs = Pcs::start(&any(before.config(&proxy, ""))).await;
    let mut here = before.at(Ipv4Addr::LOCALHOST);
    here[1] = pcs.listener("admin").unwrap();
    after.ports[2] = here[1].port();
    assert_eq!(reload(&pcs, here[1], &any(after.config(&proxy, ""))).await, "422");
    settles(here, &origin).await;
}

#[tokio::test]
async fn where_we_listened_before_a_reload_is_a_target_like_any_other() {
    need!(find("curl", "curl"));
    let proxy = Proxy::http().start().await;
    let before = Places::free();
    let after = Places::free();
    let direct = "routes: [{hosts: ['127.0.0.0/8'], via: direct}]";
    let pcs = Pcs::start(&before.config(&proxy, direct)).await;
    let ([old, desk, _], [new, ..]) = (before.at(Ipv4Addr::LOCALHOST), after.at(Ipv4Addr::LOCALHOST));
    let (_, head) = connect(old, &desk.to_string()).await;
    assert!(head.starts_with("HTTP/1.1 403"), "our own admin port: {head}");
    assert_eq!(reload(&pcs, desk, &after.config(&proxy, direct)).await, "200");
    let (_, head) = connect(new, &new.to_string()).await;
    assert!(head.starts_with("HTTP/1.1 403"), "our own port: {head}");
    // Closed a moment after the answer, when the last call there has ended.
    let deadline = Instant::now() + Duration::from_secs(30);
    let somebody = loop {
        match tokio::net::TcpListener::bind(desk).await {
            Ok(listener) => break listener,
            Err(error) => assert!(Instant::now() < deadline, "{desk}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let (_, head) = connect(new, &somebody.local_addr().unwrap().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}
