//! `bench`, `soak` and `guard`: release builds of the product and of what measures it, then the measuring.

use anyhow::Result;

use crate::{packages, shell};

/// Builds both binaries as they ship and runs a program of `pcs-bench`; its status is ours.
///
/// # Errors
///
/// A build fails, or something that must hold does not.
pub(crate) fn run(program: &str, arguments: &[String]) -> Result<()> {
    packages::install()?;
    shell::run(&mut shell::cargo(&[
        "build",
        "--release",
        "-p",
        "pcs-cli",
        "-p",
        "pcs-bench",
    ]))?;
    let mut measure = shell::cargo(&["run", "--release", "--quiet", "-p", "pcs-bench", "--", program]);
    shell::run(measure.args(arguments))
}
