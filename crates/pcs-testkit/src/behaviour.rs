//! The ways a proxy can go wrong, by name.

use std::time::Duration;

/// What a [`Proxy`](crate::Proxy) does instead of its work.
///
/// Changes take effect with the next accept or the next request, whichever the behaviour is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Behaviour {
    /// Works.
    Good,
    /// Nobody listens: connections are refused. The port stays reserved. Tunnels that are open stay open.
    Refuse,
    /// Accepts, then neither reads nor writes.
    HangAtAccept,
    /// Accepts, then resets the connection.
    ResetAtAccept,
    /// Accepts, then closes the connection.
    CloseAtAccept,
    /// Reads the request (head or SOCKS messages), then says nothing.
    HangAtRequest,
    /// Reads the request, then closes without a byte.
    CloseAtRequest,
    /// Reads the request, then resets.
    ResetAtRequest,
    /// Answers properly, one byte at a time with this pause between.
    Dribble(Duration),
    /// Works, this much later.
    Slow(Duration),
    /// Answers bytes that are no HTTP and no SOCKS.
    Garbage,
    /// Answers a head that does not end before 4 MiB.
    HugeHead,
    /// Answers every request with this status and a small body. SOCKS proxies answer reply 1.
    Status(u16),
    /// Answers this status for this `host:port` only (or a host alone), and works for others.
    StatusFor {
        /// `host:port`, or a host.
        target: String,
        /// The status.
        status: u16,
    },
    /// A SOCKS5 reply code (SOCKS4: 91 for any but 0). HTTP proxies answer 502.
    Reply(u8),
    /// Claims success, then resets before a byte is relayed.
    SuccessThenReset,
    /// Claims success, then closes before a byte is relayed.
    SuccessThenClose,
    /// Relays this many bytes from the target, then resets both sides.
    CutAfter(u64),
    /// Success and the first bytes of the target, written at once: for targets that speak first.
    Coalesce,
    /// Success with these bytes behind it in the same write, then relays.
    Surplus(Vec<u8>),
    /// These bytes in place of the success answer to CONNECT, then relays: 1xx first, odd fields, other 2xx.
    AnswerWith(Vec<u8>),
}

impl Behaviour {
    /// Whether the connection has to end with a reset.
    pub(crate) fn resets(&self) -> bool {
        matches!(
            self,
            Self::ResetAtAccept | Self::ResetAtRequest | Self::SuccessThenReset | Self::CutAfter(_)
        )
    }

    /// The status to refuse `target` with, if it is to be refused by status.
    pub(crate) fn status_for(&self, target: &str) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            Self::StatusFor { target: only, status } => {
                let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
                (only == target || only == host).then_some(*status)
            }
            Self::Reply(_) => Some(502),
            _ => None,
        }
    }
}
