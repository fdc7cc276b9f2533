//! What the outside is told of each request: the port that logs and metrics are made from.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use pcs_models::{Target, Traffic};
use pcs_tunnel::HopTiming;
use tokio::time::Instant;

use crate::RequestId;

/// Told of connections and requests. Called on the hot path: implementations do not block.
pub trait Access: Send + Sync {
    /// A client connection was accepted (and counted against `max_connections`).
    fn connection_opened(&self) {}

    /// A client connection is over.
    fn connection_closed(&self) {}

    /// A request's head was read. Each is followed by one [`Access::finished`].
    fn started(&self) {}

    /// A request was answered: the chain is up, a response head arrived, or it failed. Bytes are those until now.
    /// Called once before [`Access::finished`], except where the client went away first.
    fn answered(&self, record: &AccessRecord<'_>) {
        let _ = record;
    }

    /// A request is over.
    fn finished(&self, record: &AccessRecord<'_>);

    /// A client was turned away before it made a request.
    fn turned_away(&self, client: SocketAddr, reason: Rejection) {
        let _ = (client, reason);
    }

    /// A client was turned away for the protocol it speaks; `hint` says what it speaks and what the port takes.
    fn not_understood(&self, client: SocketAddr, hint: &str) {
        let _ = hint;
        self.turned_away(client, Rejection::UnknownProtocol);
    }

    /// A task of ours panicked: a bug. The connection it served is closed.
    fn panicked(&self) {}
}

/// An [`Access`] that nobody listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAccess;

impl Access for NoAccess {
    fn finished(&self, _record: &AccessRecord<'_>) {}
}

/// One request, as far as it got.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AccessRecord<'a> {
    /// Unique for the life of the process, and over restarts but for chance.
    pub request_id: RequestId,
    /// Who asked.
    pub client: SocketAddr,
    /// What kind of request it is.
    pub kind: RequestKind,
    /// The method; `SOCKS5` for a tunnel asked for that way, `-` where no head could be read.
    pub method: &'a str,
    /// Where to, without query and user-info; `None` where no head could be read.
    pub target: Option<Subject<'a>>,
    /// The pool its proxy was picked from, else the one the client asked for.
    pub pool: Option<&'a str>,
    /// The last proxy used: an id, `_corporate`, `_direct`, or `_none`.
    pub proxy: &'a str,
    /// The counters of that way; none where the request went no way at all.
    pub traffic: Option<&'a Traffic>,
    /// Tries made.
    pub attempts: u32,
    /// The status answered (SOCKS clients get it as the reply it maps to); 499 where the client went first.
    pub status: u16,
    /// Time until the chain was up (tunnels) or the response head arrived (forwarded requests).
    pub connect: Option<Duration>,
    /// Time since the head was read; where none could be read, since the accept or the first byte of a later head.
    pub duration: Duration,
    /// Now: the end of `duration`, so that whoever is told need not read the clock again.
    pub at: Instant,
    /// Bytes sent towards the target.
    pub bytes_up: u64,
    /// Bytes received from the target.
    pub bytes_down: u64,
    /// What went wrong, in snake case: a failure kind, or what ended a tunnel early.
    pub error: Option<&'a str>,
    /// Why the client was refused, where it was.
    pub rejected: Option<Rejection>,
    /// Phase times of the dial, the nearest hop first; empty for reused streams and failures before a dial.
    pub timings: &'a [HopTiming],
}

impl AccessRecord<'_> {
    /// Which counter the request belongs to.
    #[must_use]
    pub fn counted(&self) -> Counted {
        match (self.kind, self.rejected) {
            (RequestKind::Local, None) => Counted::Not,
            (_, Some(reason)) if reason.is_clients_fault() => Counted::Rejected(reason),
            (_, Some(_)) => Counted::Error,
            (_, None) if self.status == CLIENT_GONE => Counted::Not,
            (_, None) if self.failed_before_answer() => Counted::Error,
            (_, None) => Counted::Success,
        }
    }

    /// A failure after the answer (a tunnel cut, a body that broke off) does not turn its success over.
    fn failed_before_answer(&self) -> bool {
        self.connect.is_none()
    }
}

/// Which counter a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A chain was built and the answer came through it.
    Success,
    /// PCS answered with a failure.
    Error,
    /// The client was refused for what it asked.
    Rejected(Rejection),
    /// `/health`, `/proxy.pac` and the like are no proxy requests, and a client that went away got no answer.
    Not,
}

/// What kind a request is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// CONNECT or SOCKS5.
    Tunnel,
    /// Plain HTTP in absolute form.
    Forward,
    /// One that PCS answers itself, or could not read.
    Local,
}

/// Where a request goes, as it may be logged. `Display` leaves query and user-info out.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A tunnel's end.
    Tunnel(&'a Target),
    /// A plain HTTP resource: authority and path.
    Resource {
        /// Host and port as the client wrote them.
        authority: &'a str,
        /// Path and query; only the path is shown.
        path: &'a str,
    },
    /// A path of PCS's own; only what stands before a `?` is shown.
    Local(&'a str),
}

impl Subject<'_> {
    /// Writes what [`Display`](fmt::Display) shows to the end of `out`: it is in every line of the access log.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Tunnel(target) => target.append_to(out),
            Self::Resource { authority, path } => {
                out.extend_from_slice(b"http://");
                out.extend_from_slice(authority.as_bytes());
                out.extend(bare(path));
            }
            Self::Local(path) => out.extend(bare(path)),
        }
    }
}

/// A path without its query.
fn bare(path: &str) -> impl Iterator<Item = u8> {
    path.bytes().take_while(|byte| !matches!(byte, b'?' | b'#'))
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.append_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Why a client was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// Malformed head, ambiguous framing, unknown pool or bad parameter: 400.
    BadRequest,
    /// Head or target too large: 431, 414.
    TooLarge,
    /// Head not complete in time: 408.
    HeadTimeout,
    /// Local credentials missing or wrong: 407.
    Auth,
    /// A route rejects, or the target is PCS itself: 403.
    Denied,
    /// Over `rate_limit`: 429.
    RateLimit,
    /// Over `max_connections`: 503.
    MaxConnections,
    /// Not in `allow_from`: closed.
    NotAllowed,
    /// Neither HTTP nor SOCKS5, or one that is switched off: closed.
    UnknownProtocol,
    /// Something this proxy does not do: 404, 501.
    Unsupported,
}

impl Rejection {
    /// The name in logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::HeadTimeout => "head_timeout",
            Self::Auth => "auth",
            Self::Denied => "denied",
            Self::RateLimit => "rate_limit",
            Self::MaxConnections => "max_connections",
            Self::NotAllowed => "not_allowed",
            Self::UnknownProtocol => "unknown_protocol",
            Self::Unsupported => "unsupported",
        }
    }

    /// Every reason, for whoever registers counters beforehand.
    pub const ALL: [Self; 10] = [
        Self::BadRequest,
        Self::TooLarge,
        Self::HeadTimeout,
        Self::Auth,
        Self::Denied,
        Self::RateLimit,
        Self::MaxConnections,
        Self::NotAllowed,
        Self::UnknownProtocol,
        Self::Unsupported,
    ];

    /// Whether it counts as the client's doing only, not as a failure of PCS.
    const fn is_clients_fault(self) -> bool {
        !matches!(self, Self::MaxConnections)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The status of a request whose client went away, or was cut off by a stop, before it was answered.
pub(crate) const CLIENT_GONE: u16 = 499;

/// A method's name: known ones cost nothing.
pub(crate) fn method_name(method: &str) -> Cow<'static, str> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    match KNOWN.iter().find(|known| **known == method) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(method.to_owned()),
    }
}
