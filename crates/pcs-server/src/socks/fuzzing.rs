//! What fuzz targets see of the reading of SOCKS5 messages.

use pcs_models::Target;

use super::message::{Greeting, LoginMessage, Parsed, RequestMessage};

/// A message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocksMessage {
    /// The methods it offers.
    Greeting,
    /// Its user name and password.
    Login,
    /// What it wants.
    Request,
}

/// What bytes are so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocksRead {
    /// The message is not complete.
    NeedMore,
    /// A greeting or a login.
    Message {
        /// Its bytes.
        length: usize,
    },
    /// A CONNECT.
    Connect {
        /// Where to.
        target: Target,
        /// Its bytes.
        length: usize,
    },
    /// Nothing that is served.
    Refused,
}

/// Reads the message at the front of `bytes`.
#[must_use]
pub fn read_socks(message: SocksMessage, bytes: &[u8]) -> SocksRead {
    match message {
        SocksMessage::Greeting => told(&Greeting::parse(bytes)),
        SocksMessage::Login => told(&LoginMessage::parse(bytes)),
        SocksMessage::Request => match RequestMessage::parse(bytes) {
            Parsed::Done(RequestMessage::Connect(target), length) => SocksRead::Connect { target, length },
            Parsed::Done(RequestMessage::Refused(_), _) => SocksRead::Refused,
            Parsed::NeedMore => SocksRead::NeedMore,
            Parsed::Malformed => SocksRead::Refused,
        },
    }
}

fn told<T>(parsed: &Parsed<T>) -> SocksRead {
    match parsed {
        Parsed::NeedMore => SocksRead::NeedMore,
        Parsed::Done(_, length) => SocksRead::Message { length: *length },
        Parsed::Malformed => SocksRead::Refused,
    }
}
