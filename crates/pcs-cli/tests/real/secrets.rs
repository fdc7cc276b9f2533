//! No password in any output, whatever goes wrong and however much is said.

use std::time::Duration;

use pcs_testkit::real::{Squid, Tinyproxy, find};
use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy, need};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::{ask, curl, dial};
use crate::pcs::{CORPORATE, Call, Pcs, ROTATING, config, corporate, member, silence_after};

/// What a client of PCS proves itself with.
const CLIENT: (&str, &str) = ("client-user", "client-s3cret-Pc");
/// The admin API's token.
const TOKEN: &str = "token-s3cret-Pd";

/// Secrets as they are, and in the shapes that they travel in.
fn forbidden() -> Vec<String> {
    let mut shapes = vec![TOKEN.to_owned()];
    for (user, password) in [CORPORATE, ROTATING, CLIENT] {
        shapes.push(password.to_owned());
        shapes.push(base64(format!("{user}:{password}").as_bytes()));
        shapes.push(base64(password.as_bytes()).trim_end_matches('=').to_owned());
        shapes.push(password.bytes().map(|byte| format!("{byte:02x}")).collect());
    }
    shapes
}

fn assert_clean(what: &str, text: &str) {
    let text = text.to_lowercase();
    for secret in forbidden() {
        if let Some((before, after)) = text.split_once(&secret.to_lowercase()) {
            let before: String = before
                .chars()
                .rev()
                .take(200)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            let after: String = after.chars().take(200).collect();
            panic!("{what} shows a secret: …{before} >>> {secret} <<< {after}…");
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// Everything said at the loudest, with credentials wanted everywhere.
fn loud(corporate: &str, member: &str) -> String {
    let server = format!(
        "auth: {{users: [{{username: {}, password: {}}}]}}",
        CLIENT.0, CLIENT.1
    );
    let more = format!("retry: {{enabled: false}}\nadmin_token: {TOKEN}");
    config(Some(corporate), &[member.to_owned()], &more)
        .replace("server: {port: 0,", &format!("server: {{port: 0, {server},"))
        .replace("admin: {port: 0}", &format!("admin: {{port: 0, token: {TOKEN}}}"))
        .replace(&format!("\nadmin_token: {TOKEN}"), "")
}

async fn start_loud(config: &str) -> Pcs {
    Call::with(config)
        .args(&["--log-level", "TRACE"])
        .env("RUST_LOG", "trace")
        .start()
        .await
}

/// Right, wrong and malformed requests by HTTP and SOCKS, and all that came back.
async fn talk(pcs: &Pcs, origin: &Origin) -> String {
    let target = origin.address();
    let right = base64(format!("{}:{}", CLIENT.0, CLIENT.1).as_bytes());
    let wrong = base64(format!("{}:{}", CLIENT.0, "no").as_bytes());
    let mut said = String::new();
    for login in [&right, &wrong] {
        let login = format!("Proxy-Authorization: Basic {login}\r\n");
        for request in [
            format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n"),
            format!(
                "GET http://{target}/?key={} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n",
                "query"
            ),
            format!("GET http://{target}/ HTTP/1.1\r\nHost: {target}\r\n{login}Bad Field: x\r\n\r\n"),
            format!("CONNECT {target}:99999 HTTP/1.1\r\n{login}\r\n"),
            format!("GET /nowhere HTTP/1.1\r\nHost: x\r\n{login}\r\n"),
        ] {
            let answer = ask(pcs.address(), &request).await;
            said.push_str(&answer.head);
            said.push_str(&answer.body);
        }
    }
    for password in [CLIENT.1, "no"] {
        let mut socks = dial(pcs.address()).await;
        let mut hello = vec![5, 1, 2, 1, u8::try_from(CLIENT.0.len()).unwrap()];
        hello.extend(CLIENT.0.bytes());
        hello.push(u8::try_from(password.len()).unwrap());
        hello.extend(password.bytes());
        hello.extend([5, 1, 0, 1, 127, 0, 0, 1]);
        hello.extend(target.port().to_be_bytes());
        socks.write_all(&hello).await.unwrap();
        let mut answer = vec![0; 256];
        let read = tokio::time::timeout(Duration::from_secs(5), socks.read(&mut answer)).await;
        said.push_str(&format!("{read:?} {answer:?}"));
    }
    said
}

/// What the admin API and the metrics page say, errors included.
async fn listen(pcs: &Pcs) -> String {
    let admin = pcs.listener("admin").expect("the admin API is on");
    let metrics = pcs.listener("metrics").expect("metrics are on");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let mut said = String::new();
    for path in [
        "proxies",
        "proxies/rota-1",
        "proxies/none",
        "stats",
        "health",
        "openapi.json",
    ] {
        said.push_str(
            &curl(&["-H", &bearer, &format!("http://{admin}/api/v1/{path}")])
                .await
                .out,
        );
    }
    let url = format!("http://{admin}/api/v1/proxies");
    let json = "Content-Type: application/json";
    let login = format!("\"username\":{:?},\"password\":{:?}", ROTATING.0, ROTATING.1);
    for body in [
        format!("{{\"host\":\"h.test\",\"port\":1,{login}}}"),
        format!("{{\"host\":\"h.test\",\"port\":99999,{login}}}"),
        format!("{{\"host\":\"h.test\",\"port\":1,\"pasword\":{:?}}}", ROTATING.1),
        format!(
            "{{\"host\":\"h.test\",\"port\":1,\"username\":{:?},\"password\":[{:?}]}}",
            ROTATING.0, ROTATING.1
        ),
        format!("{{\"host\":\"h.test\",\"password\":{:?}", ROTATING.1),
    ] {
        said.push_str(&curl(&["-H", &bearer, "-H", json, "-d", &body, &url]).await.out);
    }
    said.push_str(&curl(&["-H", "Authorization: Bearer wrong", &url]).await.out);
    said.push_str(
        &curl(&[
            "-H",
            &bearer,
            "-X",
            "POST",
            &format!("http://{admin}/api/v1/reload"),
        ])
        .await
        .out,
    );
    said.push_str(
        &curl(&["-H", &bearer, &format!("http://{metrics}/metrics")])
            .await
            .out,
    );
    said
}

#[tokio::test]
async fn the_loudest_log_of_every_error_path_shows_no_password() {
    need!(find("curl", "curl"));
    let origin = Origin::start(OriginKind::Http).await;
    let behaviours = [
        Behaviour::Good,
        Behaviour::Refuse,
        Behaviour::HangAtRequest,
        Behaviour::ResetAtRequest,
        Behaviour::CloseAtAccept,
        Behaviour::Garbage,
        Behaviour::HugeHead,
        Behaviour::Status(407),
        Behaviour::Status(503),
        Behaviour::SuccessThenReset,
        // Hops that send back what they were sent.
        Behaviour::AnswerWith(
            format!(
                "HTTP/1.1 400 {}\r\nX-Echo: {}\r\n\r\n",
                "no",
                base64(b"rota-user:rota-s3cret-Pb")
            )
            .into_bytes(),
        ),
    ];
    for behaviour in behaviours {
        for misbehaves in ["corporate", "rota-1"] {
            let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
            let second = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
            let bad = if misbehaves == "corporate" {
                &first
            } else {
                &second
            };
            bad.behave(behaviour.clone());
            let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
            let member = member("rota-1", "http", second.address(), Some(ROTATING));
            let mut config = loud(&corporate, &member);
            if behaviour == Behaviour::HangAtRequest {
                config = silence_after(&config, 1);
            }
            let pcs = start_loud(&config).await;
            let what = format!("{misbehaves} {behaviour:?}");
            assert_clean(&format!("an answer ({what})"), &talk(&pcs, &origin).await);
            if behaviour == Behaviour::Good {
                assert!(origin.accepted() > 0, "the good case is good: {}", pcs.log());
                assert_clean("the admin API", &listen(&pcs).await);
            }
            pcs.accesses(1).await;
            assert_clean(&format!("the log ({what})"), &pcs.log());
        }
    }
}

#[tokio::test]
async fn the_loudest_log_of_an_ntlm_login_shows_no_password() {
    let first = need!(Squid::new().ntlm("CORP", CORPORATE.0, CORPORATE.1).start());
    let second = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Http).await;
    for password in [CORPORATE.1, "corp-s3cret-Pa-no"] {
        let corporate = corporate(
            "http",
            first.address(),
            Some((CORPORATE.0, password)),
            &[("domain", "CORP")],
        );
        let pcs = start_loud(&loud(
            &corporate,
            &member("rota-1", "http", second.address(), Some(ROTATING)),
        ))
        .await;
        assert_clean("an answer", &talk(&pcs, &origin).await);
        pcs.accesses(1).await;
        assert_clean("the log", &pcs.log());
    }
    assert!(first.log().contains("AF "), "{}", first.log());
}

#[tokio::test]
async fn commands_and_refused_configurations_show_no_password() {
    let first = Proxy::http()
        .basic(CORPORATE.0, CORPORATE.1)
        .behaviour(Behaviour::Status(407))
        .start()
        .await;
    let second = Proxy::http().basic(ROTATING.0, ROTATING.1).start().await;
    let origin = Origin::start(OriginKind::Http).await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
    let good = loud(
        &corporate,
        &member("rota-1", "http", second.address(), Some(ROTATING)),
    );
    let (status, out, err) = Call::with(&good).output("check").await;
    assert_eq!(status, 0, "{out}{err}");
    assert!(out.contains(ROTATING.0), "user names may be shown: {out}");
    assert_clean("pcs check", &format!("{out}{err}"));
    for arguments in [&["--json"][..], &[], &["--log-level", "TRACE"]] {
        let url = origin.url("/");
        let (status, out, err) = Call::with(&good)
            .args(&[&url])
            .args(arguments)
            .output("probe")
            .await;
        assert_eq!(status, 1, "{out}{err}");
        assert_clean("pcs probe", &format!("{out}{err}"));
    }
    let url = format!("http://{}:{}@{}", ROTATING.0, ROTATING.1, second.address());
    for (from, to) in [
        ("username: rota-user, password", "username: \"a:b\", password"),
        ("password: rota-s3cret-Pb", "password: [rota-s3cret-Pb]"),
        ("password: rota-s3cret-Pb", "pasword: rota-s3cret-Pb"),
        ("password: rota-s3cret-Pb", "password: \"rota-s3cret-Pb\\n\""),
        ("password: corp-s3cret-Pa", "password: {x: corp-s3cret-Pa}"),
        (
            "password: client-s3cret-Pc",
            "password: client-s3cret-Pc, password: client-s3cret-Pc",
        ),
        ("protocol: http, host", "protocol: rota-s3cret, host"),
        (
            "id: rota-1, protocol",
            &format!("id: rota-1, url: {url:?}, protocol"),
        ),
        ("rotation:", "rotation: [client-s3cret-Pc"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from} is in the configuration");
        let (status, out, err) = Call::with(&bad)
            .args(&["--log-level", "TRACE"])
            .output("check")
            .await;
        assert_eq!(status, 2, "{to}: {out}{err}");
        assert_clean(&format!("the refusal of {to:?}"), &format!("{out}{err}"));
    }
}
