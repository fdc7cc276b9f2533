//! SOCKS5.

use pcs_models::{Credentials, FailureKind, Secret};
use pcs_server::{Protocols, Rejection, Settings, Users};

use crate::world::{Client, Gift, Step, World, failure};

const NO_LOGIN: &[u8] = &[5, 1, 0];
const REQUEST: &[u8] = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb";

fn with_user() -> Settings {
    let user = Credentials::try_new("bob", Secret::new("pw".into())).unwrap();
    Settings {
        users: Some(Users::new([user])),
        ..Settings::default()
    }
}

fn login(user: &str, password: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    let parts: [&[u8]; 5] = [
        &[1],
        &[length(user)],
        user.as_bytes(),
        &[length(password)],
        password.as_bytes(),
    ];
    parts.concat()
}

async fn reply(client: &mut Client) -> u8 {
    let reply = client.take(10).await;
    assert_eq!((reply[0], &reply[2..]), (5, &[0, 1, 0, 0, 0, 0, 0, 0][..]));
    reply[1]
}

#[tokio::test]
async fn a_tunnel_is_built_and_early_bytes_go_both_ways() {
    let mut world = World::new();
    world.will_give(Gift {
        early: b"banner",
        ..Gift::origin()
    });
    let mut client = world.client_with([NO_LOGIN, REQUEST, b"early"].concat()).await;
    assert_eq!(client.take(2).await, [5, 0]);
    assert_eq!(reply(&mut client).await, 0);
    assert_eq!(client.take(6).await, b"banner");
    let mut up = world.upstream().await;
    assert_eq!(up.until("early").await, "early");
    assert_eq!(world.asked()[0].target, "example.com:443");
    drop((client, up));
    let record = world.record().await;
    assert_eq!((record.method.as_str(), record.status), ("SOCKS5", 200));
}

#[tokio::test]
async fn every_byte_may_come_alone() {
    let world = World::start(with_user());
    let mut client = world.client().await;
    for byte in [&[5, 2, 0, 2], login("bob", "pw").as_slice(), REQUEST].concat() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.take(4).await, [5, 2, 1, 0]);
    assert_eq!(reply(&mut client).await, 0);
}

#[tokio::test]
async fn failures_of_the_chain_are_told_by_one_table() {
    let rows = [
        (FailureKind::Timeout, 6),
        (FailureKind::Refused, 5),
        (FailureKind::Unreachable, 4),
        (FailureKind::Dns, 4),
        (FailureKind::Denied, 2),
        (FailureKind::Reset, 1),
        (FailureKind::Auth, 1),
        (FailureKind::Status, 1),
        (FailureKind::Protocol, 1),
        (FailureKind::Tls, 1),
        (FailureKind::Loop, 1),
        (FailureKind::Exhausted, 1),
        (FailureKind::UnknownPool, 1),
        (FailureKind::BadSession, 1),
        (FailureKind::Local, 1),
    ];
    for (kind, expected) in rows {
        let world = World::new();
        world.will(failure(kind, Some("p1"), None));
        let mut client = world.client_with([NO_LOGIN, REQUEST].concat()).await;
        client.take(2).await;
        assert_eq!(reply(&mut client).await, expected, "{kind}");
        client.is_closed().await;
    }
    let world = World::new();
    world.will(failure(FailureKind::Status, Some("p1"), Some(504)));
    let mut client = world.client_with([NO_LOGIN, REQUEST].concat()).await;
    client.take(2).await;
    assert_eq!(reply(&mut client).await, 6, "a hop that says 504 is slow");
}

#[tokio::test(start_paused = true)]
async fn slow_ways_are_6_and_slow_clients_are_closed() {
    let world = World::new();
    world.will(Step::Hang);
    let mut client = world.client_with([NO_LOGIN, REQUEST].concat()).await;
    client.take(2).await;
    assert_eq!(reply(&mut client).await, 6);
    let mut client = world.client_with([5, 1]).await;
    client.is_closed().await;
    assert_eq!(world.turned_away(), [Rejection::HeadTimeout]);
}

#[tokio::test]
async fn users_have_to_log_in() {
    let cases: &[(&[u8], Vec<u8>, &[u8])] = &[
        (&[5, 1, 0], Vec::new(), &[5, 0xff]),
        (&[5, 1, 2], login("bob", "wrong"), &[5, 2, 1, 1]),
        (&[5, 1, 2], login("eve", "pw"), &[5, 2, 1, 1]),
        (&[5, 1, 2], login("", ""), &[5, 2, 1, 1]),
    ];
    for (greeting, login, expected) in cases {
        let world = World::start(with_user());
        let mut client = world.client_with([greeting, login.as_slice()].concat()).await;
        assert_eq!(client.rest().await, *expected);
        assert_eq!(world.turned_away(), [Rejection::Auth]);
        assert_eq!(world.asked(), []);
    }
}

#[tokio::test]
async fn user_names_carry_parameters_with_and_without_users() {
    let name = "bob-pool-eu-session-s1";
    for settings in [Settings::default(), with_user()] {
        let world = World::start(settings);
        let bytes = [&[5, 2, 0, 2], login(name, "pw").as_slice(), REQUEST].concat();
        let mut client = world.client_with(bytes).await;
        assert_eq!(client.take(4).await, [5, 2, 1, 0]);
        assert_eq!(reply(&mut client).await, 0);
        let asked = &world.asked()[0];
        assert_eq!(
            (asked.pool.as_deref(), asked.session.as_deref()),
            (Some("eu"), Some("s1"))
        );
    }
}

#[tokio::test]
async fn what_this_server_does_not_do_is_refused_by_its_own_reply() {
    let cases: &[(&[u8], u8)] = &[
        (&[5, 2, 0, 1, 127, 0, 0, 1, 0, 80], 7),
        (&[5, 3, 0, 1, 127, 0, 0, 1, 0, 80], 7),
        (&[5, 1, 0, 9, 0, 0], 8),
        (&[5, 1, 0, 1, 127, 0, 0, 1, 0, 0], 1),
        (b"\x05\x01\x00\x03\x03a b\x00\x50", 1),
    ];
    for (request, expected) in cases {
        let world = World::new();
        let mut client = world.client_with([NO_LOGIN, request].concat()).await;
        client.take(2).await;
        assert_eq!(reply(&mut client).await, *expected, "{request:?}");
        assert_eq!(world.asked(), []);
    }
}

#[tokio::test]
async fn protocols_can_be_switched_off() {
    let only = |http, socks5| Settings {
        protocols: Protocols { http, socks5 },
        ..Settings::default()
    };
    let world = World::start(only(true, false));
    world.client_with(NO_LOGIN).await.is_closed().await;
    assert_eq!(
        world
            .client_with("GET /health HTTP/1.1\r\n\r\n")
            .await
            .answer()
            .await
            .status,
        200
    );
    let answer = world.client_with("GET / HTTP/1.1\r\n\r\n").await.answer().await;
    assert!(
        answer.body.contains("set it as the HTTP proxy of your"),
        "{}",
        answer.body
    );
    let world = World::start(only(false, true));
    world
        .client_with("GET /health HTTP/1.1\r\n\r\n")
        .await
        .is_closed()
        .await;
    assert_eq!(world.client_with(NO_LOGIN).await.take(2).await, [5, 0]);
}
