//! The `pcs` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    pcs_cli::main(pcs_cli::args::Cli::parse())
}
