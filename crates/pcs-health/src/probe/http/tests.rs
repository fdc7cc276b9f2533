use std::sync::Arc;
use std::time::Duration;

use tokio::io::duplex;
use tokio::task::JoinSet;

use super::*;
use crate::checker::Method;
use crate::flip::Thresholds;

fn spec(expect_body: Option<&str>) -> CheckSpec {
    CheckSpec {
        enabled: true,
        method: Method::Http,
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        test_url: TestUrl {
            tls: false,
            target: "test.example:8080".parse().unwrap(),
            path: "/ip?x=1".into(),
        },
        expect_status: vec![200, 204],
        expect_body: expect_body.map(str::to_owned),
        thresholds: Thresholds::default(),
        concurrency: 1,
    }
}

/// What a check makes of a server that answers with these pieces, and then closes or stays silent.
async fn answered(spec: &CheckSpec, pieces: Vec<Vec<u8>>, closes: bool) -> Result<(), CheckFailure> {
    let (ours, mut theirs) = duplex(1 << 20);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut head = [0; 1024];
        let mut length = 0;
        while !head[..length].ends_with(b"\r\n\r\n") {
            length += theirs.read(&mut head[length..]).await.unwrap();
        }
        for piece in pieces {
            theirs.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        if !closes {
            std::future::pending::<()>().await;
        }
    });
    fetch(
        ours,
        &Form::Origin,
        spec,
        Instant::now() + Duration::from_secs(10),
    )
    .await
}

#[track_caller]
fn failure(result: Result<(), CheckFailure>) -> (FailureKind, Arc<str>) {
    let failure = result.unwrap_err();
    assert_eq!(failure.fault, Fault::Target);
    (failure.kind, failure.message)
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Name, expected text, answer, expected failure.
type Case<'a> = (&'a str, Option<&'a str>, String, Option<FailureKind>);

async fn judge(cases: Vec<Case<'_>>) {
    for (name, text, answer, expected) in cases {
        let got = answered(&spec(text), vec![answer.into_bytes()], true).await;
        assert_eq!(
            got.as_ref().err().map(|failure| failure.kind),
            expected,
            "{name}: {got:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
#[rustfmt::skip]
async fn heads_are_judged() {
    use FailureKind::{Protocol, Reset, Status};
    let long = "a".repeat(MAX_HEAD);
    judge(vec![
        ("plain", None, format!("{OK}Content-Length: 2\r\n\r\nhi"), None),
        ("another expected status", None, "HTTP/1.1 204 No Content\r\n\r\n".into(), None),
        ("bare line feeds", None, "HTTP/1.0 200 OK\n\n".into(), None),
        ("unexpected status", None, "HTTP/1.1 302 Found\r\n\r\n".into(), Some(Status)),
        ("interim first", None, format!("HTTP/1.1 103 Early\r\nA: b\r\n\r\n{OK}Content-Length: 0\r\n\r\n"), None),
        ("interim only", None, "HTTP/1.1 100 Continue\r\n\r\n".repeat(20), Some(Protocol)),
        ("cut", None, "HTTP/1.1 200 OK\r\nContent".into(), Some(Reset)),
        ("nothing", None, String::new(), Some(Reset)),
        ("garbage", None, "SSH-2.0-OpenSSH_9\r\n\r\n".into(), Some(Protocol)),
        ("endless", None, format!("{OK}A: {long}"), Some(Protocol)),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
#[rustfmt::skip]
async fn bodies_are_searched() {
    use FailureKind::{Protocol, Reset};
    let long = "a".repeat(MAX_BODY + 4 * READ);
    judge(vec![
        ("by length", Some("here"), format!("{OK}Content-Length: 10\r\n\r\nit is here"), None),
        ("beyond the length", Some("here"), format!("{OK}Content-Length: 8\r\n\r\nit is here"), Some(Protocol)),
        ("across chunks", Some("here"), format!("{OK}Transfer-Encoding: chunked\r\n\r\n3\r\n he\r\n2\r\nre\r\n0\r\n\r\n"), None),
        ("to the end", Some("here"), format!("{OK}\r\nit is here"), None),
        ("missing", Some("here"), format!("{OK}\r\nit is gone"), Some(Protocol)),
        ("cut short", Some("here"), format!("{OK}Content-Length: 80\r\n\r\nnothing"), Some(Reset)),
        ("too far behind", Some("here"), format!("{OK}\r\n{long}here"), Some(Protocol)),
        ("two framings", Some("x"), format!("{OK}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), Some(Protocol)),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_split_anywhere() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n2;a=b\r\nre\r\n0\r\n\r\n";
    for at in 0..answer.len() {
        let pieces = vec![answer[..at].to_vec(), answer[at..].to_vec()];
        assert_eq!(
            answered(&spec(Some("here")), pieces, false).await,
            Ok(()),
            "split at {at}"
        );
    }
    let bytes = answer.iter().map(|byte| vec![*byte]).collect();
    assert_eq!(answered(&spec(Some("here")), bytes, false).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_with_the_deadline() {
    let silent = answered(&spec(None), Vec::new(), false).await;
    assert_eq!(failure(silent).0, FailureKind::Timeout);
    let dribble = vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nit".to_vec()];
    assert_eq!(
        failure(answered(&spec(Some("here")), dribble, false).await).0,
        FailureKind::Timeout
    );
}

#[test]
fn the_request_names_the_authority_as_browsers_do() {
    let mut url = spec(None).test_url;
    let expected = "GET /ip?x=1 HTTP/1.1\r\nHost: test.example:8080\r\nUser-Agent: pcs\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    assert_eq!(request(&url, &Form::Origin), expected);
    url.target = "[::1]:443".parse().unwrap();
    url.tls = true;
    assert!(request(&url, &Form::Origin).contains("Host: [::1]\r\n"));
    url.tls = false;
    assert!(request(&url, &Form::Origin).contains("Host: [::1]:443\r\n"));
}
