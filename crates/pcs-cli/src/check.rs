//! `pcs check`.

use std::io::{self, Write};

use anyhow::Context;

use crate::args::ConfigArgs;
use crate::{Exit, complain, setup};

/// Prints the effective configuration as YAML on standard output, with secrets masked.
///
/// # Errors
///
/// Every problem of the configuration at once, or an output that is closed.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<Exit> {
    let loaded = setup::load(args)?;
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    io::stdout()
        .write_all(loaded.config.to_masked_yaml().as_bytes())
        .context("writing to standard output")?;
    Ok(Exit::Success)
}
