//! A request head, read and judged: what the client asks for, or why it does not get it.

use std::borrow::Cow;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pcs_models::Target;
use pcs_tunnel::wire::http1::{
    BodyLength, FramingError, HeadError, RequestHead, Version, in_known_version, read_request, request_body,
    slots,
};

use super::fields::is_connection_auth;
use super::outgoing::{hops_left, outgoing_fields};
use super::target::{RequestTarget, TargetError, authority_form, other_form};
use crate::access::{RequestKind, method_name};
use crate::answer::{Answer, Persistence, Wire};
use crate::shared::Live;
use crate::ticket::Matter;
use crate::users::{Login, ParameterError, Parameters};

/// What a client asks for. Owns what it needs: the head's bytes are given back.
pub(super) enum Ask {
    Connect(ConnectAsk),
    Forward(Box<ForwardAsk>),
    Local(LocalAsk),
    /// OPTIONS that may go no further: it asks about this proxy.
    Options(Box<ForwardAsk>),
}

/// A tunnel.
pub(super) struct ConnectAsk {
    pub(super) target: Target,
    pub(super) parameters: Parameters,
    pub(super) wire: Wire,
}

/// A request to be forwarded.
pub(super) struct ForwardAsk {
    pub(super) method: Cow<'static, str>,
    pub(super) target: Target,
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
    pub(super) parameters: Parameters,
    /// The field lines that go on, `Host` first, without the empty line.
    pub(super) fields: Vec<u8>,
    pub(super) body: BodyLength,
    pub(super) version: Version,
    pub(super) wire: Wire,
    /// Whether the same request twice is as good as once (RFC 9110 §9.2.2).
    pub(super) is_idempotent: bool,
    /// Whether the client wants to change the protocol, as WebSocket clients do.
    pub(super) upgrades: bool,
    /// Whether the client authenticates its connection to the target.
    pub(super) pins: bool,
}

/// A request to PCS itself.
pub(super) struct LocalAsk {
    pub(super) method: Cow<'static, str>,
    pub(super) path: String,
    pub(super) host: Option<String>,
    pub(super) wire: Wire,
    pub(super) body: Option<u64>,
}

/// A request that is not followed.
pub(super) struct Refusal {
    pub(super) answer: Answer,
    pub(super) kind: RequestKind,
    pub(super) method: Cow<'static, str>,
    pub(super) matter: Matter,
    pub(super) wire: Wire,
    /// The length of the body behind the head, where it is known.
    pub(super) body: Option<u64>,
}

/// Reads a head and judges it by the settings.
pub(super) fn read(bytes: &[u8], live: &Live, peer: SocketAddr) -> Result<Ask, Box<Refusal>> {
    let mut slots = slots();
    let head = match read_request(bytes, &mut slots) {
        Ok(head) => head,
        Err(error) => {
            return match in_known_version(bytes) {
                Some(known) => read(&known, live, peer),
                None => Err(Box::new(Refusal::unread(error))),
            };
        }
    };
    let refuse = |answer, kind, matter, body| {
        let wire = Wire {
            to_head: head.method == "HEAD",
            connection: persistence(&head),
        };
        Box::new(Refusal {
            answer,
            kind,
            method: method_name(head.method),
            matter,
            wire,
            body,
        })
    };
    let malformed = |answer| refuse(answer, RequestKind::Local, Matter::Unknown, None);

    let body = request_body(head.version, head.fields).map_err(|error| malformed(unframed(error)))?;
    if head.fields.all("host").count() > 1 {
        return Err(malformed(Answer::malformed("there is more than one Host field")));
    }
    if head.method == "CONNECT" {
        return read_connect(&head, body, live, peer, &refuse);
    }
    let wire = Wire {
        to_head: head.method == "HEAD",
        connection: persistence(&head),
    };
    let known = match body {
        BodyLength::None => Some(0),
        BodyLength::Exact(length) => Some(length),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    match other_form(head.target, head.method)
        .map_err(|error| malformed(Answer::malformed(error.to_string())))?
    {
        RequestTarget::Origin(path) => Ok(Ask::Local(LocalAsk {
            method: method_name(head.method),
            path: path.to_owned(),
            host: head.fields.text("host").map(str::to_owned),
            wire,
            body: known,
        })),
        RequestTarget::Absolute {
            target,
            authority,
            path,
        } => {
            let matter = || Matter::Resource {
                authority: authority.to_owned(),
                path: path.to_owned(),
            };
            let parameters = admit(&head, live, peer)
                .map_err(|answer| refuse(answer, RequestKind::Forward, matter(), known))?;
            let stops = hops_left(&head) == Some(0);
            if stops && head.method == "TRACE" {
                let answer = Answer::unsupported("this proxy does not answer TRACE itself");
                return Err(refuse(answer, RequestKind::Forward, matter(), known));
            }
            let ask = Box::new(forward(&head, target, authority, path, parameters, body, wire));
            Ok(if stops {
                Ask::Options(ask)
            } else {
                Ask::Forward(ask)
            })
        }
    }
}

fn read_connect(
    head: &RequestHead<'_, '_>,
    body: BodyLength,
    live: &Live,
    peer: SocketAddr,
    refuse: &dyn Fn(Answer, RequestKind, Matter, Option<u64>) -> Box<Refusal>,
) -> Result<Ask, Box<Refusal>> {
    let malformed = |answer| refuse(answer, RequestKind::Tunnel, Matter::Unknown, None);
    let target = authority_form(head.target)
        .map_err(|error: TargetError| malformed(Answer::malformed(error.to_string())))?;
    // Whatever follows the head belongs to the tunnel (RFC 9110 §9.3.6); a peer that announces a body means
    // something else by it.
    if !matches!(body, BodyLength::None | BodyLength::Exact(0)) {
        return Err(malformed(Answer::malformed("a CONNECT request has no body")));
    }
    match admit(head, live, peer) {
        Ok(parameters) => {
            let wire = Wire {
                to_head: false,
                connection: persistence(head),
            };
            Ok(Ask::Connect(ConnectAsk {
                target,
                parameters,
                wire,
            }))
        }
        Err(answer) => Err(refuse(
            answer,
            RequestKind::Tunnel,
            Matter::Tunnel(target),
            Some(0),
        )),
    }
}

/// Rate, credentials, parameters: in this order, so that guessing passwords is bounded too.
fn admit(head: &RequestHead<'_, '_>, live: &Live, peer: SocketAddr) -> Result<Parameters, Answer> {
    if let Some(rate) = &live.rate {
        rate.check(peer.ip()).map_err(Answer::rate_limited)?;
    }
    let users = live.settings.users.as_ref();
    let shown = head.fields.first("proxy-authorization").and_then(basic);
    let mut parameters = match (&shown, users) {
        (None, Some(_)) => return Err(Answer::unauthorized()),
        (None, None) => Parameters::default(),
        (Some((username, password)), users) => Login::check(users, username, password)
            .ok_or_else(Answer::unauthorized)?
            .parameters()
            .map_err(unfit)?,
    };
    // A field is more particular than a user name that stands in some configuration.
    if let Some(id) = head.fields.first("x-proxy-sticky-session") {
        parameters
            .set_session(&String::from_utf8_lossy(id))
            .map_err(unfit)?;
    }
    if let Some(name) = head.fields.first("x-proxy-pool") {
        parameters
            .set_pool(&String::from_utf8_lossy(name))
            .map_err(unfit)?;
    }
    Ok(parameters)
}

fn unfit(error: ParameterError) -> Answer {
    Answer::bad_request(error.to_string())
}

/// The user name and password of Basic credentials (RFC 7617 §2).
fn basic(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.truncate(colon);
    Some((String::from_utf8(decoded).ok()?, password))
}

fn forward(
    head: &RequestHead<'_, '_>,
    target: Target,
    authority: &str,
    path: &str,
    parameters: Parameters,
    body: BodyLength,
    wire: Wire,
) -> ForwardAsk {
    let upgrades = wants_upgrade(head);
    ForwardAsk {
        method: method_name(head.method),
        target,
        authority: authority.to_owned(),
        path: path.to_owned(),
        parameters,
        fields: outgoing_fields(head, authority, body, upgrades),
        body,
        version: head.version,
        wire,
        is_idempotent: matches!(
            head.method,
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        ),
        upgrades,
        pins: head.fields.first("authorization").is_some_and(is_connection_auth),
    }
}

/// Whether the client wants another protocol. HTTP/2 in the clear is not one that we could follow, and a client
/// that offers it is content with HTTP/1.1 (RFC 9113 §3.1).
fn wants_upgrade(head: &RequestHead<'_, '_>) -> bool {
    head.version == Version::Http11
        && head.fields.has_token("connection", "upgrade")
        && head.fields.first("upgrade").is_some()
        && !head.fields.has_token("upgrade", "h2c")
}

/// Whether the client means its connection to stay (RFC 9112 §9.3). Old clients say so to proxies in a field of
/// their own making.
fn persistence(head: &RequestHead<'_, '_>) -> Persistence {
    let says = |token| {
        head.fields.has_token("connection", token) || head.fields.has_token("proxy-connection", token)
    };
    match head.version {
        _ if says("close") => Persistence::Close,
        Version::Http11 => Persistence::Keep,
        Version::Http10 if says("keep-alive") => Persistence::KeepOld,
        Version::Http10 => Persistence::Close,
    }
}

fn unframed(error: FramingError) -> Answer {
    match error {
        FramingError::UnknownCoding => Answer::unsupported(error.to_string()),
        error => Answer::malformed(error.to_string()),
    }
}

impl Refusal {
    fn unread(error: HeadError) -> Self {
        Self {
            answer: match error {
                HeadError::TooManyFields => Answer::too_many_fields(),
                error => Answer::malformed(error.to_string()),
            },
            kind: RequestKind::Local,
            method: "-".into(),
            matter: Matter::Unknown,
            wire: Wire::CLOSE,
            body: None,
        }
    }
}
