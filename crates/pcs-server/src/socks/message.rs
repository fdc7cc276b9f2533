//! SOCKS5 messages as bytes, the server's side. No IO.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

use pcs_models::{AddressError, Host, Target};
use thiserror::Error;

use crate::answer::Reply;

/// What bytes are so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed<T> {
    NeedMore,
    /// The message, and how many bytes it has.
    Done(T, usize),
    /// No such message.
    Malformed,
}

/// What a client can do (RFC 1928 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    methods: Vec<u8>,
}

/// A user name and password (RFC 1929 §2).
#[derive(Clone, PartialEq, Eq)]
pub(super) struct LoginMessage {
    pub(super) username: String,
    pub(super) password: Vec<u8>,
}

/// What a client wants (RFC 1928 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestMessage {
    Connect(Target),
    /// Something this server does not do.
    Refused(RequestError),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum RequestError {
    #[error("only the command CONNECT is supported")]
    Command,
    #[error("the address type is unknown")]
    AddressType,
    #[error("the target is not well-formed: {0}")]
    Address(AddressError),
    #[error("the request is not of version 5")]
    Version,
}

impl Greeting {
    pub(super) const NO_LOGIN: u8 = 0;
    pub(super) const LOGIN: u8 = 2;

    pub(super) fn parse(bytes: &[u8]) -> Parsed<Self> {
        match bytes {
            [5, count, rest @ ..] => match rest.get(..usize::from(*count)) {
                Some(methods) => Parsed::Done(
                    Self {
                        methods: methods.to_vec(),
                    },
                    2 + methods.len(),
                ),
                None => Parsed::NeedMore,
            },
            [] | [5] => Parsed::NeedMore,
            _ => Parsed::Malformed,
        }
    }

    pub(super) fn offers(&self, method: u8) -> bool {
        self.methods.contains(&method)
    }
}

impl LoginMessage {
    pub(super) fn parse(bytes: &[u8]) -> Parsed<Self> {
        let Some((&version, rest)) = bytes.split_first() else {
            return Parsed::NeedMore;
        };
        if version != 1 {
            return Parsed::Malformed;
        }
        let Some((username, rest)) = counted(rest) else {
            return Parsed::NeedMore;
        };
        let Some((password, rest)) = counted(rest) else {
            return Parsed::NeedMore;
        };
        // A name that is no text belongs to nobody.
        let Ok(username) = str::from_utf8(username) else {
            return Parsed::Malformed;
        };
        let login = Self {
            username: username.to_owned(),
            password: password.to_vec(),
        };
        Parsed::Done(login, bytes.len() - rest.len())
    }
}

/// A byte that counts, and what it counts.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&count, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(count))
}

impl RequestMessage {
    pub(super) fn parse(bytes: &[u8]) -> Parsed<Self> {
        let [version, command, _, kind, rest @ ..] = bytes else {
            return Parsed::NeedMore;
        };
        if *version != 5 {
            return Parsed::Done(Self::Refused(RequestError::Version), bytes.len());
        }
        let split = match kind {
            IPV4 => rest.split_at_checked(4),
            IPV6 => rest.split_at_checked(16),
            NAME => counted(rest),
            _ => return Parsed::Done(Self::Refused(RequestError::AddressType), bytes.len()),
        };
        let Some((address, [high, low, behind @ ..])) = split else {
            return Parsed::NeedMore;
        };
        let length = bytes.len() - behind.len();
        if *command != CONNECT {
            return Parsed::Done(Self::Refused(RequestError::Command), length);
        }
        let host = match kind {
            IPV4 => <[u8; 4]>::try_from(address)
                .map(|ip| Host::Ip(IpAddr::V4(Ipv4Addr::from(ip))))
                .ok(),
            IPV6 => <[u8; 16]>::try_from(address)
                .map(|ip| Host::Ip(IpAddr::V6(Ipv6Addr::from(ip))))
                .ok(),
            _ => None,
        };
        let host = match host {
            Some(host) => Ok(host),
            None => str::from_utf8(address)
                .map_err(|_| AddressError::BadCharacter)
                .and_then(Host::parse),
        };
        let target = host.and_then(|host| Target::try_new(host, u16::from_be_bytes([*high, *low])));
        let message = match target {
            Ok(target) => Self::Connect(target),
            Err(error) => Self::Refused(RequestError::Address(error)),
        };
        Parsed::Done(message, length)
    }
}

/// A reply (RFC 1928 §6). The bound address is left open: it is a hop's, and says nothing to the client.
pub(super) fn reply(reply: Reply) -> [u8; 10] {
    [5, reply as u8, 0, IPV4_TYPE, 0, 0, 0, 0, 0, 0]
}

const CONNECT: u8 = 1;
const IPV4_TYPE: u8 = 1;
const IPV4: &u8 = &IPV4_TYPE;
const NAME: &u8 = &3;
const IPV6: &u8 = &4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(bytes: &[u8]) -> Parsed<RequestMessage> {
        RequestMessage::parse(bytes)
    }

    #[test]
    fn requests_are_read_whatever_their_address_is() {
        let cases: &[(&[u8], &str)] = &[
            (&[5, 1, 0, 1, 127, 0, 0, 1, 0, 80], "127.0.0.1:80"),
            (
                &[
                    5, 1, 0, 3, 9, b'a', b'.', b'e', b'x', b'a', b'm', b'p', b'l', b'e', 1, 187,
                ],
                "a.example:443",
            ),
            (
                &[5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 22],
                "[::1]:22",
            ),
            (
                &[
                    5, 1, 0, 3, 9, b'1', b'2', b'7', b'.', b'0', b'.', b'0', b'.', b'1', 0, 80,
                ],
                "127.0.0.1:80",
            ),
        ];
        for (bytes, expected) in cases {
            for end in 0..bytes.len() {
                assert_eq!(
                    request(&bytes[..end]),
                    Parsed::NeedMore,
                    "{expected} cut at {end}"
                );
            }
            let done = Parsed::Done(RequestMessage::Connect(expected.parse().unwrap()), bytes.len());
            assert_eq!(request(bytes), done);
            let surplus = [*bytes, b"early".as_slice()].concat();
            assert_eq!(request(&surplus), done, "early bytes are left alone");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let refused = |bytes: &[u8]| match request(bytes) {
            Parsed::Done(RequestMessage::Refused(error), _) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&[5, 2, 0, 1, 1, 2, 3, 4, 0, 80]), RequestError::Command);
        assert_eq!(refused(&[5, 3, 0, 1, 1, 2, 3, 4, 0, 80]), RequestError::Command);
        assert_eq!(refused(&[5, 1, 0, 9, 1, 2, 3, 4]), RequestError::AddressType);
        assert_eq!(refused(&[4, 1, 0, 1]), RequestError::Version);
        assert_eq!(
            refused(&[5, 1, 0, 1, 1, 2, 3, 4, 0, 0]),
            RequestError::Address(AddressError::BadPort)
        );
        assert_eq!(
            refused(&[5, 1, 0, 3, 0, 0, 80]),
            RequestError::Address(AddressError::EmptyHost)
        );
        assert_eq!(
            refused(&[5, 1, 0, 3, 1, 0xff, 0, 80]),
            RequestError::Address(AddressError::BadCharacter)
        );
    }

    #[test]
    fn a_login_is_counted_text() {
        let bytes = [1, 3, b'b', b'o', b'b', 2, b'p', b'w'];
        for end in 0..bytes.len() {
            assert!(matches!(LoginMessage::parse(&bytes[..end]), Parsed::NeedMore));
        }
        let Parsed::Done(login, 8) = LoginMessage::parse(&bytes) else {
            panic!("not read")
        };
        assert_eq!(
            (login.username.as_str(), login.password.as_slice()),
            ("bob", b"pw".as_slice())
        );
        assert!(matches!(LoginMessage::parse(&[5, 0, 0]), Parsed::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_message_is_longer_than_its_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Parsed::Done(_, length) = Greeting::parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            if let Parsed::Done(_, length) = LoginMessage::parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
            if let Parsed::Done(_, length) = RequestMessage::parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
