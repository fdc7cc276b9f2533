//! Why a handshake with a hop went wrong.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::borrow::Cow;
use std::fmt;

use pcs_models::FailureKind;
use thiserror::Error;

use super::Scheme;
use super::http1::{BodyError, HeadError};
use super::ntlm::NtlmError;

/// Why a hop did not do what it was asked. The text follows the hop's name and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Its answer is no HTTP, or its head is larger than allowed.
    #[error("answered no proper HTTP ({0})")]
    Head(#[from] HeadError),
    /// The body of its 407 cannot be followed to its end.
    #[error("answered 407 with a broken body ({0})")]
    Body(#[from] BodyError),
    /// Its answer breaks its protocol some other way.
    #[error("answered {0}")]
    Malformed(&'static str),
    /// It answered a status other than success.
    #[error("answered {status}{reason}")]
    Status {
        /// The status.
        status: u16,
        /// The reason phrase.
        reason: Reason,
    },
    /// It answered a SOCKS reply other than success.
    #[error("answered {0}")]
    Reply(SocksReply),
    /// It wants credentials that we lack, or refuses those we have.
    #[error("{problem}")]
    Auth {
        /// The HTTP status, always 407; none from SOCKS hops.
        status: Option<u16>,
        /// What the matter is.
        problem: AuthProblem,
    },
    /// It asks for credentials and ends the connection: ask again on a new one, showing them this way at once.
    #[error("closed the connection to be asked again with credentials")]
    Redial(Scheme),
    /// A SOCKS4 hop was to be asked for an IPv6 address, which that protocol cannot name.
    #[error("speaks SOCKS4, which cannot name an IPv6 address")]
    Ipv6OverSocks4,
}

impl HandshakeError {
    /// What went wrong, in the words of every other failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Head(_) | Self::Body(_) | Self::Malformed(_) | Self::Ipv6OverSocks4 => {
                FailureKind::Protocol
            }
            Self::Status { .. } => FailureKind::Status,
            Self::Reply(reply) => reply.kind(),
            Self::Auth { .. } | Self::Redial(_) => FailureKind::Auth,
        }
    }

    /// The HTTP status that was answered, if one was.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Auth { status, .. } => *status,
            Self::Body(_) | Self::Redial(_) => Some(407),
            Self::Head(_) | Self::Malformed(_) | Self::Reply(_) | Self::Ipv6OverSocks4 => None,
        }
    }

    pub(super) fn http_auth(problem: AuthProblem) -> Self {
        Self::Auth {
            status: Some(407),
            problem,
        }
    }
}

/// What the matter is with credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthProblem {
    /// The hop asks and we have none.
    #[error("wants credentials and none are configured")]
    Missing,
    /// It refused what it was shown.
    #[error("refused our credentials ({0})")]
    Refused(&'static str),
    /// It asks for schemes that we cannot or must not use.
    #[error("wants credentials by no scheme that we may use with it (we: {may}; it offers: {offers})")]
    NoCommonScheme {
        /// What we may use.
        may: &'static str,
        /// What it offers, of what we know by name.
        offers: &'static str,
    },
    /// It closed the connection between the two legs of NTLM.
    #[error("ends the connection in the middle of NTLM")]
    Closed,
    /// Its NTLM challenge cannot be used.
    #[error("sent an NTLM challenge that cannot be used ({0})")]
    Challenge(#[from] NtlmError),
}

/// What a hop said, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Said {
    /// The status and reason phrase of an HTTP answer.
    Status(u16, Reason),
    /// A SOCKS hop did what it was asked.
    Granted(&'static str),
    /// A SOCKS hop did not.
    Reply(SocksReply),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, reason) => write!(f, "{status}{reason}"),
            Self::Granted(text) => f.write_str(text),
            Self::Reply(reply) => reply.fmt(f),
        }
    }
}

/// A reason phrase from a hop: made printable, bounded.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reason(Cow<'static, str>);

/// What proxies say to a CONNECT that went well; kept by reference, as every tunnel has one.
const USUAL: [&str; 4] = ["OK", "Connection established", "Connection Established", "Ok"];

impl Reason {
    /// The most characters that are kept.
    pub const MAX: usize = 128;

    /// Takes what a hop said: characters that are not printable ASCII become `?`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        if let Some(usual) = USUAL.into_iter().find(|usual| *usual == text) {
            return Self(Cow::Borrowed(usual));
        }
        let printable = |char: char| if matches!(char, ' '..='~') { char } else { '?' };
        Self(Cow::Owned(text.chars().take(Self::MAX).map(printable).collect()))
    }

    /// The phrase, possibly empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    /// Writes the phrase with a space before it, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.0)
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A SOCKS reply other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocksReply {
    /// A SOCKS4 code, 91 to 93.
    V4(u8),
    /// A SOCKS5 code (RFC 1928 §6).
    V5(u8),
}

impl SocksReply {
    /// What went wrong, in the words of every other failure.
    #[must_use]
    pub fn kind(self) -> FailureKind {
        match self {
            Self::V5(3 | 4) => FailureKind::Unreachable,
            Self::V5(5) => FailureKind::Refused,
            Self::V5(6) => FailureKind::Timeout,
            Self::V4(92 | 93) => FailureKind::Auth,
            Self::V4(_) | Self::V5(_) => FailureKind::Status,
        }
    }

    /// Whether the hop says outright that it is the next place that failed.
    #[must_use]
    pub fn names_next(self) -> bool {
        matches!(self, Self::V5(3..=6))
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::V4(91) => "rejected or failed",
            Self::V4(92 | 93) => "user id not proven",
            Self::V5(1) => "general failure",
            Self::V5(2) => "not allowed",
            Self::V5(3) => "network unreachable",
            Self::V5(4) => "host unreachable",
            Self::V5(5) => "connection refused",
            Self::V5(6) => "TTL expired",
            Self::V5(7) => "command not supported",
            Self::V5(8) => "address type not supported",
            Self::V4(_) | Self::V5(_) => "unassigned",
        }
    }
}

impl fmt::Display for SocksReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, code) = match self {
            Self::V4(code) => (4, code),
            Self::V5(code) => (5, code),
        };
        write!(f, "SOCKS{version} reply {code} ({})", self.meaning())
    }
}
