//! SOCKS5 (RFC 1928) with user name and password (RFC 1929).
//!
//! Two talks: the [`Socks5Greeting`], which needs no target and can be held beforehand, and the [`Socks5Connect`].

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use pcs_models::{Credentials, Host, Target};

use super::{AuthProblem, Handshake, HandshakeError, Progress, Said, SocksReply};

/// Which method, and the credentials if the hop asks for them.
#[derive(Debug)]
pub struct Socks5Greeting<'a> {
    credentials: Option<&'a Credentials>,
    state: Greeting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    Begin,
    Method,
    Verdict,
}

impl<'a> Socks5Greeting<'a> {
    /// Offers user name and password where there are any, else none.
    #[must_use]
    pub fn new(credentials: Option<&'a Credentials>) -> Self {
        Self {
            credentials,
            state: Greeting::Begin,
        }
    }

    fn method(&mut self, method: u8, out: &mut Vec<u8>) -> Result<Option<Progress>, HandshakeError> {
        match (method, self.credentials) {
            (NO_AUTH, _) => Ok(Some(Progress::Done { consumed: 2 })),
            (PASSWORD, Some(credentials)) => {
                write_password(credentials, out)?;
                self.state = Greeting::Verdict;
                Ok(None)
            }
            (NOTHING_SUITS, None) => Err(refused(AuthProblem::Missing)),
            (NOTHING_SUITS, Some(_)) => Err(refused(AuthProblem::Refused(
                "it takes no user name and password",
            ))),
            _ => Err(HandshakeError::Malformed("a SOCKS5 method that was not offered")),
        }
    }
}

impl Handshake for Socks5Greeting<'_> {
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        let mut consumed = 0_usize;
        if self.state == Greeting::Begin {
            let methods: &[u8] = if self.credentials.is_some() {
                &[5, 2, NO_AUTH, PASSWORD]
            } else {
                &[5, 1, NO_AUTH]
            };
            out.extend_from_slice(methods);
            self.state = Greeting::Method;
        }
        let mut rest = received;
        if self.state == Greeting::Method {
            check_version(rest, 5)?;
            let Some((&[_, method], behind)) = rest.split_first_chunk::<2>() else {
                return Ok(Progress::NeedMore { consumed });
            };
            if let Some(done) = self.method(method, out)? {
                return Ok(done);
            }
            (rest, consumed) = (behind, 2);
        }
        // Its version is that of RFC 1929; some servers say 5.
        if rest.first().is_some_and(|version| !matches!(version, 1 | 5)) {
            return Err(HandshakeError::Malformed("bytes that are no SOCKS5"));
        }
        let Some((&[_, status], _)) = rest.split_first_chunk::<2>() else {
            return Ok(Progress::NeedMore { consumed });
        };
        if status != 0 {
            return Err(refused(AuthProblem::Refused("SOCKS5 user name and password")));
        }
        Ok(Progress::Done {
            consumed: consumed.saturating_add(2),
        })
    }
}

fn refused(problem: AuthProblem) -> HandshakeError {
    HandshakeError::Auth {
        status: None,
        problem,
    }
}

fn check_version(received: &[u8], due: u8) -> Result<(), HandshakeError> {
    match received.first() {
        Some(version) if *version != due => Err(HandshakeError::Malformed("bytes that are no SOCKS5")),
        _ => Ok(()),
    }
}

/// RFC 1929 §2.
fn write_password(credentials: &Credentials, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
    out.push(1);
    for text in [credentials.username(), credentials.password().expose()] {
        // Credentials are proven to have at most 255 bytes each.
        let length =
            u8::try_from(text.len()).map_err(|_| refused(AuthProblem::Refused("too long for SOCKS5")))?;
        out.push(length);
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

/// CONNECT over a greeted SOCKS5 hop (RFC 1928 §4). Names go as they are: the hop resolves them.
#[derive(Debug)]
pub struct Socks5Connect<'a> {
    target: &'a Target,
    asked: bool,
    reply: Option<u8>,
}

impl<'a> Socks5Connect<'a> {
    /// Asks for `target`.
    #[must_use]
    pub fn new(target: &'a Target) -> Self {
        Self {
            target,
            asked: false,
            reply: None,
        }
    }

    fn ask(&self, out: &mut Vec<u8>) -> Result<(), HandshakeError> {
        out.extend_from_slice(&[5, CONNECT, 0]);
        match (self.target.host.ip(), &self.target.host) {
            (Some(IpAddr::V4(ip)), _) => {
                out.push(IPV4);
                out.extend_from_slice(&ip.octets());
            }
            (Some(IpAddr::V6(ip)), _) => {
                out.push(IPV6);
                out.extend_from_slice(&ip.octets());
            }
            (None, host) => {
                let Host::Name(name) = host else {
                    return Err(HandshakeError::Malformed(
                        "nothing, for the target has no address",
                    ));
                };
                // A name has at most 254 bytes, its last dot included.
                let length = u8::try_from(name.len())
                    .map_err(|_| HandshakeError::Malformed("nothing, for the name is too long for SOCKS5"))?;
                out.extend_from_slice(&[NAME, length]);
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.extend_from_slice(&self.target.port.to_be_bytes());
        Ok(())
    }
}

impl Handshake for Socks5Connect<'_> {
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError> {
        if !self.asked {
            self.ask(out)?;
            self.asked = true;
        }
        check_version(received, 5)?;
        let Some(&code) = received.get(1) else {
            return Ok(Progress::NeedMore { consumed: 0 });
        };
        self.reply = Some(code);
        if code != SUCCEEDED {
            // Some servers close right behind the code: the rest is not worth waiting for.
            return Err(HandshakeError::Reply(SocksReply::V5(code)));
        }
        let address = match (received.get(3), received.get(4)) {
            (None, _) | (Some(&NAME), None) => return Ok(Progress::NeedMore { consumed: 0 }),
            (Some(&IPV4), _) => 4_usize,
            (Some(&IPV6), _) => 16,
            (Some(&NAME), Some(&length)) => usize::from(length).saturating_add(1),
            (Some(_), _) => {
                return Err(HandshakeError::Malformed(
                    "a SOCKS5 reply of an unknown address type",
                ));
            }
        };
        // Version, code, reserved, type; the address; the port.
        let length = address.saturating_add(6);
        if received.len() < length {
            return Ok(Progress::NeedMore { consumed: 0 });
        }
        Ok(Progress::Done { consumed: length })
    }

    fn take_said(&mut self) -> Option<Said> {
        match self.reply.take()? {
            SUCCEEDED => Some(Said::Granted("SOCKS5 succeeded")),
            code => Some(Said::Reply(SocksReply::V5(code))),
        }
    }
}

const CONNECT: u8 = 1;
const SUCCEEDED: u8 = 0;
const NO_AUTH: u8 = 0;
const PASSWORD: u8 = 2;
const NOTHING_SUITS: u8 = 255;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
