//! `bench`, `soak` and `guard`: release builds of the product and of what measures it, then the measuring.

use std::fs;

use anyhow::Result;

use crate::{packages, shell};

/// What the pool's bench of picks printed.
const PICKS: &str = "target/bench/picks.txt";

/// Builds both binaries as they ship and runs a program of `pcs-bench`; its status is ours.
///
/// # Errors
///
/// A build fails, or something that must hold does not.
pub(crate) fn run(program: &str, arguments: &[String]) -> Result<()> {
    packages::try_install();
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "-p",
        "pcs-cli",
        "-p",
        "pcs-bench",
    ]))?;
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let mut arguments = arguments.to_vec();
    if has("--scale") && !has("--picks") && !has("--parts") {
        picks()?;
        arguments.extend(["--picks".to_owned(), PICKS.to_owned()]);
    }
    let mut measure = shell::cargo(&["run", "--release", "--quiet", "-p", "pcs-bench", "--", program]);
    shell::run(measure.args(arguments))
}

/// Runs the pool's bench of picks and keeps what it prints.
fn picks() -> Result<()> {
    let mut bench = shell::cargo(&[
        "bench",
        "-p",
        "pcs-pool",
        "--bench",
        "pick",
        "--",
        "--max-time",
        "1",
    ]);
    shell::show(&bench);
    let printed = shell::read(&mut bench)?;
    let file = shell::root().join(PICKS);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(file, printed)?)
}
