//! A hop's answers to CONNECT and to the probe for plain requests, with every way to log in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pcs_models::{Credentials, Secret, Target};
use pcs_tunnel::wire::http1::{HeadScan, Strictness, Version, read_request, slots};
use pcs_tunnel::wire::ntlm::{Account, Fresh};
use pcs_tunnel::wire::{Handshake, HttpConnect, HttpProbe, Login, NtlmIdentity, Scheme, basic};

use crate::talk::{Talked, reveals, talk_in_every_way};

const PASSWORD: &str = "hunter2-connect";

pub(crate) fn run(data: &[u8]) {
    let target: Target = "target.example:443".parse().expect("an address");
    let credentials =
        Credentials::try_new("alice", Secret::new(PASSWORD.to_owned())).expect("they can be sent");
    let basic = basic(&credentials);
    let ntlm = NtlmIdentity {
        account: Account::new("CORP\\alice", None, PASSWORD),
        fresh: Fresh {
            nonce: *b"nonsense",
            now: 134_398_656_000_000_000,
        },
    };
    let login = |first, may_switch, with_basic: bool, with_ntlm: bool| Login {
        first,
        may_switch,
        basic: with_basic.then_some(&basic),
        ntlm: with_ntlm.then_some(ntlm),
        known: with_basic || with_ntlm,
    };
    let logins = [
        Login::NONE,
        login(Scheme::Basic, false, true, false),
        login(Scheme::Unasked, true, true, true),
        login(Scheme::Ntlm, false, false, true),
        login(Scheme::Basic, true, true, true),
    ];
    for login in logins {
        let talked = talk_in_every_way(data, || HttpConnect::new(&target, login));
        check(data, &talked, "CONNECT");
        hides(data, &HttpConnect::new(&target, login));
        let talked = talk_in_every_way(data, || HttpProbe::new(&target, login));
        check(data, &talked, "HEAD");
        hides(data, &HttpProbe::new(&target, login));
    }
}

fn check(data: &[u8], talked: &Talked, method: &str) {
    each_request(&talked.sent, method);
    let sent = String::from_utf8_lossy(&talked.sent);
    assert!(
        !reveals(&sent, &[PASSWORD], data),
        "the password goes encoded or not at all"
    );
    let said = talked.said.as_deref().unwrap_or_default();
    let error = talked
        .end
        .as_ref()
        .err()
        .map(|error| format!("{error} {error:?}"))
        .unwrap_or_default();
    let encoded = STANDARD.encode(format!("alice:{PASSWORD}"));
    for text in [said, &error] {
        assert!(!reveals(text, &[PASSWORD, &encoded], data), "{text}");
    }
    assert!(
        said.len() <= 200 && said.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{said:?}"
    );
    assert!(!error.contains(['\r', '\n']), "{error:?}");
}

/// Everything sent is one well-formed request after the other, each without a body.
fn each_request(mut sent: &[u8], method: &str) {
    assert!(!sent.is_empty());
    while !sent.is_empty() {
        let end = HeadScan::new(Strictness::Crlf, 1 << 20).advance(sent);
        let end = end.ok().flatten().expect("requests end");
        let (bytes, rest) = sent.split_at_checked(end).expect("an end is not behind the end");
        let mut slots = slots();
        let head = read_request(bytes, &mut slots).expect("our requests are well-formed");
        assert_eq!((head.method, head.version), (method, Version::Http11));
        assert_eq!(head.fields.text("host"), Some("target.example:443"));
        assert!(head.fields.all("proxy-authorization").count() <= 1);
        sent = rest;
    }
}

fn hides<H: Handshake + std::fmt::Debug>(data: &[u8], handshake: &H) {
    assert!(!reveals(&format!("{handshake:?}"), &[PASSWORD], data));
}
