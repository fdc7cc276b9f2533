//! Automation of the workspace: `cargo xtask <verb>`. CI calls the same verbs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command-line tool for people: it prints, reads the environment and tells the time"
)]

mod bench;
mod ci;
mod docs;
mod fuzz;
mod layers;
mod metadata;
mod packages;
mod report;
mod shell;
mod test;
mod tidy;
mod validators;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask VERB

  test [FILTER…]  install what the tests need (Debian, root), run every test, say what was skipped
                  --no-install: install nothing; --no-skips: a skipped test is a failed one
  ci              fmt, clippy, layers, tidy, docs, deny, fuzz, guard, then test: what CI runs
  layers          check the crates' dependencies against the layer table
  tidy            check file lengths, file names, links and generated files
  docs            regenerate what is generated under docs/
  bench           measure PCS and its peers in turn, on Linux; --quick in a few minutes
                  --scale: instead, what many members and many tunnels cost
  soak            --minutes N: load and chaos, then check the invariants, on Linux
  guard           count instructions under valgrind and compare with the baseline, on Linux; --write: take them as it
  packages        install the Debian packages that the tests need
  fuzz [TARGET…]  run the fuzz targets, or those named (nightly compiler, cargo-fuzz); --seconds N: each, default 60
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
        "bench" | "soak" | "guard" => bench::run(verb, rest),
        "packages" => packages::install(),
        "fuzz" => fuzz::run(rest),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("no verb `{other}`\n\n{USAGE}"),
    }
}
