//! The head of an answer from upstream, read and written anew.

use pcs_tunnel::wire::http1::{BodyLength, Version, read_response, response_body, slots};

use super::fields::{Direction, write_end_to_end, write_field};
use crate::answer::Persistence;

/// An answer from upstream. Owns what it needs.
pub(super) struct Reply {
    pub(super) status: u16,
    reason: String,
    /// The field lines that go on, without framing and without the empty line.
    fields: Vec<u8>,
    pub(super) length: BodyLength,
    /// Whether another request may follow on its connection.
    pub(super) is_persistent: bool,
}

impl Reply {
    /// Reads the head that `bytes` are.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(bytes: &[u8], to_head: bool) -> Result<Self, String> {
        let mut slots = slots();
        let head = read_response(bytes, &mut slots).map_err(|error| error.to_string())?;
        let length = response_body(head.version, head.status, to_head, head.fields);
        let length = length.map_err(|error| error.to_string())?;
        // Without a body, Content-Length tells of one that a GET would have had (RFC 9110 §8.6); where nothing
        // can have one, it is dropped.
        let keeps_length = to_head || head.status == 304;
        let anew: &[&str] = if keeps_length { &[] } else { &["content-length"] };
        let mut fields = Vec::with_capacity(bytes.len());
        write_end_to_end(&mut fields, head.fields, Direction::ToClient, anew);
        if head.status == 101 {
            write_field(&mut fields, "Connection", b"Upgrade");
            for value in head.fields.all("upgrade") {
                write_field(&mut fields, "Upgrade", value);
            }
        }
        let says = |token| {
            head.fields.has_token("connection", token) || head.fields.has_token("proxy-connection", token)
        };
        Ok(Self {
            status: head.status,
            reason: head.reason.to_owned(),
            fields,
            length,
            is_persistent: !says("close") && (head.version == Version::Http11 || says("keep-alive")),
        })
    }

    /// Whether it is an answer before the answer (RFC 9110 §15.2).
    pub(super) fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199) && self.status != 101
    }

    /// The head as the client gets it, its body framed by `length`.
    pub(super) fn head(&self, length: BodyLength, connection: Persistence) -> Vec<u8> {
        let mut number = itoa::Buffer::new();
        let mut out = Vec::with_capacity(self.reason.len() + self.fields.len() + 96);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(number.format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.fields);
        match length {
            BodyLength::None | BodyLength::UntilClose => {}
            BodyLength::Exact(length) => {
                write_field(&mut out, "Content-Length", number.format(length).as_bytes());
            }
            BodyLength::Chunked => write_field(&mut out, "Transfer-Encoding", b"chunked"),
        }
        out.extend_from_slice(connection.field().as_bytes());
        out.extend_from_slice(b"\r\n");
        out
    }
}
