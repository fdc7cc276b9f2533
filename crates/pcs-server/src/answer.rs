//! What clients are told when something goes wrong: the one table of answers.

use std::fmt::Write as _;
use std::time::Duration;

use pcs_models::FailureKind;
use pcs_tunnel::{DialError, NetError};
use serde_json::json;

use crate::access::Rejection;
use crate::request_id::RequestId;
use crate::ticket::Ticket;

/// An answer of ours to a proxy request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What logs call it, in snake case.
    pub(crate) error: &'static str,
    /// The error type of `Proxy-Status` (RFC 9209 §2.3).
    token: &'static str,
    /// The sentence for people.
    detail: String,
    /// The hop where it failed.
    hop: Option<String>,
    /// The status a hop answered (`received-status`, RFC 9209 §2.1.4).
    received: Option<u16>,
    pub(crate) rejected: Option<Rejection>,
    retry_after: Option<Duration>,
    /// Whether nothing more can be read from the client: where its message ends is not known.
    pub(crate) closes: bool,
    /// What a SOCKS client is told (RFC 1928 §6).
    pub(crate) reply: Reply,
}

/// A SOCKS5 reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Succeeded = 0,
    General = 1,
    NotAllowed = 2,
    HostUnreachable = 4,
    Refused = 5,
    /// "TTL expired" by the letter; what clients show for a slow way.
    TooSlow = 6,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// How a failure of the chain is told: status, `Proxy-Status` error type, SOCKS reply.
fn row(kind: FailureKind) -> (u16, &'static str, Reply) {
    match kind {
        FailureKind::Timeout => (504, "connection_timeout", Reply::TooSlow),
        FailureKind::Refused => (502, "connection_refused", Reply::Refused),
        FailureKind::Unreachable => (502, "destination_ip_unroutable", Reply::HostUnreachable),
        FailureKind::Reset => (502, "connection_terminated", Reply::General),
        FailureKind::Auth => (502, "proxy_configuration_error", Reply::General),
        FailureKind::Status => (502, "destination_unavailable", Reply::General),
        FailureKind::Protocol => (502, "http_protocol_error", Reply::General),
        FailureKind::Dns => (502, "dns_error", Reply::HostUnreachable),
        FailureKind::Tls => (502, "tls_protocol_error", Reply::General),
        FailureKind::Loop => (508, "proxy_loop_detected", Reply::General),
        FailureKind::Denied => (403, "http_request_denied", Reply::NotAllowed),
        FailureKind::UnknownPool | FailureKind::BadSession => (400, "http_request_error", Reply::General),
        FailureKind::Exhausted => (503, "destination_unavailable", Reply::General),
        FailureKind::ClientGone => (499, "connection_terminated", Reply::General),
        // `Local`, and whatever is added later: our own trouble, worth trying again.
        _ => (503, "proxy_internal_error", Reply::General),
    }
}

impl Answer {
    fn new(status: u16, error: &'static str, token: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            error,
            token,
            detail: detail.into(),
            hop: None,
            received: None,
            rejected: None,
            retry_after: None,
            closes: false,
            reply: Reply::General,
        }
    }

    /// The answer to a dial that failed.
    pub(crate) fn to_failure(failure: &DialError) -> Self {
        let kind = failure.kind();
        let (mut status, mut token, mut reply) = row(kind);
        if kind == FailureKind::Status && failure.status() == Some(504) {
            (status, token, reply) = (504, "http_response_timeout", Reply::TooSlow);
        }
        let cause = std::error::Error::source(failure).and_then(|cause| cause.downcast_ref());
        if kind == FailureKind::Tls && cause.is_some_and(NetError::is_certificate) {
            token = "tls_certificate_error";
        }
        let mut answer = Self::new(status, kind.as_str(), token, failure.to_string());
        if let Some(received) = failure.status() {
            let text = received.to_string();
            if !answer.detail.contains(&text) {
                let _ = write!(answer.detail, " (it answered {text})");
            }
        }
        answer.hop = failure.hop().map(|hop| hop.as_str().to_owned());
        answer.received = failure.status();
        answer.reply = reply;
        answer.retry_after = (status == 503).then_some(RETRY_AFTER);
        answer.rejected = match kind {
            FailureKind::Denied => Some(Rejection::Denied),
            FailureKind::UnknownPool | FailureKind::BadSession => Some(Rejection::BadRequest),
            _ => None,
        };
        answer
    }

    /// The response head took too long, or the like: a failure that is told as it is, with another error type.
    pub(crate) fn with_token(mut self, token: &'static str) -> Self {
        self.token = token;
        self
    }

    /// The same answer with another SOCKS reply.
    pub(crate) fn with_reply(self, reply: Reply) -> Self {
        Self { reply, ..self }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self {
            closes: true,
            ..Self::bad_request(detail)
        }
    }

    /// Well-formed, but not to be followed.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        let answer = Self::new(400, "bad_request", "http_request_error", detail);
        Self {
            rejected: Some(Rejection::BadRequest),
            ..answer
        }
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        let answer = Self::new(501, "unsupported", "http_request_error", detail);
        Self {
            rejected: Some(Rejection::Unsupported),
            closes: true,
            ..answer
        }
    }

    pub(crate) fn not_here(detail: impl Into<String>) -> Self {
        let answer = Self::new(404, "not_found", "http_request_error", detail);
        Self {
            rejected: Some(Rejection::Unsupported),
            ..answer
        }
    }

    pub(crate) fn head_too_large(max: usize) -> Self {
        let answer = Self::new(
            431,
            "too_large",
            "http_request_error",
            format!("the head is larger than {max} bytes"),
        );
        Self {
            rejected: Some(Rejection::TooLarge),
            closes: true,
            ..answer
        }
    }

    pub(crate) fn too_many_fields() -> Self {
        let answer = Self::new(
            431,
            "too_large",
            "http_request_error",
            "the head has too many fields",
        );
        Self {
            rejected: Some(Rejection::TooLarge),
            closes: true,
            ..answer
        }
    }

    pub(crate) fn target_too_long(max: usize) -> Self {
        let detail = format!("the request target is longer than {max} bytes");
        let answer = Self::new(414, "too_large", "http_request_error", detail);
        Self {
            rejected: Some(Rejection::TooLarge),
            closes: true,
            ..answer
        }
    }

    pub(crate) fn too_slow_client() -> Self {
        let detail = "the request was not complete in time";
        let answer = Self::new(408, "head_timeout", "http_request_error", detail);
        Self {
            rejected: Some(Rejection::HeadTimeout),
            closes: true,
            ..answer
        }
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "this proxy asks for a user name and password, or those given are wrong";
        let answer = Self::new(407, "auth", "http_request_denied", detail);
        Self {
            rejected: Some(Rejection::Auth),
            reply: Reply::NotAllowed,
            ..answer
        }
    }

    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let answer = Self::new(
            429,
            "rate_limit",
            "http_request_denied",
            "too many requests from this client address",
        );
        Self {
            rejected: Some(Rejection::RateLimit),
            retry_after: Some(wait),
            reply: Reply::NotAllowed,
            ..answer
        }
    }

    pub(crate) fn too_many_connections() -> Self {
        let detail = "too many client connections";
        let answer = Self::new(503, "max_connections", "connection_limit_reached", detail);
        Self {
            rejected: Some(Rejection::MaxConnections),
            retry_after: Some(RETRY_AFTER),
            closes: true,
            ..answer
        }
    }

    /// Writes the answer as an HTTP/1.1 message, without a body for HEAD. A request that was not read has an id, and
    /// no ticket.
    pub(crate) fn write(&self, out: &mut Vec<u8>, id: RequestId, ticket: Option<&Ticket>, wire: Wire) {
        let attempts = ticket.map_or(0, |ticket| ticket.attempts);
        let body = json!({
            "type": format!("urn:pcs:error:{}", self.error.replace('_', "-")),
            "title": reason(self.status),
            "status": self.status,
            "detail": self.detail,
            "hop": self.hop,
            "attempts": attempts,
            "request_id": id.to_string(),
        })
        .to_string();
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let _ = write!(
            head,
            "Content-Type: application/problem+json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let next_hop = ticket.and_then(Ticket::next_hop).or(self.hop.as_deref());
        head.push_str("Proxy-Status: ");
        proxy_status(&mut head, next_hop, attempts, Some(self));
        head.push_str("\r\n");
        if self.status == 407 {
            head.push_str("Proxy-Authenticate: Basic realm=\"pcs\"\r\n");
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let _ = write!(head, "Retry-After: {}\r\n", seconds.max(1));
        }
        head.push_str("Cache-Control: no-store\r\n");
        head.push_str(wire.connection());
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        if !wire.to_head {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// How an answer has to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) to_head: bool,
    pub(crate) connection: Persistence,
}

/// What becomes of the client's connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It stays, as HTTP/1.1 clients expect.
    Keep,
    /// It stays, as an HTTP/1.0 client asked.
    KeepOld,
    Close,
}

impl Wire {
    pub(crate) const CLOSE: Self = Self {
        to_head: false,
        connection: Persistence::Close,
    };

    pub(crate) fn connection(self) -> &'static str {
        self.connection.field()
    }
}

impl Persistence {
    /// The field line that says so.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Keep => "",
            Self::KeepOld => "Connection: keep-alive\r\n",
            Self::Close => "Connection: close\r\n",
        }
    }
}

/// Writes the value of `Proxy-Status` (RFC 9209). Ids and addresses have no character to be escaped.
pub(crate) fn proxy_status(
    out: &mut String,
    next_hop: Option<&str>,
    attempts: u32,
    failure: Option<&Answer>,
) {
    out.push_str("pcs");
    if let Some(next_hop) = next_hop {
        let _ = write!(out, "; next-hop=\"{next_hop}\"");
    }
    if let Some(failure) = failure {
        let _ = write!(out, "; error={}", failure.token);
        if let Some(received) = failure.received {
            let _ = write!(out, "; received-status={received}");
        }
    }
    if attempts > 1 {
        let _ = write!(out, "; attempts={attempts}");
    }
}

/// The reason phrases of the statuses we answer.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        508 => "Loop Detected",
        _ => "Error",
    }
}

/// When a client may try again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(1);
