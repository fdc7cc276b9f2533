//! Which header fields go on, and which end here.

use pcs_tunnel::wire::http1::{Fields, tokens};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToUpstream,
    ToClient,
}

/// Whether a field is about one connection only (RFC 9110 §7.6.1).
fn is_hop_by_hop(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "proxy-authenticate",
        "proxy-authentication-info",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a field is an instruction to this proxy.
fn is_ours(name: &str) -> bool {
    name.get(..OURS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

const OURS: &str = "x-proxy-";

/// Whether a trailer field goes on: never one that frames, routes or authenticates (RFC 9110 §6.5.1).
pub(super) fn keeps_trailer(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "content-length",
        "host",
        "trailer",
        "authorization",
        "www-authenticate",
        "content-encoding",
        "content-type",
        "content-range",
        "set-cookie",
    ];
    !is_hop_by_hop(name) && !is_ours(name) && !NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Writes the fields that go on: not those about one connection, not those that `Connection` lists, not those
/// that `written_anew` names.
pub(super) fn write_end_to_end(
    out: &mut Vec<u8>,
    fields: Fields<'_, '_>,
    direction: Direction,
    written_anew: &[&str],
) {
    let lists_more = fields.all("connection").flat_map(tokens).any(is_unusual_option);
    for (name, value) in fields.iter() {
        if is_hop_by_hop(name)
            || (direction == Direction::ToUpstream && is_ours(name))
            || written_anew.iter().any(|known| name.eq_ignore_ascii_case(known))
            || (lists_more && fields.has_token("connection", name))
        {
            continue;
        }
        write_field(out, name, value);
    }
}

/// Most `Connection` fields say `close`, `keep-alive` or name a field that goes anyway.
fn is_unusual_option(option: &[u8]) -> bool {
    const USUAL: [&[u8]; 4] = [b"close", b"keep-alive", b"upgrade", b"te"];
    !USUAL.iter().any(|usual| option.eq_ignore_ascii_case(usual))
}

pub(super) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a list of authentication schemes begins one that authenticates connections instead of requests.
pub(super) fn is_connection_auth(value: &[u8]) -> bool {
    let scheme = value.split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
}
