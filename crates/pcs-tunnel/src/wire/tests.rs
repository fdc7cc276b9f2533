//! Every handshake against scripted hops: whole, split anywhere, with surplus, and hostile. Here CONNECT and its logins.

mod hostile;
mod probe;
mod socks;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pcs_models::{Credentials, FailureKind, Secret, Target};

use super::ntlm::{Account, Fresh};
use super::*;

/// What the hop is to be sent, and what it answers then.
type Leg = (Vec<u8>, Vec<u8>);

/// Bytes behind the last answer, which belong to the stream.
const SURPLUS: &[u8] = b"\x16\x03\x01HTTP/1.1 200\r\n\r\nSSH-2.0-first";

fn leg(sent: impl AsRef<[u8]>, answered: impl AsRef<[u8]>) -> Leg {
    (sent.as_ref().to_vec(), answered.as_ref().to_vec())
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn credentials() -> Credentials {
    Credentials::try_new("user", Secret::new("pass".into())).unwrap()
}

/// Feeds one answer in pieces and keeps what is not consumed, as a driver does.
fn feed(
    talk: &mut dyn Handshake,
    held: &mut Vec<u8>,
    pieces: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<bool, HandshakeError> {
    for piece in pieces {
        held.extend_from_slice(piece);
        match talk.advance(held, out)? {
            Progress::NeedMore { consumed } => drop(held.drain(..consumed)),
            Progress::Done { consumed } => {
                held.drain(..consumed);
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Plays a script, each answer cut at `cut`; the last one has `surplus` behind it. Answers what is left over.
#[track_caller]
#[expect(
    clippy::panic_in_result_fn,
    reason = "the result is the handshake's; the script's own is asserted"
)]
fn play(
    talk: &mut dyn Handshake,
    script: &[Leg],
    cut: usize,
    surplus: &[u8],
) -> Result<Vec<u8>, HandshakeError> {
    let (mut out, mut held) = (Vec::new(), Vec::new());
    let first = talk.advance(&[], &mut out)?;
    assert_eq!(
        first,
        Progress::NeedMore { consumed: 0 },
        "nothing was received yet"
    );
    for (at, (sent, answered)) in script.iter().enumerate() {
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(sent),
            "message {at}, cut {cut}"
        );
        out.clear();
        let last = at + 1 == script.len();
        let mut answer = answered.clone();
        if last {
            answer.extend_from_slice(surplus);
        }
        let (head, tail) = answer.split_at(cut.min(answer.len()));
        let done = if feed(talk, &mut held, &[head], &mut out)? {
            held.extend_from_slice(tail);
            true
        } else {
            feed(talk, &mut held, &[tail], &mut out)?
        };
        assert_eq!(done, last, "over at answer {at}, cut {cut}");
    }
    assert!(out.is_empty(), "{:?}", String::from_utf8_lossy(&out));
    Ok(held)
}

/// Plays a script that ends well: whole, cut at every offset, byte by byte, each with and without surplus.
#[track_caller]
fn plays<'a, H: Handshake + 'a>(make: impl Fn() -> H, script: &[Leg]) {
    let longest = script
        .iter()
        .map(|(_, answered)| answered.len())
        .max()
        .unwrap_or_default();
    for surplus in [&[][..], SURPLUS] {
        for cut in 0..=longest + surplus.len() {
            let left = play(&mut make(), script, cut, surplus);
            assert_eq!(left.as_deref(), Ok(surplus), "cut {cut}");
        }
    }
    byte_by_byte(&mut make(), script);
}

#[track_caller]
fn byte_by_byte(talk: &mut dyn Handshake, script: &[Leg]) {
    let (mut out, mut held) = (Vec::new(), Vec::new());
    talk.advance(&[], &mut out).unwrap();
    for (at, (sent, answered)) in script.iter().enumerate() {
        assert_eq!(out, *sent, "message {at}");
        out.clear();
        let pieces: Vec<&[u8]> = answered.chunks(1).collect();
        assert_eq!(
            feed(talk, &mut held, &pieces, &mut out),
            Ok(at + 1 == script.len())
        );
    }
    assert!(held.is_empty());
}

/// Plays a script that ends badly: the same error wherever the last answer is cut.
#[track_caller]
fn fails<'a, H: Handshake + 'a>(make: impl Fn() -> H, script: &[Leg]) -> HandshakeError {
    let whole = play(&mut make(), script, usize::MAX, &[]).unwrap_err();
    let longest = script
        .iter()
        .map(|(_, answered)| answered.len())
        .max()
        .unwrap_or_default();
    for cut in 0..=longest {
        assert_eq!(
            play(&mut make(), script, cut, &[]),
            Err(whole.clone()),
            "cut {cut}"
        );
    }
    whole
}

fn connect(fields: &str) -> String {
    format!("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n{fields}\r\n")
}

const KEEP: &str = "Proxy-Connection: Keep-Alive\r\n";
const BASIC: &str = "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n";

fn fresh() -> Fresh {
    Fresh {
        nonce: [7; 8],
        now: 1,
    }
}

fn identity() -> NtlmIdentity<'static> {
    NtlmIdentity {
        account: Account {
            domain: "CORP",
            user: "user",
            password: "pass",
        },
        fresh: fresh(),
    }
}

fn auto(first: Scheme, basic: Option<&Secret>) -> Login<'_> {
    Login {
        first,
        may_switch: true,
        basic,
        ntlm: Some(identity()),
        known: true,
    }
}

fn negotiate_field() -> String {
    format!(
        "Proxy-Authorization: NTLM {}\r\n",
        STANDARD.encode(ntlm::negotiate())
    )
}

/// A CHALLENGE message without target information.
fn challenge_message() -> Vec<u8> {
    let mut message = b"NTLMSSP\0".to_vec();
    message.extend([2, 0, 0, 0]);
    message.extend([0; 8]);
    message.extend(0x0008_8205_u32.to_le_bytes());
    message.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    message.extend([0; 24]);
    message
}

fn challenge_value() -> String {
    STANDARD.encode(challenge_message())
}

fn authenticate_value() -> String {
    let challenge = ntlm::Challenge::parse(challenge_message()).unwrap();
    let identity = identity();
    STANDARD.encode(ntlm::authenticate(&challenge, &identity.account, identity.fresh))
}

fn authenticate_field() -> String {
    format!("Proxy-Authorization: NTLM {}\r\n", authenticate_value())
}

const OK: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// A 407 that keeps its connection, with a body.
fn asks(challenges: &[&str]) -> String {
    let fields: String = challenges
        .iter()
        .map(|value| format!("Proxy-Authenticate: {value}\r\n"))
        .collect();
    format!("HTTP/1.1 407 Authenticate\r\n{fields}Content-Length: 5\r\n\r\n<p>no")
}

#[test]
fn connect_takes_any_2xx_and_ignores_its_framing() {
    let place = target("example.com:443");
    let answers = [
        OK,
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 200\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 299 \r\nX: y\r\n\r\n",
        "HTTP/1.1 200 OK\nX: bare line feeds\n\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ];
    for answer in answers {
        plays(
            || HttpConnect::new(&place, Login::NONE),
            &[leg(connect(""), answer)],
        );
    }
}

#[test]
fn connect_names_ipv6_targets_in_brackets() {
    let place = target("[2001:db8::1]:443");
    let sent = "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n";
    plays(|| HttpConnect::new(&place, Login::NONE), &[leg(sent, OK)]);
}

#[test]
fn connect_refused_tells_status_and_a_printable_reason() {
    let place = target("example.com:443");
    let make = || HttpConnect::new(&place, Login::NONE);
    let error = fails(
        make,
        &[leg(connect(""), "HTTP/1.1 503 Service Unavailable\r\n\r\n")],
    );
    assert_eq!((error.kind(), error.status()), (FailureKind::Status, Some(503)));
    assert_eq!(error.to_string(), "answered 503 Service Unavailable");
    let odd = format!("HTTP/1.1 403 a\tb{}\r\n\r\n", "x".repeat(300));
    let text = fails(make, &[leg(connect(""), odd)]).to_string();
    assert!(text.starts_with("answered 403 a?bxxx"), "{text}");
    assert_eq!(text.len(), "answered 403 ".len() + Reason::MAX);
    let redirect = fails(
        make,
        &[leg(
            connect(""),
            "HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n",
        )],
    );
    assert_eq!(redirect.status(), Some(302));
    let switch = fails(make, &[leg(connect(""), "HTTP/1.1 101 Switching\r\n\r\n")]);
    assert_eq!(
        switch.status(),
        Some(101),
        "nothing was asked that 101 could answer"
    );
}

#[test]
fn connect_refuses_what_is_no_http() {
    let place = target("example.com:443");
    let make = || HttpConnect::new(&place, Login::NONE);
    let noise: &[&[u8]] = &[
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 099 Little\r\n\r\n",
        b"<html>",
    ];
    for bytes in noise {
        let error = fails(make, &[leg(connect(""), bytes)]);
        assert_eq!(
            error.kind(),
            FailureKind::Protocol,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn connect_bounds_heads_and_interim_answers() {
    let place = target("example.com:443");
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(70_000));
    let error = play(
        &mut HttpConnect::new(&place, Login::NONE),
        &[leg(connect(""), huge)],
        40_000,
        &[],
    );
    assert_eq!(error, Err(HandshakeError::Head(http1::HeadError::TooLarge)));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(17);
    let error = play(
        &mut HttpConnect::new(&place, Login::NONE),
        &[leg(connect(""), interim)],
        100,
        &[],
    );
    assert_eq!(error.unwrap_err().kind(), FailureKind::Protocol);
    let many: String = (0..300).map(|n| format!("X{n}: y\r\n")).collect();
    let fields = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    let error = play(
        &mut HttpConnect::new(&place, Login::NONE),
        &[leg(connect(""), fields)],
        100,
        &[],
    );
    assert_eq!(error, Err(HandshakeError::Head(http1::HeadError::TooManyFields)));
}

#[test]
fn a_hop_that_wants_credentials_we_lack_is_told_so() {
    let place = target("example.com:443");
    let error = fails(
        || HttpConnect::new(&place, Login::NONE),
        &[leg(connect(""), asks(&["Basic realm=x"]))],
    );
    assert_eq!(
        error,
        HandshakeError::Auth {
            status: Some(407),
            problem: AuthProblem::Missing
        }
    );
}

#[test]
fn forced_basic_goes_unasked_and_is_not_repeated() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let login = Login {
        first: Scheme::Basic,
        may_switch: false,
        basic: Some(&value),
        ntlm: None,
        known: true,
    };
    let make = || HttpConnect::new(&place, login);
    plays(make, &[leg(connect(BASIC), OK)]);
    let error = fails(make, &[leg(connect(BASIC), asks(&["Basic realm=x", "NTLM"]))]);
    let problem = AuthProblem::Refused("Basic");
    assert_eq!(
        error,
        HandshakeError::Auth {
            status: Some(407),
            problem
        }
    );
    assert!(!error.to_string().contains("dXNlcjpwYXNz"), "{error}");
}

#[test]
fn an_asking_hop_gets_the_strongest_scheme_it_offers() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let make = || HttpConnect::new(&place, auto(Scheme::Unasked, Some(&value)));
    for body in [
        asks(&["Basic realm=\"x\""]),
        "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\n<p>\r\n0\r\nT: r\r\n\r\n".to_owned(),
        "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.0 407 No\r\nProxy-Authenticate: Basic realm=x\r\nProxy-Connection: keep-alive\r\nContent-Length: 1\r\n\r\n!".to_owned(),
    ] {
        plays(make, &[leg(connect(KEEP), &body), leg(connect(BASIC), OK)]);
    }
    let opening = negotiate_field() + KEEP;
    let proof = authenticate_field() + KEEP;
    let challenge = format!("NTLM {}", challenge_value());
    plays(
        make,
        &[
            leg(connect(KEEP), asks(&["Negotiate", "NTLM", "Basic realm=x"])),
            leg(connect(&opening), asks(&[&challenge])),
            leg(connect(&proof), OK),
        ],
    );
    let mut talk = make();
    play(
        &mut talk,
        &[
            leg(connect(KEEP), asks(&["Basic realm=x"])),
            leg(connect(BASIC), OK),
        ],
        9,
        &[],
    )
    .unwrap();
    assert_eq!(
        talk.scheme(),
        Scheme::Basic,
        "what worked is there to be remembered"
    );
    let said = talk.take_said().map(|said| said.to_string());
    assert_eq!(said.as_deref(), Some("200 Connection established"));
}

#[test]
fn a_hop_that_closes_after_its_407_is_asked_again_elsewhere() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let make = || HttpConnect::new(&place, auto(Scheme::Unasked, Some(&value)));
    let ends = [
        "HTTP/1.1 407 No\r\nProxy-Connection: close\r\nContent-Length: 3\r\n",
        "HTTP/1.1 407 No\r\nConnection: x, Close\r\nContent-Length: 3\r\n",
        "HTTP/1.1 407 No\r\n",
        "HTTP/1.0 407 No\r\nContent-Length: 3\r\n",
        "HTTP/1.1 407 No\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    ];
    for (offer, scheme) in [("Basic realm=x", Scheme::Basic), ("NTLM", Scheme::Ntlm)] {
        for head in ends {
            let answer = format!("{head}Proxy-Authenticate: {offer}\r\n\r\n");
            let error = fails(make, &[leg(connect(KEEP), answer)]);
            assert_eq!(error, HandshakeError::Redial(scheme), "{head}");
        }
    }
}

#[test]
fn a_remembered_scheme_that_is_refused_gives_way_to_the_other() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let challenge = format!("NTLM {}", challenge_value());
    plays(
        || HttpConnect::new(&place, auto(Scheme::Basic, Some(&value))),
        &[
            leg(connect(BASIC), asks(&["NTLM"])),
            leg(connect(&(negotiate_field() + KEEP)), asks(&[&challenge])),
            leg(connect(&(authenticate_field() + KEEP)), OK),
        ],
    );
    plays(
        || HttpConnect::new(&place, auto(Scheme::Ntlm, Some(&value))),
        &[
            leg(connect(&(negotiate_field() + KEEP)), asks(&["Basic realm=x"])),
            leg(connect(BASIC), OK),
        ],
    );
}

#[test]
fn ntlm_refused_is_an_auth_failure_and_never_falls_back_to_basic() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let make = || HttpConnect::new(&place, auto(Scheme::Ntlm, Some(&value)));
    let challenge = format!("NTLM {}", challenge_value());
    let error = fails(
        make,
        &[
            leg(connect(&(negotiate_field() + KEEP)), asks(&[&challenge])),
            leg(
                connect(&(authenticate_field() + KEEP)),
                asks(&["NTLM", "Basic realm=x"]),
            ),
        ],
    );
    let problem = AuthProblem::Refused("NTLM");
    assert_eq!(
        error,
        HandshakeError::Auth {
            status: Some(407),
            problem
        }
    );
    let closing = format!(
        "HTTP/1.1 407 No\r\nProxy-Authenticate: {challenge}\r\nProxy-Connection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let error = fails(make, &[leg(connect(&(negotiate_field() + KEEP)), closing)]);
    assert_eq!(
        error,
        HandshakeError::Auth {
            status: Some(407),
            problem: AuthProblem::Closed
        }
    );
    for token in ["NTLM !!!", "NTLM TlRM", "NTLM TlRMTVNTUAABAAAA"] {
        let error = fails(make, &[leg(connect(&(negotiate_field() + KEEP)), asks(&[token]))]);
        assert_eq!(error.kind(), FailureKind::Auth, "{token}");
    }
}

#[test]
fn a_domain_password_is_never_sent_in_the_clear() {
    let place = target("example.com:443");
    let make = || HttpConnect::new(&place, auto(Scheme::Unasked, None));
    let error = fails(make, &[leg(connect(KEEP), asks(&["Basic realm=x"]))]);
    assert!(matches!(
        error,
        HandshakeError::Auth {
            problem: AuthProblem::NoCommonScheme {
                may: "NTLM",
                offers: "Basic"
            },
            ..
        }
    ));
}

#[test]
fn an_endless_407_is_given_up() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let mut talk = HttpConnect::new(&place, auto(Scheme::Unasked, Some(&value)));
    let head = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 9999999\r\n\r\n";
    let answer = format!("{head}{}", "x".repeat(300_000));
    let error = play(&mut talk, &[leg(connect(KEEP), answer)], 10_000, &[]).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Protocol);
}

#[test]
fn only_the_legs_that_reach_beyond_name_the_target() {
    let (place, value) = (target("example.com:443"), basic(&credentials()));
    let mut talk = HttpConnect::new(&place, auto(Scheme::Ntlm, Some(&value)));
    assert!(!talk.has_named_target());
    let mut out = Vec::new();
    talk.advance(&[], &mut out).unwrap();
    assert!(
        !talk.has_named_target(),
        "the hop itself answers the opening of NTLM"
    );
    let challenge = asks(&[&format!("NTLM {}", challenge_value())]);
    talk.advance(challenge.as_bytes(), &mut out).unwrap();
    assert!(talk.has_named_target());
}
