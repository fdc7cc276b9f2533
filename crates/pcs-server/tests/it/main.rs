//! The front door over real sockets, with a scripted [`pcs_tunnel::Connect`] behind it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    clippy::string_slice,
    reason = "tests fail by panicking, are clients themselves, and are tables"
)]

mod connect;
mod drain;
mod errors;
mod forward;
mod heads;
mod limits;
mod local;
mod login;
mod retry;
mod socks;
mod world;
