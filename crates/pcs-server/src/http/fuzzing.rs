//! What fuzz targets see of the reading of requests.

use std::net::SocketAddr;

use pcs_models::Target;
use pcs_tunnel::Form;
use pcs_tunnel::wire::http1::BodyLength;

use super::ask::{Ask, read};
use crate::Settings;
use crate::shared::Live;

/// What a request head comes to, where everybody is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A tunnel.
    Tunnel(Target),
    /// A request to be forwarded.
    Forward {
        /// Where to.
        target: Target,
        /// The head for the target itself.
        origin: Vec<u8>,
        /// The head for a proxy that wants no credentials.
        absolute: Vec<u8>,
        /// How the body ends.
        body: BodyLength,
    },
    /// A request to PCS itself.
    Local,
    /// A request that is not followed, and the status it is answered with.
    Refused {
        /// The status.
        status: u16,
    },
}

/// Reads and judges a complete head, its empty line included.
#[must_use]
pub fn asked(head: &[u8]) -> Asked {
    let live = Live {
        settings: Settings::default(),
        rate: None,
    };
    match read(head, &live, SocketAddr::from(([127, 0, 0, 1], 1))) {
        Ok(Ask::Connect(ask)) => Asked::Tunnel(ask.target),
        Ok(Ask::Forward(ask)) => Asked::Forward {
            origin: ask.head(&Form::Origin),
            absolute: ask.head(&Form::Absolute { authorization: None }),
            target: ask.target,
            body: ask.body,
        },
        Ok(Ask::Local(_) | Ask::Options(_)) => Asked::Local,
        Err(refusal) => Asked::Refused {
            status: refusal.answer.status,
        },
    }
}
