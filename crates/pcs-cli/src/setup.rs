//! From command line and environment to a configuration.

use std::fmt;

use pcs_config::{Errors, Loaded, Sources};

use crate::args::ConfigArgs;

/// A configuration that does not load: the process ends with status 2.
#[derive(Debug)]
pub(crate) struct ConfigProblem(Errors);

impl ConfigProblem {
    /// One line a mistake.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.as_slice().iter().map(ToString::to_string).collect()
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_slice().len();
        writeln!(
            f,
            "the configuration has {count} error{}:",
            if count == 1 { "" } else { "s" }
        )?;
        self.0.fmt(f)
    }
}

impl std::error::Error for ConfigProblem {}

/// Where the configuration comes from: the command line and a snapshot of the environment.
pub(crate) fn sources(args: &ConfigArgs) -> Sources {
    Sources {
        file: args.config.clone(),
        set: args.set.clone(),
        upstream: args.upstream.clone(),
        no_corporate: args.no_corporate,
        log_level: args.log_level.clone(),
        ..Sources::with_env(std::env::vars_os())
    }
}

/// Loads the configuration.
///
/// # Errors
///
/// [`ConfigProblem`] with every mistake.
pub(crate) fn load(args: &ConfigArgs) -> anyhow::Result<Loaded> {
    load_from(&sources(args))
}

/// Loads the configuration from these sources.
///
/// # Errors
///
/// [`ConfigProblem`] with every mistake.
pub(crate) fn load_from(sources: &Sources) -> anyhow::Result<Loaded> {
    Ok(pcs_config::load(sources).map_err(ConfigProblem)?)
}
