//! The pools over a scripted world (a fake dial, a paused clock, many clients), and over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "in tests a panic is the report, also in their helpers"
)]

mod blame;
mod changes;
mod exhausted;
mod forward;
mod hearsay;
mod load;
mod real;
mod retry;
mod routes;
mod sticky;
mod warm;
mod world;
