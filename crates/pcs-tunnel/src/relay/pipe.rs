//! Pipes for moving bytes between two sockets without copying them (`splice(2)`, Linux).
//!
//! Everything here is safe code: rustix owns the descriptors and wraps the calls.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(super) use linux::{Pipe, take, trim};

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{Pipe, take, trim};
