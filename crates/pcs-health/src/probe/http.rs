//! One GET over a stream that ends at the test URL's server (RFC 9112).

use pcs_models::{FailureKind, Target};
use pcs_tunnel::Form;
use pcs_tunnel::wire::http1::{Body, HeadScan, Strictness, Trailers, read_response, response_body, slots};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use crate::checker::{CheckFailure, CheckSpec, Fault, TestUrl};

/// The largest response head.
const MAX_HEAD: usize = 32 * 1024;
/// So much of a body is searched for the expected text.
const MAX_BODY: usize = 256 * 1024;
/// Interim responses (1xx) that are skipped.
const MAX_INTERIM: usize = 8;
const READ: usize = 8 * 1024;

/// Fetches the test URL and looks whether status and body are as expected.
pub(super) async fn fetch<S>(
    mut stream: S,
    form: &Form,
    spec: &CheckSpec,
    deadline: Instant,
) -> Result<(), CheckFailure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        stream
            .write_all(request(&spec.test_url, form).as_bytes())
            .await
            .map_err(|_| broken())?;
        stream.flush().await.map_err(|_| broken())?;
        let mut received = Vec::with_capacity(READ);
        let mut body = head(&mut stream, &mut received, spec).await?;
        match &spec.expect_body {
            Some(text) => search(&mut stream, received, &mut body, text.as_bytes()).await,
            None => Ok(()),
        }
    };
    let timed_out = || failed(FailureKind::Timeout, "the test URL did not answer in time");
    timeout_at(deadline, exchange).await.map_err(|_| timed_out())?
}

fn request(url: &TestUrl, form: &Form) -> String {
    let TestUrl {
        tls,
        target: Target { host, port },
        path,
    } = url;
    let authority = match (tls, port) {
        (true, 443) | (false, 80) => host.to_string(),
        _ => url.target.to_string(),
    };
    let (before, authorization) = match form {
        Form::Origin => (String::new(), String::new()),
        Form::Absolute { authorization: None } => (format!("http://{authority}"), String::new()),
        Form::Absolute {
            authorization: Some(value),
        } => (
            format!("http://{authority}"),
            format!("Proxy-Authorization: {}\r\n", value.expose()),
        ),
    };
    format!(
        "GET {before}{path} HTTP/1.1\r\nHost: {authority}\r\n{authorization}User-Agent: pcs\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    )
}

/// Reads up to the final response head and answers how its body goes on. What came behind it stays in `received`.
async fn head<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut Vec<u8>,
    spec: &CheckSpec,
) -> Result<Body, CheckFailure> {
    for _ in 0..=MAX_INTERIM {
        let mut scan = HeadScan::new(Strictness::BareLf, MAX_HEAD);
        let end = loop {
            match scan.advance(received).map_err(|error| garbage(&error))? {
                Some(end) => break end,
                None => more(stream, received).await?.then_some(()).ok_or_else(broken)?,
            }
        };
        let (status, length) = {
            let bytes = received.get(scan.start()..end).unwrap_or_default();
            let mut slots = slots();
            let head = read_response(bytes, &mut slots).map_err(|error| garbage(&error))?;
            let length = response_body(head.version, head.status, false, head.fields);
            (head.status, length)
        };
        received.drain(..end);
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        if status == 407 {
            // Only a proxy asks this (RFC 9110 §15.5.8).
            let message = "the proxy refused our credentials";
            return Err(CheckFailure::new(FailureKind::Auth, Fault::Member, message));
        }
        if !spec.expect_status.contains(&status) {
            return Err(failed(
                FailureKind::Status,
                format!("the test URL answered {status}"),
            ));
        }
        return Ok(Body::new(
            length.map_err(|error| garbage(&error))?,
            Trailers::Unwrap,
        ));
    }
    Err(failed(
        FailureKind::Protocol,
        "the test URL answers with interim responses only",
    ))
}

async fn search<S: AsyncRead + Unpin>(
    stream: &mut S,
    mut received: Vec<u8>,
    body: &mut Body,
    text: &[u8],
) -> Result<(), CheckFailure> {
    let mut found = Vec::new();
    while found.len() < MAX_BODY {
        let filtered = body.filter(&mut received).map_err(|error| garbage(&error))?;
        let seen = found.len().saturating_sub(text.len());
        found.extend_from_slice(received.get(..filtered.kept).unwrap_or_default());
        received.drain(..filtered.consumed);
        if contains(found.get(seen..).unwrap_or_default(), text) {
            return Ok(());
        }
        if body.is_done() {
            break;
        }
        if !more(stream, &mut received).await? {
            if body.ends_with_connection() {
                break;
            }
            return Err(broken());
        }
    }
    Err(failed(
        FailureKind::Protocol,
        "the test URL's answer does not contain the expected text",
    ))
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

/// Reads once; `false` at the end of the stream.
async fn more<S: AsyncRead + Unpin>(stream: &mut S, received: &mut Vec<u8>) -> Result<bool, CheckFailure> {
    received.reserve(READ);
    // Many servers end TLS without saying goodbye: for a body that runs to the end that is an end.
    match stream.read_buf(received).await {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(_) => Err(broken()),
    }
}

fn broken() -> CheckFailure {
    failed(
        FailureKind::Reset,
        "the connection to the test URL broke before its answer was complete",
    )
}

fn garbage(error: &dyn std::error::Error) -> CheckFailure {
    failed(
        FailureKind::Protocol,
        format!("the test URL's answer is no HTTP: {error}"),
    )
}

fn failed(kind: FailureKind, message: impl Into<std::sync::Arc<str>>) -> CheckFailure {
    CheckFailure::new(kind, Fault::Target, message)
}

#[cfg(test)]
mod tests;
