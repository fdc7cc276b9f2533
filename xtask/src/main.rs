//! Automation of the workspace: `cargo xtask <verb>`. CI calls the same verbs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command-line tool for people: it prints, reads the environment and tells the time"
)]

mod ci;
mod docs;
mod layers;
mod metadata;
mod packages;
mod report;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask VERB

  test [FILTER…]  install what the tests need (Debian, root), run every test, say what was skipped
                  --no-install: install nothing; --no-skips: a skipped test is a failed one
  ci              fmt, clippy, layers, tidy, docs, deny, then test: what CI runs
  layers          check the crates' dependencies against the layer table
  tidy            check file lengths, file names, links and generated files
  docs            regenerate what is generated under docs/
  packages        install the Debian packages that the tests need
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (verb, rest) = arguments
        .split_first()
        .map_or(("help", &[][..]), |(verb, rest)| (verb.as_str(), rest));
    std::env::set_current_dir(shell::root())?;
    match verb {
        "test" => test::run(rest),
        "ci" => ci::run(),
        "layers" => layers::run(),
        "tidy" => tidy::run(),
        "docs" => docs::run(),
        "packages" => packages::install(),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("no verb `{other}`\n\n{USAGE}"),
    }
}
