//! Hosts, targets and endpoints.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Why a text is not a host, target or endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The host part is empty.
    #[error("the host is empty")]
    EmptyHost,
    /// A name is longer than 253 characters or one of its labels longer than 63 (RFC 1035 §2.3.4).
    #[error("the host name is too long (at most 253 characters, 63 a label)")]
    TooLong,
    /// A character that no host name has.
    #[error("the host holds a character that is not allowed (letters, digits, `-`, `_`, `.`)")]
    BadCharacter,
    /// A name that some resolvers read as an IPv4 address (`127.1`, `0x7f.1`): it would slip past address rules.
    #[error("the host looks like a number but is no IPv4 address in dotted form")]
    NumericName,
    /// An address in brackets that is no IPv6 address.
    #[error("the address in brackets is no IPv6 address")]
    BadIpv6,
    /// A colon that is none before a port, outside brackets.
    #[error("the host holds a colon (only IPv6 addresses do, and those stand in brackets before a port)")]
    Colon,
    /// There is no port.
    #[error("the port is missing")]
    MissingPort,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    BadPort,
    /// User information (`user@`) where only host and port may stand (RFC 9110 §4.2.4).
    #[error("user information is not allowed here")]
    UserInfo,
}

/// A host: a name, lower-cased and never resolved here, or a literal address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name in lower case, as the client or the configuration spelled it otherwise.
    Name(Arc<str>),
    /// A literal address.
    Ip(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    ///
    /// Says which rule the text breaks. Names that resolvers would read as numbers are refused, because rules
    /// about addresses could not see through them.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::EmptyHost);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(AddressError::BadIpv6)?;
            return inner
                .parse::<Ipv6Addr>()
                .map(|ip| Self::Ip(IpAddr::V6(ip)))
                .map_err(|_| AddressError::BadIpv6);
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(ip)));
        }
        if text.contains(':') {
            return text
                .parse::<Ipv6Addr>()
                .map(|ip| Self::Ip(IpAddr::V6(ip)))
                .map_err(|_| AddressError::Colon);
        }
        check_name(text)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Ok(Self::Name(text.to_ascii_lowercase().into()));
        }
        Ok(Self::Name(text.into()))
    }

    /// The literal address, if this is one. An IPv4-mapped IPv6 address answers as IPv4.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Ip(ip) => Some(ip.to_canonical()),
        }
    }
}

fn check_name(name: &str) -> Result<(), AddressError> {
    let stem = name.strip_suffix('.').unwrap_or(name);
    if stem.len() > 253 {
        return Err(AddressError::TooLong);
    }
    let mut last = "";
    for label in stem.split('.') {
        if label.is_empty() {
            return Err(AddressError::EmptyHost);
        }
        if label.len() > 63 {
            return Err(AddressError::TooLong);
        }
        if !label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err(AddressError::BadCharacter);
        }
        last = label;
    }
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    if numeric || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(AddressError::NumericName);
    }
    Ok(())
}

impl fmt::Display for Host {
    /// Writes the form used in authorities: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Host {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Splits `host:port` and proves both; the port is taken from `default` where none is written.
fn parse_authority(text: &str, default: Option<u16>) -> Result<(Host, u16), AddressError> {
    if text.contains('@') {
        return Err(AddressError::UserInfo);
    }
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(AddressError::BadIpv6)?;
        let (host, rest) = text.split_at_checked(end + 1).ok_or(AddressError::BadIpv6)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(AddressError::BadPort),
        }
    } else {
        match text.rsplit_once(':') {
            // An IPv6 address without brackets cannot be told from one with a port.
            Some((host, _)) if host.contains(':') => return Err(AddressError::Colon),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let host = Host::parse(host)?;
    let port = match port {
        Some(digits) => parse_port(digits)?,
        None => default.ok_or(AddressError::MissingPort)?,
    };
    Ok((host, port))
}

fn parse_port(digits: &str) -> Result<u16, AddressError> {
    // `u16::from_str` accepts a leading `+`, an authority does not.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::BadPort);
    }
    digits
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or(AddressError::BadPort)
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            /// Name or literal address.
            pub host: Host,
            /// TCP port, never 0.
            pub port: u16,
        }

        impl $name {
            /// Puts host and port together.
            ///
            /// # Errors
            ///
            /// [`AddressError::BadPort`] for port 0.
            pub fn try_new(host: Host, port: u16) -> Result<Self, AddressError> {
                if port == 0 { Err(AddressError::BadPort) } else { Ok(Self { host, port }) }
            }

            /// Reads `host:port`, with `default` where no port is written.
            ///
            /// # Errors
            ///
            /// Says which part of the text is wrong.
            pub fn parse_with_default(text: &str, default: u16) -> Result<Self, AddressError> {
                parse_authority(text, Some(default)).map(|(host, port)| Self { host, port })
            }

            /// The socket address, where the host is a literal one.
            #[must_use]
            pub fn socket_addr(&self) -> Option<SocketAddr> {
                self.host.ip().map(|ip| SocketAddr::new(ip, self.port))
            }
        }

        impl FromStr for $name {
            type Err = AddressError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_authority(text, None).map(|(host, port)| Self { host, port })
            }
        }

        impl From<SocketAddr> for $name {
            fn from(address: SocketAddr) -> Self {
                Self { host: Host::Ip(address.ip()), port: address.port() }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", self.host, self.port)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

address! {
    /// Where a client wants to go: resolved by the last hop, never by us (save for direct dials).
    Target
}

address! {
    /// Where a hop listens.
    Endpoint
}

impl Endpoint {
    /// The same place as a target, for the hop before this one.
    #[must_use]
    pub fn as_target(&self) -> Target {
        Target {
            host: self.host.clone(),
            port: self.port,
        }
    }
}

impl Target {
    /// Writes what [`Display`](fmt::Display) shows to the end of `out`, without the machinery of formatting: it is
    /// in every head for a hop and in every line of the access log.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match &self.host {
            Host::Name(name) => out.extend_from_slice(name.as_bytes()),
            Host::Ip(_) => out.extend_from_slice(self.host.to_string().as_bytes()),
        }
        out.push(b':');
        out.extend_from_slice(itoa::Buffer::new().format(self.port).as_bytes());
    }

    /// The same place as an endpoint, for a direct dial.
    #[must_use]
    pub fn as_endpoint(&self) -> Endpoint {
        Endpoint {
            host: self.host.clone(),
            port: self.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authorities_are_read_or_refused() {
        let cases: &[(&str, Result<&str, AddressError>)] = &[
            ("example.com:443", Ok("example.com:443")),
            ("EXAMPLE.com:443", Ok("example.com:443")),
            ("example.com.:443", Ok("example.com.:443")),
            ("127.0.0.1:1", Ok("127.0.0.1:1")),
            ("[::1]:65535", Ok("[::1]:65535")),
            ("under_score.example:80", Ok("under_score.example:80")),
            ("example.com", Err(AddressError::MissingPort)),
            ("[::1]", Err(AddressError::MissingPort)),
            ("::1:80", Err(AddressError::Colon)),
            ("http://example.com:443", Err(AddressError::Colon)),
            ("example.com:80:80", Err(AddressError::Colon)),
            ("[::1:80", Err(AddressError::BadIpv6)),
            ("[::1]x80", Err(AddressError::BadPort)),
            ("[fe80::1%25eth0]:80", Err(AddressError::BadIpv6)),
            (":80", Err(AddressError::EmptyHost)),
            ("", Err(AddressError::EmptyHost)),
            ("a..b:80", Err(AddressError::EmptyHost)),
            ("example.com:0", Err(AddressError::BadPort)),
            ("example.com:65536", Err(AddressError::BadPort)),
            ("example.com:+80", Err(AddressError::BadPort)),
            ("example.com:", Err(AddressError::BadPort)),
            ("user@example.com:80", Err(AddressError::UserInfo)),
            ("exa mple.com:80", Err(AddressError::BadCharacter)),
            ("exämple.com:80", Err(AddressError::BadCharacter)),
            ("127.1:80", Err(AddressError::NumericName)),
            ("2130706433:80", Err(AddressError::NumericName)),
            ("0x7f.0x1:80", Err(AddressError::NumericName)),
            ("256.1.1.1:80", Err(AddressError::NumericName)),
        ];
        for (text, expected) in cases {
            let got = text.parse::<Target>().map(|target| target.to_string());
            assert_eq!(got.as_deref().map_err(|error| *error), *expected, "{text}");
        }
    }

    #[test]
    fn a_host_has_no_port() {
        assert_eq!(Host::parse("x:1"), Err(AddressError::Colon));
        assert_eq!(Host::parse("[x:1]"), Err(AddressError::BadIpv6));
    }

    #[test]
    fn a_long_name_is_refused() {
        let label = "a".repeat(64);
        assert_eq!(Host::parse(&label), Err(AddressError::TooLong));
        let name = ["a"; 128].join(".");
        assert_eq!(Host::parse(&name), Err(AddressError::TooLong));
    }

    #[test]
    fn a_mapped_address_answers_as_ipv4() {
        let host = Host::parse("[::ffff:10.0.0.1]").unwrap();
        assert_eq!(host.ip(), Some("10.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(text in "\\PC{0,40}") {
            if let Ok(target) = text.parse::<Target>() {
                let mut appended = Vec::new();
                target.append_to(&mut appended);
                prop_assert_eq!(appended, target.to_string().into_bytes());
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
        }
    }
}
