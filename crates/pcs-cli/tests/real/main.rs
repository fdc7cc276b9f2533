//! The `pcs` binary between real clients and real proxies, as a user runs it.
//!
//! Every test starts its own `pcs` on port 0 with its own peers, so they run in any order and at once. A test whose
//! peer is not installed says so loudly (`pcs_testkit::need!`) and is counted as skipped by `cargo xtask test`.

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a client of a test dials by itself, and a failed step ends the test"
)]

mod admin;
mod browser;
mod chain;
mod clients;
mod commands;
mod deploy;
mod errors;
mod events;
mod failure;
mod healing;
mod load;
mod manifests;
mod metrics;
mod moves;
mod namespace;
mod outage;
mod pcs;
mod programs;
mod protocols;
mod reload;
mod rotation;
mod secrets;
mod transfer;
mod usage;
