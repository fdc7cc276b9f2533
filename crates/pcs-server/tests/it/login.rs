//! Local credentials and parameters over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pcs_models::{Credentials, Secret};
use pcs_server::{Counted, Rejection, Settings, Users};

use crate::world::World;

fn with_user() -> Settings {
    let user = Credentials::try_new("bob", Secret::new("p:w".into())).unwrap();
    Settings {
        users: Some(Users::new([user])),
        ..Settings::default()
    }
}

fn connect(fields: &str) -> String {
    format!("CONNECT a.example:443 HTTP/1.1\r\n{fields}\r\n")
}

fn basic(login: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(login))
}

#[tokio::test]
async fn missing_or_wrong_credentials_are_407_and_the_connection_stays() {
    let mut world = World::start(with_user());
    let mut client = world.client().await;
    let wrong = [
        String::new(),
        basic("bob:wrong"),
        basic("bob"),
        basic("eve:p:w"),
        "Proxy-Authorization: Basic !!!\r\n".to_owned(),
        "Proxy-Authorization: Bearer abc\r\n".to_owned(),
        "Proxy-Authorization: Basic\r\n".to_owned(),
    ];
    for fields in wrong {
        client.send(connect(&fields)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 407, "{fields}");
        assert_eq!(answer.field("proxy-authenticate"), Some("Basic realm=\"pcs\""));
        assert_eq!(
            answer.field("proxy-status"),
            Some("pcs; error=http_request_denied")
        );
        assert_eq!(answer.field("connection"), None);
        assert_eq!(world.record().await.counted, Counted::Rejected(Rejection::Auth));
    }
    assert_eq!(world.asked(), []);
    client.send(connect(&basic("bob:p:w"))).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_forwarded_request_needs_credentials_too_and_they_stay_here() {
    let mut world = World::start(with_user());
    let mut client = world.client_with("GET http://a.example/ HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 407);
    client
        .send(format!(
            "GET http://a.example/ HTTP/1.1\r\n{}\r\n",
            basic("bob:p:w")
        ))
        .await;
    assert!(!world.upstream().await.head().await.contains("Authorization"));
}

#[tokio::test]
async fn a_refused_body_is_skipped_where_it_is_here_and_closes_where_it_is_not() {
    let world = World::start(with_user());
    let mut client = world
        .client_with("POST http://a.example/ HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    assert_eq!(client.answer().await.field("connection"), None);
    client
        .send("POST http://a.example/ HTTP/1.1\r\nContent-Length: 999\r\n\r\nbody")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (407, Some("close")));
    client.is_closed().await;
}

#[tokio::test]
async fn a_head_request_is_refused_without_a_body() {
    let world = World::start(with_user());
    let mut client = world.client_with("HEAD http://a.example/ HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 407 ") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn parameters_come_from_fields_and_user_names() {
    let cases = [
        (
            "X-Proxy-Sticky-Session: s1\r\nX-Proxy-Pool: eu\r\n".to_owned(),
            Some("eu"),
            Some("s1"),
        ),
        (basic("any-session-s2:whatever"), None, Some("s2")),
        (basic("any-session-s2-pool-us:"), Some("us"), Some("s2")),
        (
            format!(
                "{}X-Proxy-Sticky-Session: s3\r\n",
                basic("any-session-s2-pool-us:")
            ),
            Some("us"),
            Some("s3"),
        ),
        (basic("plain:x"), None, None),
        ("Proxy-Authorization: Digest x\r\n".to_owned(), None, None),
    ];
    for (fields, pool, session) in cases {
        let world = World::new();
        let mut client = world.client_with(connect(&fields)).await;
        assert_eq!(client.answer().await.status, 200);
        let asked = &world.asked()[0];
        assert_eq!(
            (asked.pool.as_deref(), asked.session.as_deref()),
            (pool, session),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn parameters_that_cannot_be_are_400() {
    for fields in [
        "X-Proxy-Sticky-Session: a b\r\n",
        "X-Proxy-Sticky-Session:\r\n",
        "X-Proxy-Pool: a/b\r\n",
    ] {
        let mut world = World::new();
        let mut client = world.client_with(connect(fields)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{fields}");
        assert_eq!(world.record().await.rejected, Some(Rejection::BadRequest));
        client.send(connect("")).await;
        assert_eq!(client.answer().await.status, 200, "the head was well-formed");
    }
}
