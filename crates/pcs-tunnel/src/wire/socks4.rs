//! SOCKS4, with 4a for names: a request and eight bytes of answer.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use pcs_models::{Host, Target};

use super::{Handshake, HandshakeError, Progress, Said, SocksReply};

/// CONNECT through a SOCKS4 hop. Names go as they are (4a): the hop resolves them.
#[derive(Debug)]
pub struct Socks4Connect<'a> {
    target: &'a Target,
    user: &'a str,
    asked: bool,
    reply: Option<u8>,
}

impl<'a> Socks4Connect<'a> {
    /// Asks for `target`, as `user` (SOCKS4 knows no password; it may be empty).
    #[must_use]
    pub fn new(target: &'a Target, user: &'a str) -> Self {
        Self {
            target,
            user,
            asked: false,
            reply: None,
        }
    }

    fn ask(&self, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        let (address, name) = match (self.target.host.ip(), &self.target.host) {
            (Some(IpAddr::V4(ip)), _) => (ip.octets(), None),
            (None, Host::Name(name)) => (NAME_FOLLOWS, Some(name)),
            (Some(IpAddr::V6(_)) | None, _) => return Err(HandshakeError::Ipv6OverSocks4),
        };
        out.extend_from_slice(&[4, CONNECT]);
        out.extend_from_slice(&self.target.port.to_be_bytes());
        out.extend_from_slice(&address);
        out.extend_from_slice(self.user.as_bytes());
        out.push(0);
        if let Some(name) = name {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        Ok(())
    }
}

impl Handshake for Socks4Connect<'_> {
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        if !self.asked {
            self.ask(out)?;
            self.asked = true;
        }
        // The version of an answer is 0. Some say 4; what is neither is told by its first byte.
        if received.first().is_some_and(|version| !matches!(version, 0 | 4)) {
            return Err(HandshakeError::Malformed("bytes that are no SOCKS4"));
        }
        let Some((reply, _)) = received.split_first_chunk::<8>() else {
            return Ok(Progress::NeedMore { consumed: 0 });
        };
        let [_, code, ..] = *reply;
        self.reply = Some(code);
        match code {
            GRANTED => Ok(Progress::Done {
                consumed: reply.len(),
            }),
            91..=93 => Err(HandshakeError::Reply(SocksReply::V4(code))),
            _ => Err(HandshakeError::Malformed("bytes that are no SOCKS4")),
        }
    }

    fn take_said(&mut self) -> Option<Said> {
        match self.reply.take()? {
            GRANTED => Some(Said::Granted("SOCKS4 granted")),
            code => Some(Said::Reply(SocksReply::V4(code))),
        }
    }
}

const CONNECT: u8 = 1;
const GRANTED: u8 = 90;

/// An address that no host has tells a 4a server that a name follows.
const NAME_FOLLOWS: [u8; 4] = [0, 0, 0, 1];
