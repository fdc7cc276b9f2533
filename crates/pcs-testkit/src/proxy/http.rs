//! The HTTP proxy: CONNECT, absolute-form requests, Basic and NTLM.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::TcpStream;

use super::tunnel::{answer, open, spoil};
use super::{Client, Shared};
use crate::head::{Body, copy_body, read_head};
use crate::ntlm::Challenge;
use crate::{Behaviour, Head};

/// What one client connection remembers.
#[derive(Default)]
struct Session {
    ntlm: Option<Challenge>,
    /// NTLM authenticates the connection, not the request.
    authenticated: bool,
    upstream: Option<(String, BufReader<TcpStream>)>,
}

/// What the credentials of a request came to.
enum Login {
    Accepted,
    /// A 407 with these `Proxy-Authenticate` values.
    Challenged(Vec<String>),
}

/// Serves one client connection until it closes.
pub(super) async fn serve(mut client: Client, shared: Arc<Shared>) -> io::Result<()> {
    let mut session = Session::default();
    while let Some(head) = read_head(&mut client).await? {
        shared.saw(&head);
        let behaviour = shared.behaviour();
        if spoil(&mut client, &behaviour).await? {
            return Ok(());
        }
        if let Login::Challenged(challenges) = log_in(&mut session, &head, &shared) {
            copy_body(
                &mut client,
                &mut tokio::io::sink(),
                head.request_body(),
                &mut |_| {},
            )
            .await?;
            let mut refused = refusal(407, &challenges);
            if head.word(0) == "HEAD" {
                // No answer to HEAD has a body, whatever it says of its length (RFC 9110 §9.3.2).
                refused.truncate(refused.len() - body_of(407).len());
            }
            answer(&mut client, &refused, &behaviour).await?;
            if head.keeps_alive() {
                continue;
            }
            return client.shutdown().await;
        }
        let (target, path) = split_target(&head);
        shared.asked_for(&target);
        if let Some(status) = behaviour.status_for(&target) {
            copy_body(
                &mut client,
                &mut tokio::io::sink(),
                head.request_body(),
                &mut |_| {},
            )
            .await?;
            let challenges = if status == 407 {
                vec!["Basic realm=\"test\"".to_owned()]
            } else {
                Vec::new()
            };
            answer(&mut client, &refusal(status, &challenges), &behaviour).await?;
            continue;
        }
        if head.word(0) == "CONNECT" {
            return connect(client, &target, &shared, &behaviour).await;
        }
        if !forward(
            &mut client,
            head,
            &target,
            &path,
            &mut session,
            &shared,
            &behaviour,
        )
        .await?
        {
            return client.shutdown().await;
        }
    }
    Ok(())
}

async fn connect(mut client: Client, target: &str, shared: &Shared, behaviour: &Behaviour) -> io::Result<()> {
    let success = match behaviour {
        Behaviour::AnswerWith(bytes) => bytes.clone(),
        _ => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
    };
    match shared.dial(target).await {
        Ok(stream) => open(client, stream, success, behaviour).await,
        Err(error) => {
            let status = if error.kind() == io::ErrorKind::TimedOut {
                504
            } else {
                502
            };
            answer(&mut client, &refusal(status, &[]), behaviour).await?;
            client.shutdown().await
        }
    }
}

/// Forwards one absolute-form request. Says whether another may follow.
async fn forward(
    client: &mut Client,
    head: Head,
    target: &str,
    path: &str,
    session: &mut Session,
    shared: &Shared,
    behaviour: &Behaviour,
) -> io::Result<bool> {
    if matches!(
        behaviour,
        Behaviour::SuccessThenReset | Behaviour::SuccessThenClose
    ) {
        answer(
            client,
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart",
            behaviour,
        )
        .await?;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        return Ok(false);
    }
    let mut upstream = match session.upstream.take() {
        Some((authority, upstream)) if authority == target => upstream,
        _ => match shared.dial(target).await {
            Ok(stream) => BufReader::new(stream),
            Err(_) => {
                answer(client, &refusal(502, &[]), behaviour).await?;
                return Ok(false);
            }
        },
    };
    let method = head.word(0).to_owned();
    let body = head.request_body();
    let expects = head.has_token("expect", "100-continue");
    let keeps = head.keeps_alive();
    let start = format!("{method} {path} {}", head.word(2));
    let head = head
        .with_start(start)
        .without(|name| name.to_ascii_lowercase().starts_with("proxy-"));
    upstream.write_all(head.text().as_bytes()).await?;
    if !expects {
        copy_body(client, &mut upstream, body, &mut |_| {}).await?;
    }
    let mut body_due = expects;
    loop {
        let response = read_head(&mut upstream)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        answer(client, response.text().as_bytes(), behaviour).await?;
        if response.word(1) == "101" {
            copy_bidirectional(client, &mut upstream).await?;
            return Ok(false);
        }
        if response.word(1) == "100" && body_due {
            copy_body(client, &mut upstream, body, &mut |_| {}).await?;
            body_due = false;
        }
        if response.word(1).starts_with('1') {
            continue;
        }
        let body = match (behaviour, response.response_body(&method)) {
            // Fewer bytes than announced, then the end.
            (Behaviour::CutAfter(bytes), Body::Length(length)) if *bytes < length => {
                copy_body(&mut upstream, client, Body::Length(*bytes), &mut |_| {}).await?;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                return Ok(false);
            }
            (_, body) => body,
        };
        copy_body(&mut upstream, client, body, &mut |_| {}).await?;
        client.flush().await?;
        let lives = keeps && body != Body::UntilClose && !body_due;
        if lives && response.keeps_alive() {
            session.upstream = Some((target.to_owned(), upstream));
        }
        return Ok(lives);
    }
}

fn log_in(session: &mut Session, head: &Head, shared: &Shared) -> Login {
    let config = &shared.config;
    if (config.basic.is_none() && config.ntlm.is_none()) || session.authenticated {
        return Login::Accepted;
    }
    let (scheme, value) = head
        .field("proxy-authorization")
        .and_then(|v| v.split_once(' '))
        .unwrap_or_default();
    let token = STANDARD.decode(value.trim()).unwrap_or_default();
    if let Some((user, password)) = &config.basic
        && scheme.eq_ignore_ascii_case("basic")
        && token == format!("{user}:{password}").as_bytes()
    {
        return Login::Accepted;
    }
    if let Some(account) = &config.ntlm
        && scheme.eq_ignore_ascii_case("ntlm")
    {
        match session.ntlm.take() {
            None if Challenge::is_negotiate(&token) => {
                let challenge = Challenge::new(&token, &account.domain);
                let value = format!("NTLM {}", STANDARD.encode(challenge.message()));
                session.ntlm = Some(challenge);
                return Login::Challenged(vec![value]);
            }
            Some(challenge) => {
                if let Ok(login) = challenge.verify(&token, account) {
                    session.authenticated = true;
                    shared.logged_in(login);
                    return Login::Accepted;
                }
            }
            None => {}
        }
    }
    Login::Challenged(challenges(shared))
}

fn challenges(shared: &Shared) -> Vec<String> {
    if let Some(challenges) = &shared.config.challenges {
        return challenges.clone();
    }
    let mut challenges = Vec::new();
    if shared.config.ntlm.is_some() {
        challenges.push("NTLM".to_owned());
    }
    if shared.config.basic.is_some() {
        challenges.push("Basic realm=\"test\"".to_owned());
    }
    challenges
}

/// A refusal with a body, which a client has to read before it goes on.
fn body_of(status: u16) -> String {
    format!("the test proxy answers {status}\n")
}

fn refusal(status: u16, challenges: &[String]) -> Vec<u8> {
    let body = body_of(status);
    let mut text = format!("HTTP/1.1 {status} Told To\r\nContent-Type: text/plain\r\n");
    for challenge in challenges {
        text.push_str(&format!("Proxy-Authenticate: {challenge}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

/// The `host:port` and the path of a request target in authority or absolute form.
fn split_target(head: &Head) -> (String, String) {
    let target = head.word(1);
    if head.word(0) == "CONNECT" {
        return (target.to_owned(), String::new());
    }
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    (authority, path.to_owned())
}
