//! The one failure vocabulary: kind, blame, retry.
//!
//! Breaker, retry, client answer, `Proxy-Status`, log and metric label are tables over these.

use std::fmt;

use crate::HopIndex;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// A hop or the target did not answer in time.
    Timeout,
    /// A TCP connection was refused.
    Refused,
    /// No route to the host or network.
    Unreachable,
    /// A connection ended where bytes were still due.
    Reset,
    /// A hop wants credentials that we lack, or refuses those we have (its 407, SOCKS5 auth failure).
    Auth,
    /// A hop answered with a status (or SOCKS reply) other than success.
    Status,
    /// A hop's answer breaks its protocol, or is larger than allowed.
    Protocol,
    /// A name could not be resolved.
    Dns,
    /// A TLS handshake failed or a certificate was not proven.
    Tls,
    /// The chain leads back to ourselves.
    Loop,
    /// A route of the configuration rejects the target.
    Denied,
    /// The client asked for a pool that is not there.
    UnknownPool,
    /// The client's session does not fit into the user name of a proxy.
    BadSession,
    /// No proxy is left to try.
    Exhausted,
    /// The client went away before the chain stood.
    ClientGone,
    /// We are out of something (file descriptors, ports) or shutting down.
    Local,
}

impl FailureKind {
    /// The name in logs and answers, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Auth => "auth",
            Self::Status => "status",
            Self::Protocol => "protocol",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Loop => "loop",
            Self::Denied => "denied",
            Self::UnknownPool => "unknown_pool",
            Self::BadSession => "bad_session",
            Self::Exhausted => "exhausted",
            Self::ClientGone => "client_gone",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client's: a bad request, or it went away.
    Client,
    /// Proven on this hop: it could not be reached, greeted or satisfied before the next name was told to it.
    Hop(HopIndex),
    /// The target's, or the last hop's: only the last hop speaks with the target, so from one attempt the two
    /// cannot be told apart. A success elsewhere, or agreement of others, settles it.
    Target,
    /// Ours.
    Local,
}

/// Whether trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same way may work at once (a kept connection had gone stale).
    Same,
    /// Another proxy may do better.
    Other,
    /// It would fail again, or must not be sent twice.
    Never,
}
