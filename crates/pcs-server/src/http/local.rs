//! Requests to PCS itself: health, PAC file, and a hint for whoever takes it for a web server.

use pcs_models::Target;
use pcs_tunnel::wire::http1::BodyLength;

use super::ask::{ForwardAsk, LocalAsk, Refusal};
use super::{After, Session};
use crate::access::RequestKind;
use crate::answer::{Answer, Persistence, Wire};
use crate::shared::Live;
use crate::ticket::{Matter, Ticket};

/// Answers a request in origin form.
pub(super) async fn serve(session: &mut Session<'_, '_>, live: &Live, ask: LocalAsk) -> After {
    let route = ask.path.split('?').next().unwrap_or_default();
    let reads = matches!(&*ask.method, "GET" | "HEAD");
    let (content_type, body) = match route {
        "/health" if reads => ("application/json", "{\"status\":\"healthy\"}".to_owned()),
        "/proxy.pac" if reads => match proxy_authority(session, live, ask.host.as_deref()) {
            Some(authority) => ("application/x-ns-proxy-autoconfig", pac(&authority)),
            None => return refuse(session, live, ask).await,
        },
        _ => return refuse(session, live, ask).await,
    };
    let message = |wire| message(&format!("Content-Type: {content_type}\r\n"), &body, wire);
    let ticket = session.ticket(RequestKind::Local, ask.method, Matter::Local(ask.path));
    answer(session, ticket, ask.wire, ask.body, message).await
}

/// Answers OPTIONS that may not be forwarded any more: as its last recipient (RFC 9110 §9.3.7).
pub(super) async fn options(session: &mut Session<'_, '_>, ask: ForwardAsk) -> After {
    let matter = Matter::Resource {
        authority: ask.authority,
        path: ask.path,
    };
    let length = match ask.body {
        BodyLength::None => Some(0),
        BodyLength::Exact(length) => Some(length),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    };
    let ticket = session.ticket(RequestKind::Forward, ask.method, matter);
    let message = |wire| message("Proxy-Status: pcs\r\n", "", wire);
    answer(session, ticket, ask.wire, length, message).await
}

/// Writes an answer of status 200 to a request with a body of this length, where that is known.
async fn answer(
    session: &mut Session<'_, '_>,
    mut ticket: Ticket,
    mut wire: Wire,
    body: Option<u64>,
    message: impl FnOnce(Wire) -> Vec<u8>,
) -> After {
    if !session.skip_body(body) || session.is_draining() {
        wire.connection = Persistence::Close;
    }
    let sent = session.write(&message(wire)).await;
    ticket.answered(200);
    if sent.is_err() {
        ticket.broke("client_gone");
    }
    ticket.finish();
    if wire.connection == Persistence::Close {
        After::Linger
    } else {
        After::Next
    }
}

async fn refuse(session: &mut Session<'_, '_>, live: &Live, ask: LocalAsk) -> After {
    let proxy = if live.settings.protocols.socks5 {
        "HTTP or SOCKS5 proxy"
    } else {
        "HTTP proxy"
    };
    let detail = format!(
        "this is a proxy, not a web server: set it as the {proxy} of your client \
         (GET /health and GET /proxy.pac are all that it serves itself)"
    );
    let refusal = Refusal {
        answer: Answer::not_here(detail),
        kind: RequestKind::Local,
        method: ask.method,
        matter: Matter::Local(ask.path),
        wire: ask.wire,
        body: ask.body,
    };
    session.refuse(refusal).await
}

fn message(fields: &str, body: &str, wire: Wire) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\nCache-Control: no-store\r\n{}\r\n",
        body.len(),
        wire.connection()
    );
    if !wire.to_head {
        out.push_str(body);
    }
    out.into_bytes()
}

/// What this client can reach the proxy by: the `Host` it wrote, where that is a proper one.
fn proxy_authority(session: &Session<'_, '_>, live: &Live, host: Option<&str>) -> Option<String> {
    let local = session.visitor.client.local_addr().ok();
    let port = local.map_or(80, |address| address.port());
    if let Some(host) = host.and_then(|host| Target::parse_with_default(host, port).ok()) {
        return Some(host.to_string());
    }
    live.settings
        .advertised
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| local.map(|address| address.to_string()))
}

/// A PAC file that names this proxy and no way around it.
fn pac(authority: &str) -> String {
    format!(
        "function FindProxyForURL(url, host) {{\n  \
           if (host === \"localhost\" || shExpMatch(host, \"127.*\") || host === \"::1\" || host === \"[::1]\") {{\n    \
             return \"DIRECT\";\n  \
           }}\n  \
           return \"PROXY {authority}\";\n\
         }}\n"
    )
}
