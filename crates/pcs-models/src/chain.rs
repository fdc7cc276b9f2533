//! Hops and the chains they form.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use thiserror::Error;

use crate::{Credentials, Endpoint, HopName};

/// The language a proxy speaks with its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 over TCP: CONNECT (RFC 9110 §9.3.6) and absolute form.
    Http,
    /// The same over TLS.
    Https,
    /// SOCKS4, with 4a for names.
    Socks4,
    /// SOCKS5 (RFC 1928), user name and password by RFC 1929.
    Socks5,
}

impl Protocol {
    /// All of them, in the order they are documented.
    pub const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks4, Self::Socks5];

    /// The name used in URLs and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks4 => "socks4",
            Self::Socks5 => "socks5",
        }
    }

    /// The port that a URL without one means.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks4 | Self::Socks5 => 1080,
        }
    }

    /// Whether plain `http://` requests go to such a hop in absolute form.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names none of the four protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown protocol (allowed: http, https, socks4, socks5)")]
pub struct UnknownProtocol;

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// Takes the aliases curl users write: `socks4a` and `socks5h` name the same hops, since targets' names are
    /// always resolved by the hop.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "socks4" | "socks4a" => Ok(Self::Socks4),
            "socks5" | "socks5h" => Ok(Self::Socks5),
            _ => Err(UnknownProtocol),
        }
    }
}

/// How a hop wants to see credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AuthScheme {
    /// Whatever its `Proxy-Authenticate` asks for, the strongest first.
    #[default]
    Auto,
    /// Basic (RFC 7617), sent without being asked.
    Basic,
    /// `NTLMv2` (MS-NLMP).
    Ntlm,
}

/// How to prove an `https` hop's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsOptions {
    /// PEM file of the authorities, or of the hop's own certificate, to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The name to ask for and to prove; the hop's host if not given.
    pub server_name: Option<String>,
    /// Accept any certificate. For tests.
    pub insecure_skip_verify: bool,
}

/// One proxy on the way to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// What errors and logs call it.
    pub name: HopName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What it wants to know of us.
    pub credentials: Option<Credentials>,
    /// How credentials are shown to it (HTTP hops only).
    pub auth: AuthScheme,
    /// The Windows domain for NTLM. Where set, Basic is never sent.
    pub domain: Option<Arc<str>>,
    /// How its certificate is proven (`https` only).
    pub tls: TlsOptions,
    /// What it turned out to want, where `auth` leaves that to be found out.
    pub learnt: LearntAuth,
}

/// How a hop turned out to want credentials. All clones of a hop share it: what one chain through a proxy has found
/// out, the others need not ask for.
#[derive(Debug, Clone, Default)]
pub struct LearntAuth(Arc<AtomicU8>);

impl LearntAuth {
    /// What it wants; [`AuthScheme::Auto`] while that is not known.
    #[must_use]
    pub fn get(&self) -> AuthScheme {
        // Relaxed, as below: a hint, it orders nothing.
        match self.0.load(Relaxed) {
            1 => AuthScheme::Basic,
            2 => AuthScheme::Ntlm,
            _ => AuthScheme::Auto,
        }
    }

    /// Remembers that, or with [`AuthScheme::Auto`] forgets it.
    pub fn set(&self, scheme: AuthScheme) {
        let number = match scheme {
            AuthScheme::Auto => 0,
            AuthScheme::Basic => 1,
            AuthScheme::Ntlm => 2,
        };
        // Asked first: every dial says it again, and threads would take the line from each other.
        if self.0.load(Relaxed) != number {
            self.0.store(number, Relaxed);
        }
    }
}

/// What is known of a hop is no part of what it is.
impl PartialEq for LearntAuth {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for LearntAuth {}

impl Hop {
    /// A hop without credentials, named by its address.
    #[must_use]
    pub fn new(protocol: Protocol, endpoint: Endpoint) -> Self {
        Self {
            name: HopName::from(&endpoint),
            protocol,
            endpoint,
            credentials: None,
            auth: AuthScheme::Auto,
            domain: None,
            tls: TlsOptions::default(),
            learnt: LearntAuth::default(),
        }
    }

    /// The same hop under another name.
    #[must_use]
    pub fn named(mut self, name: HopName) -> Self {
        self.name = name;
        self
    }

    /// The same hop with credentials.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self.learnt = LearntAuth::default();
        self
    }

    /// The same hop with a forced scheme.
    #[must_use]
    pub fn with_auth(mut self, auth: AuthScheme) -> Self {
        self.auth = auth;
        self
    }

    /// Whether two hops are the same proxy: protocol, host, port and user name. The password may change.
    #[must_use]
    pub fn is_same_proxy(&self, other: &Self) -> bool {
        let user = |hop: &'_ Self| {
            hop.credentials
                .as_ref()
                .map(|credentials| credentials.username().to_owned())
        };
        self.protocol == other.protocol && self.endpoint == other.endpoint && user(self) == user(other)
    }
}

/// The place of a hop in its chain, the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HopIndex(pub u8);

impl fmt::Display for HopIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why hops do not make a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A chain without hops would be a direct dial; that has to be asked for by name.
    #[error("a chain needs at least one hop")]
    Empty,
    /// More hops than anybody needs are a loop in disguise.
    #[error("a chain has at most {max} hops", max = ChainSpec::MAX_HOPS)]
    TooLong,
}

/// The ordered hops that stand between us and a target.
///
/// There is no way to dial a target without one, and a direct dial has to be spelled out as
/// [`ChainSpec::direct`]: nothing that fails to produce hops can end up with a shorter chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSpec(Arc<[Hop]>);

impl ChainSpec {
    /// The most hops one chain may have.
    pub const MAX_HOPS: usize = 16;

    /// A chain of one hop or more.
    ///
    /// # Errors
    ///
    /// [`ChainError`] for none or more than [`ChainSpec::MAX_HOPS`].
    pub fn try_new(hops: Vec<Hop>) -> Result<Self, ChainError> {
        if hops.is_empty() {
            return Err(ChainError::Empty);
        }
        if hops.len() > Self::MAX_HOPS {
            return Err(ChainError::TooLong);
        }
        Ok(Self(hops.into()))
    }

    /// The chain of no hops: plain forward-proxy mode and `via: direct` only.
    #[must_use]
    pub fn direct() -> Self {
        Self(Arc::new([]))
    }

    /// The hops, the nearest first.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.0
    }

    /// Whether nothing stands between us and the target.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.0.is_empty()
    }

    /// The hop that speaks with the target.
    #[must_use]
    pub fn last(&self) -> Option<&Hop> {
        self.0.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn hop(user: &str) -> Hop {
        Hop::new(Protocol::Http, "a:1".parse().unwrap())
            .with_credentials(Credentials::try_new(user, Secret::new("p".into())).unwrap())
    }

    #[test]
    fn no_hops_are_no_chain() {
        assert_eq!(ChainSpec::try_new(Vec::new()), Err(ChainError::Empty));
        assert_eq!(ChainSpec::try_new(vec![hop("u"); 17]), Err(ChainError::TooLong));
        assert!(ChainSpec::direct().is_direct());
    }

    #[test]
    fn identity_is_protocol_address_and_user_name() {
        let mut other = hop("u");
        other.credentials = Some(Credentials::try_new("u", Secret::new("new".into())).unwrap());
        assert!(hop("u").is_same_proxy(&other), "a new password is the same proxy");
        assert!(!hop("u").is_same_proxy(&hop("v")));
        other.protocol = Protocol::Socks5;
        assert!(!hop("u").is_same_proxy(&other));
    }

    #[test]
    fn clones_learn_together_and_are_the_same_hop_whatever_is_known() {
        let (one, stranger) = (hop("u"), hop("u"));
        let clone = one.clone();
        one.learnt.set(AuthScheme::Ntlm);
        assert_eq!(clone.learnt.get(), AuthScheme::Ntlm);
        assert_eq!(stranger.learnt.get(), AuthScheme::Auto);
        assert_eq!(one, stranger);
        let credentials = clone.credentials.clone().unwrap();
        assert_eq!(clone.with_credentials(credentials).learnt.get(), AuthScheme::Auto);
    }

    #[test]
    fn protocols_read_back_and_take_curl_aliases() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.as_str().parse(), Ok(protocol));
        }
        assert_eq!("socks5h".parse(), Ok(Protocol::Socks5));
        assert_eq!("SOCKS4a".parse(), Ok(Protocol::Socks4));
        assert_eq!("ftp".parse::<Protocol>(), Err(UnknownProtocol));
    }
}
