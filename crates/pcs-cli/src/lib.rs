//! The composition root of the Proxy Chain Server: configuration in, a running server out.
//!
//! What for: [`main`] is the whole `pcs` command. Everything is wired here by hand: each crate below knows only its
//! own ports, and this one adapts them to one another.
//!
//! What not: no protocol, no selection, no parsing. A line of logic here that is not wiring, output for people or
//! process set-up belongs further down.

mod access;
mod admin;
mod app;
pub mod args;
mod check;
mod client;
mod control;
mod core;
mod demo;
mod desks;
mod front;
mod health;
mod healthcheck;
mod limits;
mod logging;
mod memory;
mod observe;
mod overlay;
mod probe;
mod reload;
mod service;
mod setup;
mod signals;
mod usage;
mod watch;
mod wiring;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::args::{Cli, Command};

pub use usage::parse;

/// The version that `pcs --version` tells.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked: status 0.
    Success,
    /// It ran and failed, or found something wrong: status 1.
    Failure,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
        }
    }
}

/// Runs the command that was parsed, and says how the process should exit: 0, 1, or 2 for arguments that cannot be
/// followed and a configuration that does not load.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let usage = error.is::<setup::ConfigProblem>() || error.is::<usage::Usage>();
            complain(&format!("pcs: {error:#}"));
            if usage {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        None => app::run(&cli.run),
        Some(Command::Run(args)) => app::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Probe(args)) => block_on(probe::run(args)),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Proxies(args)) => block_on(admin::proxies(args.action)),
        Some(Command::Stats(args)) => block_on(admin::stats(args)),
        Some(Command::Reload(args)) => block_on(admin::reload(args)),
        // 0 or 1 and nothing else: what runs containers gives 2 a meaning of its own.
        Some(Command::Healthcheck(args)) => block_on(healthcheck::run(args)).or_else(|error| {
            complain(&format!("pcs: {error:#}"));
            Ok(Exit::Failure)
        }),
        Some(Command::Completions { shell }) => {
            // Not straight to the output: the generator panics where that is closed.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pcs", &mut script);
            std::io::stdout()
                .write_all(&script)
                .context("writing to standard output")?;
            Ok(Exit::Success)
        }
    }
}

/// Runs one short command to its end.
fn block_on(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

/// A line for people, where logs are not (yet) there.
#[expect(
    clippy::print_stderr,
    reason = "the one place that talks to people without a log"
)]
fn complain(line: &str) {
    eprintln!("{line}");
}
