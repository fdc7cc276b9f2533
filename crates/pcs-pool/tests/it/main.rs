//! The pools over a scripted world: a fake dial, a paused clock, many clients.

#![expect(
    clippy::unwrap_used,
    reason = "in tests a panic is the report, also in their helpers"
)]

mod blame;
mod changes;
mod exhausted;
mod forward;
mod load;
mod retry;
mod routes;
mod sticky;
mod warm;
mod world;
