//! SOCKS4, SOCKS4a and SOCKS5.

use super::*;

#[test]
fn socks4_asks_for_addresses_and_names() {
    let granted = [0, 90, 0, 0, 0, 0, 0, 0];
    let cases: &[(&str, &str, &[u8])] = &[
        ("10.1.2.3:443", "", b"\x04\x01\x01\xbb\x0a\x01\x02\x03\0"),
        ("10.1.2.3:80", "me", b"\x04\x01\x00\x50\x0a\x01\x02\x03me\0"),
        (
            "example.com:443",
            "",
            b"\x04\x01\x01\xbb\0\0\0\x01\0example.com\0",
        ),
        ("[::ffff:10.1.2.3]:443", "", b"\x04\x01\x01\xbb\x0a\x01\x02\x03\0"),
    ];
    for (place, user, sent) in cases {
        let place = target(place);
        plays(|| Socks4Connect::new(&place, user), &[leg(sent, granted)]);
    }
    let place = target("example.com:443");
    let sent = b"\x04\x01\x01\xbb\0\0\0\x01\0example.com\0";
    for (code, kind) in [
        (91, FailureKind::Status),
        (92, FailureKind::Auth),
        (93, FailureKind::Auth),
    ] {
        let error = fails(
            || Socks4Connect::new(&place, ""),
            &[leg(sent, [0, code, 0, 0, 0, 0, 0, 0])],
        );
        assert_eq!(
            (error.clone(), error.kind()),
            (HandshakeError::Reply(SocksReply::V4(code)), kind)
        );
    }
    for noise in [&b"HTTP/1.1 400\r\n"[..], &[0, 17, 0, 0, 0, 0, 0, 0]] {
        let error = fails(|| Socks4Connect::new(&place, ""), &[leg(sent, noise)]);
        assert_eq!(error.kind(), FailureKind::Protocol);
    }
}

#[test]
fn socks4_cannot_name_ipv6() {
    let place = target("[2001:db8::1]:443");
    let error = Socks4Connect::new(&place, "")
        .advance(&[], &mut Vec::new())
        .unwrap_err();
    assert_eq!(
        (error.clone(), error.kind()),
        (HandshakeError::Ipv6OverSocks4, FailureKind::Protocol)
    );
}

#[test]
fn socks5_is_greeted_with_and_without_credentials() {
    let own = credentials();
    plays(|| Socks5Greeting::new(None), &[leg([5, 1, 0], [5, 0])]);
    plays(|| Socks5Greeting::new(Some(&own)), &[leg([5, 2, 0, 2], [5, 0])]);
    let login = b"\x01\x04user\x04pass";
    plays(
        || Socks5Greeting::new(Some(&own)),
        &[leg([5, 2, 0, 2], [5, 2]), leg(login, [1, 0])],
    );
    let refusals: [(&[Leg], bool, FailureKind); 7] = [
        (&[leg([5, 1, 0], [5, 255])], false, FailureKind::Auth),
        (&[leg([5, 2, 0, 2], [5, 255])], true, FailureKind::Auth),
        (
            &[leg([5, 2, 0, 2], [5, 2]), leg(login, [1, 1])],
            true,
            FailureKind::Auth,
        ),
        (&[leg([5, 1, 0], [5, 2])], false, FailureKind::Protocol),
        (&[leg([5, 1, 0], [5, 1])], false, FailureKind::Protocol),
        (&[leg([5, 1, 0], [4, 0])], false, FailureKind::Protocol),
        (
            &[leg([5, 2, 0, 2], [5, 2]), leg(login, b"HTTP")],
            true,
            FailureKind::Protocol,
        ),
    ];
    for (script, with, kind) in refusals {
        let error = fails(|| Socks5Greeting::new(with.then_some(&own)), script);
        assert_eq!(error.kind(), kind, "{script:?}");
        assert!(!error.to_string().contains("pass\""), "{error}");
    }
}

#[test]
fn socks5_asks_for_addresses_and_names() {
    let ok4: &[u8] = &[5, 0, 0, 1, 127, 0, 0, 1, 0x1f, 0x90];
    let ok6: &[u8] = &[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80];
    let named: &[u8] = b"\x05\0\0\x03\x04host\0\x50";
    let empty: &[u8] = &[5, 0, 0, 3, 0, 0, 80];
    let cases: &[(&str, &[u8])] = &[
        ("10.1.2.3:443", b"\x05\x01\0\x01\x0a\x01\x02\x03\x01\xbb"),
        (
            "[2001:db8::1]:443",
            b"\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb",
        ),
        ("example.com:443", b"\x05\x01\0\x03\x0bexample.com\x01\xbb"),
    ];
    for (place, sent) in cases {
        let place = target(place);
        for answer in [ok4, ok6, named, empty] {
            plays(|| Socks5Connect::new(&place), &[leg(sent, answer)]);
        }
    }
}

#[test]
fn socks5_replies_have_their_kinds() {
    let place = target("10.1.2.3:443");
    let sent = b"\x05\x01\0\x01\x0a\x01\x02\x03\x01\xbb";
    let cases = [
        (1, FailureKind::Status),
        (2, FailureKind::Status),
        (3, FailureKind::Unreachable),
        (4, FailureKind::Unreachable),
        (5, FailureKind::Refused),
        (6, FailureKind::Timeout),
        (7, FailureKind::Status),
        (8, FailureKind::Status),
        (200, FailureKind::Status),
    ];
    for (code, kind) in cases {
        // Some servers say no more than this before they close.
        let error = fails(|| Socks5Connect::new(&place), &[leg(sent, [5, code])]);
        assert_eq!(
            (error.clone(), error.kind()),
            (HandshakeError::Reply(SocksReply::V5(code)), kind)
        );
    }
    for noise in [&b"HTTP/1.1 400\r\n"[..], &[5, 0, 0, 9, 0]] {
        let error = fails(|| Socks5Connect::new(&place), &[leg(sent, noise)]);
        assert_eq!(error.kind(), FailureKind::Protocol);
    }
}
