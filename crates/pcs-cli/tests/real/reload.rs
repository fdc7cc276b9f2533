//! What makes a running server read its configuration again, and what that leaves alone.

use pcs_testkit::real::Signal;
use pcs_testkit::{Origin, OriginKind, Pattern, Proxy};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::admin::chain;
use crate::clients::{Answer, ask, connect, read_head};
use crate::pcs::{Pcs, ROTATING, member};

/// The address that a plain request leaves from.
async fn exit(pcs: &Pcs, origin: &Origin) -> String {
    let url = origin.url("/ip");
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = ask(pcs.address(), &request).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.body.trim().to_owned()
}

/// The only member of a configuration is another one in the file, and then `tell` tells the server: it reloads for this
/// cause and uses the new one.
async fn a_new_member_is_used(server: &str, cause: &str, tell: impl Fn(&Pcs)) {
    let (_proxies, config) = chain(1, "").await;
    let config = config.replace("server: {port: 0", &format!("server: {{port: 0{server}"));
    let other = Proxy::http()
        .basic(ROTATING.0, ROTATING.1)
        .exit("127.0.0.103")
        .start()
        .await;
    let origin = Origin::start(OriginKind::Http).await;
    let pcs = Pcs::start(&config).await;
    assert_eq!(exit(&pcs, &origin).await, "127.0.0.1");
    let new = member("other", "http", other.address(), Some(ROTATING));
    let lines = config.lines().map(|line| match line.contains("id: rota-1") {
        true => format!("    - {new}"),
        false => line.to_owned(),
    });
    let changed: Vec<String> = lines.collect();
    std::fs::write(pcs.config(), changed.join("\n")).unwrap();
    tell(&pcs);
    let by_this = |event: &Value| event["cause"] == cause;
    let reloaded = pcs.told("reloaded", 1, by_this).await.remove(0);
    let counts = (&reloaded["added"], &reloaded["removed"], &reloaded["changed"]);
    assert_eq!(counts, (&json!(1), &json!(1), &json!(0)), "{reloaded}");
    assert_eq!(pcs.ids().await, ["other"]);
    for _ in 0..3 {
        assert_eq!(exit(&pcs, &origin).await, "127.0.0.103");
    }
}

#[tokio::test]
async fn sighup_reloads() {
    a_new_member_is_used("", "SIGHUP", |pcs| pcs.signal(Signal::HangUp)).await;
}

#[tokio::test]
async fn a_changed_file_reloads_where_it_is_watched() {
    a_new_member_is_used(", watch_config: true", "file", |_| {}).await;
}

#[tokio::test]
async fn a_reload_that_drops_a_member_leaves_its_download_alone() {
    const LENGTH: usize = 100_000_000;
    let (proxies, config) = chain(2, "").await;
    let origin = Origin::start(OriginKind::Http).await;
    let pcs = Pcs::start(&config).await;
    let (mut stream, head) = connect(pcs.address(), &origin.address().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let download = get(&format!("/bytes/{LENGTH}"));
    stream.write_all(download.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut pattern = Pattern::new(1);
    let (mut buffer, mut wanted) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    let (mut come, mut reloaded) = (0, false);
    while come < LENGTH {
        let room = buffer.len().min(LENGTH - come);
        let read = stream.read(&mut buffer[..room]).await.unwrap();
        assert_ne!(read, 0, "cut after {come} bytes");
        // Every byte, which takes an unoptimised build less time than a digest.
        pattern.fill(&mut wanted[..read]);
        assert!(buffer[..read] == wanted[..read], "changed after {come} bytes");
        come += read;
        if !reloaded && come > LENGTH / 4 {
            reload_without_the_carrier(&pcs, &proxies, &config).await;
            reloaded = true;
        }
    }
    // And its other direction too.
    stream.write_all(get("/ip").as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.body, "127.0.0.1\n");
}

/// Drops that one of two members from the file whose connection is open, and reloads.
async fn reload_without_the_carrier(pcs: &Pcs, proxies: &[Proxy], config: &str) {
    let carrier = if proxies[1].active() > 0 {
        "rota-1"
    } else {
        "rota-2"
    };
    let without: Vec<&str> = config
        .lines()
        .filter(|line| !line.contains(&format!("id: {carrier}")))
        .collect();
    std::fs::write(pcs.config(), without.join("\n")).unwrap();
    let (status, said) = pcs.api("POST", "reload", None).await;
    assert_eq!((status, &said["removed"]), (200, &json!([carrier])), "{said}");
    assert_eq!(pcs.ids().await.len(), 1);
}
