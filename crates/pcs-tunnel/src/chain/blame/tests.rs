use pcs_models::{Endpoint, Protocol, ProxyId};

use super::*;
use crate::wire::{AuthProblem, Reason};

/// `first`, `second`, `third`.
fn chain() -> ChainSpec {
    let hop = |(at, name): (usize, &str)| {
        let endpoint: Endpoint = format!("10.0.0.{at}:3128").parse().unwrap();
        Hop::new(Protocol::Http, endpoint).named(HopName::from(&ProxyId::try_new(name).unwrap()))
    };
    ChainSpec::try_new(
        ["first", "second", "third"]
            .into_iter()
            .enumerate()
            .map(hop)
            .collect(),
    )
    .unwrap()
}

fn status(status: u16) -> DriveError {
    DriveError::Handshake(HandshakeError::Status {
        status,
        reason: Reason::new("Told To"),
    })
}

fn reply(reply: SocksReply) -> DriveError {
    DriveError::Handshake(HandshakeError::Reply(reply))
}

fn hop(at: u8) -> Blame {
    Blame::Hop(HopIndex(at))
}

/// The middle hop, asked for the last, and the last hop, asked for the target.
#[track_caller]
fn check(make: impl Fn() -> DriveError, named: bool, middle: (Blame, &str), last: (Blame, &str)) {
    let target: Target = "example.com:443".parse().unwrap();
    for (at, (blame, name)) in [(1, middle), (2, last)] {
        let error = refused(&chain(), at, &target, named, make());
        assert_eq!(
            (error.blame(), error.hop().unwrap().as_str()),
            (blame, name),
            "hop {at}: {error}"
        );
        let retry = if blame == Blame::Client {
            Retry::Never
        } else {
            Retry::Other
        };
        assert_eq!(error.retry(), retry, "{error}");
        let who = if at == 1 {
            "second (10.0.0.1:3128) "
        } else {
            "third (10.0.0.2:3128) "
        };
        assert!(error.to_string().starts_with(who), "{error}");
    }
}

#[test]
fn statuses_are_blamed_on_who_is_said_to_fail() {
    for code in [502, 503, 504] {
        check(|| status(code), true, (hop(2), "third"), (Blame::Target, "third"));
    }
    for code in [302, 400, 403, 404, 429, 500] {
        check(
            || status(code),
            true,
            (hop(1), "second"),
            (Blame::Target, "third"),
        );
    }
}

#[test]
fn socks_replies_are_blamed_on_who_is_said_to_fail() {
    for code in 3..=6 {
        let target = (Blame::Target, "target");
        check(|| reply(SocksReply::V5(code)), true, (hop(2), "third"), target);
    }
    for general in [SocksReply::V5(1), SocksReply::V4(91)] {
        check(
            || reply(general),
            true,
            (hop(2), "third"),
            (Blame::Target, "third"),
        );
    }
    for code in [2, 7, 8, 99] {
        check(
            || reply(SocksReply::V5(code)),
            true,
            (hop(1), "second"),
            (Blame::Target, "third"),
        );
    }
    check(
        || reply(SocksReply::V4(93)),
        true,
        (hop(1), "second"),
        (hop(2), "third"),
    );
}

#[test]
fn what_a_hop_does_wrong_by_itself_is_its_own() {
    let own = [
        HandshakeError::Auth {
            status: Some(407),
            problem: AuthProblem::Missing,
        },
        HandshakeError::Malformed("bytes that are no HTTP"),
        HandshakeError::Head(crate::wire::http1::HeadError::TooLarge),
    ];
    for error in own {
        check(
            || DriveError::Handshake(error.clone()),
            true,
            (hop(1), "second"),
            (hop(2), "third"),
        );
    }
}

#[test]
fn silence_is_blamed_on_the_next_once_it_was_named() {
    check(
        || DriveError::Late,
        true,
        (hop(2), "third"),
        (Blame::Target, "third"),
    );
    check(|| DriveError::Late, false, (hop(1), "second"), (hop(2), "third"));
}

#[test]
fn an_end_is_the_hop_s_own_unless_it_may_be_the_target_s() {
    let reset = || DriveError::Io(io::ErrorKind::ConnectionReset.into());
    for make in [&(|| DriveError::Ended) as &dyn Fn() -> DriveError, &reset] {
        check(make, true, (hop(1), "second"), (Blame::Target, "third"));
        check(make, false, (hop(1), "second"), (hop(2), "third"));
    }
}

#[test]
fn an_ipv6_address_behind_socks4_is_nobody_s_failure() {
    let make = || DriveError::Handshake(HandshakeError::Ipv6OverSocks4);
    check(make, true, (hop(2), "third"), (Blame::Client, "third"));
}

#[test]
fn the_text_says_who_answered_what_to_what() {
    let target = "example.com:443".parse().unwrap();
    let error = refused(&chain(), 2, &target, true, status(503));
    assert_eq!(
        error.to_string(),
        "third (10.0.0.2:3128) answered 503 Told To to CONNECT example.com:443"
    );
    assert_eq!((error.kind(), error.status()), (FailureKind::Status, Some(503)));
    let error = refused(&chain(), 0, &target, true, status(403));
    assert_eq!(
        error.to_string(),
        "first (10.0.0.0:3128) answered 403 Told To to CONNECT 10.0.0.1:3128"
    );
}
