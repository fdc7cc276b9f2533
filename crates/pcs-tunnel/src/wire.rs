//! Protocols as bytes: no IO, no clock, no randomness of their own.
//!
//! A [`Handshake`] is our side of a talk with one hop: it is told what the hop sent and says what to send. Whoever
//! has a stream runs it; tests feed it bytes split anywhere.

mod answer;
mod auth;
mod basic;
mod connect;
mod error;
pub mod http1;
pub mod ntlm;
mod socks4;
mod socks5;

pub use auth::{Login, NtlmIdentity, Scheme};
pub use basic::basic;
pub use connect::{HttpConnect, HttpProbe};
pub use error::{AuthProblem, HandshakeError, Reason, Said, SocksReply};
pub use socks4::Socks4Connect;
pub use socks5::{Socks5Connect, Socks5Greeting};

/// Our side of one talk with a hop, without IO.
pub trait Handshake: Send {
    /// Takes what was received and writes what is to be sent to the end of `out`.
    ///
    /// Called first with nothing received. Bytes that are not reported as consumed are presented again, with more
    /// behind them. What lies behind the consumed bytes of [`Progress::Done`] belongs to whoever uses the stream next.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]: the hop refuses, or breaks its protocol. The talk is over then.
    fn advance(&mut self, received: &[u8], out: &mut Vec<u8>) -> Result<Progress, HandshakeError>;

    /// What the hop answered last, for people: a status line or a SOCKS reply, made printable.
    fn take_said(&mut self) -> Option<Said> {
        None
    }
}

/// How far a [`Handshake`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More has to come; the first `consumed` bytes are dealt with.
    NeedMore {
        /// Bytes that are not to be presented again.
        consumed: usize,
    },
    /// The talk is over and went well.
    Done {
        /// Bytes that were part of it.
        consumed: usize,
    },
}

#[cfg(test)]
mod tests;
