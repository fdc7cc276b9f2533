//! The head of a request as the next hop gets it.

use pcs_tunnel::Form;
use pcs_tunnel::wire::http1::{BodyLength, RequestHead, Version};

use super::ask::ForwardAsk;
use super::fields::{Direction, write_end_to_end, write_field};

impl ForwardAsk {
    /// The head of the request as the next hop gets it.
    pub(super) fn head(&self, form: &Form) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.fields.len() + self.path.len() + self.authority.len() + 64);
        out.extend_from_slice(self.method.as_bytes());
        match form {
            Form::Origin => {
                // The query of an empty path needs its slash here (RFC 9112 §3.2.1).
                out.extend_from_slice(if self.path.starts_with('?') { b" /" } else { b" " });
                out.extend_from_slice(self.path.as_bytes());
            }
            Form::Absolute { .. } => {
                out.extend_from_slice(b" http://");
                out.extend_from_slice(self.authority.as_bytes());
                // `*` is the empty path again where the authority is written (RFC 9112 §3.2.4).
                if self.path != "*" {
                    out.extend_from_slice(self.path.as_bytes());
                }
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if let Form::Absolute {
            authorization: Some(value),
        } = form
        {
            write_field(&mut out, "Proxy-Authorization", value.expose().as_bytes());
        }
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// How often the request may be forwarded still, where that counts (RFC 9110 §7.6.2): a number too large for us is
/// one that is not reached.
pub(super) fn hops_left(head: &RequestHead<'_, '_>) -> Option<u32> {
    if !matches!(head.method, "OPTIONS" | "TRACE") {
        return None;
    }
    let digits = head.fields.text("max-forwards")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}

/// The field lines of the request to the next hop.
pub(super) fn outgoing_fields(
    head: &RequestHead<'_, '_>,
    authority: &str,
    body: BodyLength,
    upgrades: bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    // The target counts, whatever Host says (RFC 9112 §3.2.2), and both readers have to see the same.
    write_field(&mut out, "Host", authority.as_bytes());
    let left = hops_left(head);
    let anew: &[&str] = match (head.version, left) {
        (Version::Http11, None) => &["host", "content-length"],
        (Version::Http11, Some(_)) => &["host", "content-length", "max-forwards"],
        // An HTTP/1.0 client cannot mean it (RFC 9110 §10.1.1).
        (Version::Http10, None) => &["host", "content-length", "expect"],
        (Version::Http10, Some(_)) => &["host", "content-length", "expect", "max-forwards"],
    };
    write_end_to_end(&mut out, head.fields, Direction::ToUpstream, anew);
    if let Some(left) = left {
        let fewer = left.saturating_sub(1);
        write_field(&mut out, "Max-Forwards", fewer.to_string().as_bytes());
    }
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Exact(length) => write_field(&mut out, "Content-Length", length.to_string().as_bytes()),
        BodyLength::Chunked => write_field(&mut out, "Transfer-Encoding", b"chunked"),
    }
    if upgrades {
        write_field(&mut out, "Connection", b"Upgrade");
        for value in head.fields.all("upgrade") {
            write_field(&mut out, "Upgrade", value);
        }
    } else if head.version == Version::Http11 && head.fields.has_token("te", "trailers") {
        // Trailers go through us, so what the client says of them is true of us too (RFC 9110 §10.1.4).
        write_field(&mut out, "TE", b"trailers");
        write_field(&mut out, "Connection", b"TE");
    }
    out
}
