//! Whose fault it is: the table from where a dial stopped to a [`DialError`].

use std::io;

use pcs_models::{Blame, ChainSpec, FailureKind, Hop, HopIndex, HopName, Retry, Target};

use super::drive::DriveError;
use crate::wire::{HandshakeError, SocksReply};
use crate::{DialError, NetError};

/// `name (address)`, or the address alone where it is the name.
pub(super) fn title(hop: &Hop) -> String {
    let address = hop.endpoint.to_string();
    if hop.name.as_str() == address {
        address
    } else {
        format!("{} ({address})", hop.name)
    }
}

fn index(at: usize) -> HopIndex {
    HopIndex(u8::try_from(at).unwrap_or(u8::MAX))
}

/// A socket or TLS session that could not be had, with the hop at `at` or, in a direct dial, the target.
pub(super) fn unreachable(spec: &ChainSpec, at: usize, error: NetError) -> DialError {
    let kind = error.kind();
    let text = match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let (message, name, blame) = match spec.hops().get(at) {
        Some(hop) => (
            format!("{}: {text}", title(hop)),
            hop.name.clone(),
            Blame::Hop(index(at)),
        ),
        None => (text, HopName::target(), Blame::Target),
    };
    let failure = match kind {
        FailureKind::Local => DialError::new(kind, Blame::Local, Retry::Never, message),
        // A target that is ourselves is refused, a hop that is ourselves is a loop.
        FailureKind::Loop if spec.is_direct() => {
            DialError::new(FailureKind::Denied, Blame::Client, Retry::Never, message)
        }
        FailureKind::Loop => DialError::new(kind, blame, Retry::Never, message),
        _ => DialError::new(kind, blame, Retry::Other, message),
    };
    failure.at(name).because(error)
}

/// The hop at `at` was asked for the next place (`next`: the one behind it, none for the target) and did not do it.
/// `named` says whether it had been told the place when it failed.
pub(super) fn refused(
    spec: &ChainSpec,
    at: usize,
    target: &Target,
    named: bool,
    error: DriveError,
) -> DialError {
    let hops = spec.hops();
    let Some(hop) = hops.get(at) else {
        return DialError::new(
            FailureKind::Local,
            Blame::Local,
            Retry::Never,
            "a hop was asked that is not there",
        );
    };
    let next = hops.get(at.saturating_add(1));
    let place = next.map_or_else(|| target.to_string(), |next| next.endpoint.to_string());
    let own = (Blame::Hop(index(at)), hop.name.clone());
    // The place that was asked for: the hop behind, or the target, of which one attempt alone proves nothing.
    let beyond = match next {
        Some(next) => (Blame::Hop(index(at.saturating_add(1))), next.name.clone()),
        None => (Blame::Target, hop.name.clone()),
    };
    let (kind, status, (blame, name), text) = match &error {
        DriveError::Late => {
            let who = if named { beyond } else { own };
            (
                FailureKind::Timeout,
                None,
                who,
                format!("gave no answer for {place} in time"),
            )
        }
        DriveError::Ended | DriveError::Io(_) => {
            let who = if named && next.is_none() { beyond } else { own };
            let text = match &error {
                DriveError::Io(cause) => format!("broke the connection while asked for {place}: {cause}"),
                _ => format!("closed the connection while asked for {place}"),
            };
            (broken(&error), None, who, text)
        }
        DriveError::Handshake(refusal) => {
            let who = match refusal {
                HandshakeError::Status {
                    status: 502..=504, ..
                } => beyond,
                HandshakeError::Status { .. } if next.is_none() => beyond,
                HandshakeError::Reply(reply) if reply.names_next() && next.is_none() => {
                    (Blame::Target, HopName::target())
                }
                HandshakeError::Reply(SocksReply::V4(92 | 93)) => own,
                HandshakeError::Reply(SocksReply::V5(1 | 3..=6) | SocksReply::V4(91)) => beyond,
                HandshakeError::Reply(_) if next.is_none() => beyond,
                // The client asked for what this chain cannot do; a hop that cannot be named is no hop.
                HandshakeError::Ipv6OverSocks4 if next.is_none() => (Blame::Client, hop.name.clone()),
                HandshakeError::Ipv6OverSocks4 => beyond,
                _ => own,
            };
            let asked = if refusal.status().is_some_and(|status| status != 407)
                || matches!(refusal, HandshakeError::Reply(_))
            {
                format!("{refusal} to CONNECT {place}")
            } else {
                refusal.to_string()
            };
            (refusal.kind(), refusal.status(), who, asked)
        }
    };
    let retry = if blame == Blame::Client {
        Retry::Never
    } else {
        Retry::Other
    };
    let mut failure = DialError::new(kind, blame, retry, format!("{} {text}", title(hop))).at(name);
    if let Some(status) = status {
        failure = failure.with_status(status);
    }
    match error {
        DriveError::Handshake(cause) => failure.because(cause),
        DriveError::Io(cause) => failure.because(cause),
        DriveError::Ended | DriveError::Late => failure,
    }
}

fn broken(error: &DriveError) -> FailureKind {
    match error {
        DriveError::Io(cause) if cause.kind() == io::ErrorKind::TimedOut => FailureKind::Timeout,
        _ => FailureKind::Reset,
    }
}

#[cfg(test)]
mod tests;
