//! Measures the shipped `pcs` against what a user would pick instead, and torments it.
//!
//! Three programs in one binary, each a process of its own so that nobody's CPU is counted as another's:
//!
//! - `bench`: starts peers and PCS, loads them in turn with the same work, compares medians, says pass or fail;
//!   `bench --scale` instead: many members, many tunnels;
//! - `soak`: mixed load through PCS while its hops are killed, stopped, slowed and made to lie, then the invariants;
//! - `guard`: instruction counts of fixed scenarios against a committed baseline;
//! - `hop` and `corporate`: the scripted proxies the others start as children.
//!
//! Deliberately not here: anything of the product. The load is a hand-written epoll loop, because a load generator
//! that costs as much as the proxy measures itself.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command-line tool for people: it prints, tells the time and opens sockets of its own"
)]

#[cfg(target_os = "linux")]
mod linux;

use std::process::ExitCode;

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(target_os = "linux")]
fn run(arguments: &[String]) -> anyhow::Result<bool> {
    linux::run(arguments)
}

#[cfg(not(target_os = "linux"))]
fn run(_: &[String]) -> anyhow::Result<bool> {
    anyhow::bail!("the benchmark reads /proc and polls by epoll: it runs on Linux only")
}
