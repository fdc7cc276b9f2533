//! What PCS serves itself.

use pcs_server::{Counted, RequestKind, Settings};

use crate::world::World;

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{fields}\r\n")
}

#[tokio::test]
async fn health_needs_no_credentials() {
    let users = pcs_server::Users::new([]);
    let mut world = World::start(Settings {
        users: Some(users),
        ..Settings::default()
    });
    let mut client = world.client_with(get("/health?x", "Host: anything\r\n")).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"status\":\"healthy\"}")
    );
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let record = world.record().await;
    assert_eq!((record.kind, record.counted), (RequestKind::Local, Counted::Not));
    client.send("HEAD /health HTTP/1.1\r\n\r\n").await;
    assert!(client.head().await.contains("Content-Length: 20\r\n"));
}

#[tokio::test]
async fn the_pac_file_names_this_proxy_as_the_client_does() {
    let world = World::new();
    let cases = [
        (
            "Host: proxy.example:3128\r\n",
            "PROXY proxy.example:3128".to_owned(),
        ),
        (
            "Host: proxy.example\r\n",
            format!("PROXY proxy.example:{}", world.address.port()),
        ),
        ("", format!("PROXY {}", world.address)),
        ("Host: \"; alert(1)\r\n", format!("PROXY {}", world.address)),
    ];
    for (fields, expected) in cases {
        let mut client = world.client_with(get("/proxy.pac", fields)).await;
        let answer = client.answer().await;
        assert_eq!(
            answer.field("content-type"),
            Some("application/x-ns-proxy-autoconfig")
        );
        assert!(
            answer.body.contains(&format!("return \"{expected}\";")),
            "{}",
            answer.body
        );
        assert!(!answer.body.contains("; DIRECT"), "no way around the proxy");
    }
}

#[tokio::test]
async fn whoever_takes_it_for_a_web_server_gets_a_hint() {
    let world = World::new();
    for request in [
        get("/", ""),
        get("/health/x", ""),
        "POST /health HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
        "OPTIONS * HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let mut client = world.client_with(&request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 404, "{request}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("proxy"));
        client.send(get("/health", "")).await;
        assert_eq!(client.answer().await.status, 200, "the connection stays");
    }
}
