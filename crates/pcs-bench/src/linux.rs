//! The programs, for Linux.

mod bench;
mod corporate;
mod guard;
mod hop;
mod json;
mod load;
mod pattern;
mod pcs;
mod poll;
mod process;
mod scale;
mod soak;
mod socket;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: pcs-bench PROGRAM

  bench [--quick] [--pin] [--pcs FILE] [--only NAME,…] [--repeats N] [--measures NAME,…]
                                                               compare with the peers
  bench --scale [--pcs FILE] [--picks FILE] [--parts NAME,…] [--tunnels N]
                                                               many members, many tunnels
  soak [--minutes N] [--pcs FILE] [--seed N]                   load and chaos, then the invariants
  guard [--write] [--pcs FILE]                                 instructions against the baseline
  hop, corporate                                               scripted proxies, started by the others
";

/// Runs one program; false means that it ran and something that must hold does not.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let (program, rest) = arguments
        .split_first()
        .map_or(("help", &[][..]), |(program, rest)| (program.as_str(), rest));
    process::raise_open_files()?;
    match program {
        "bench" if rest.iter().any(|argument| argument == "--scale") => scale::run(rest),
        "bench" => bench::run(rest),
        "soak" => soak::run(rest),
        "guard" => guard::run(rest),
        "hop" => hop::run(rest).map(|()| true),
        "corporate" => corporate::run(rest).map(|()| true),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => bail!("no program `{other}`\n\n{USAGE}"),
    }
}

/// The value of `--name VALUE` among arguments.
pub(crate) fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}
