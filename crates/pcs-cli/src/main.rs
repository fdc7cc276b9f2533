//! The `pcs` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    match pcs_cli::parse() {
        Ok(cli) => pcs_cli::main(cli),
        Err(exit) => exit,
    }
}
