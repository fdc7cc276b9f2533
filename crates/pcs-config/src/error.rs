//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// In a file.
    File {
        /// The file, as it was asked for.
        path: Arc<str>,
        /// The line, from 1; 0 where the whole file is meant.
        line: u32,
        /// The column, from 1; 0 where the whole file is meant.
        column: u32,
    },
    /// In an environment variable of this name.
    Env(Arc<str>),
    /// In this command-line option (`--set`, `--upstream`, `--log-level`).
    Flag(&'static str),
    /// In the body of an API call.
    Body,
    /// Nowhere: it is a default, or follows from several values.
    Default,
}

impl Place {
    /// The line in the file, where there is one.
    #[must_use]
    pub const fn line(&self) -> Option<u32> {
        match self {
            Self::File { line, .. } if *line > 0 => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: 0, .. } => f.write_str(path),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Body => f.write_str("body"),
            Self::Default => f.write_str("configuration"),
        }
    }
}

/// What kind of mistake a [`ConfigError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is no YAML, the file cannot be read or is too large.
    Unreadable,
    /// A key that does not exist.
    UnknownKey,
    /// A key that must be there is not.
    Missing,
    /// A value that is not allowed.
    Value,
    /// A variable that is not set, or a malformed reference to one.
    Expansion,
    /// Values that do not fit together.
    Conflict,
}

/// One mistake. No secret is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// Where the value was written.
    pub place: Place,
    /// The key's path, as in `rotation.proxies[0].port`; empty for the whole file.
    pub key: String,
    /// What kind of mistake it is.
    pub kind: ErrorKind,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An unknown key's path is part of its message, in the words of the contract.
        if self.key.is_empty() || self.kind == ErrorKind::UnknownKey {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: {}: {}", self.place, self.key, self.message)
        }
    }
}

/// Every mistake of a configuration; never empty. Displays one a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Errors(Vec<ConfigError>);

impl Errors {
    /// The most mistakes that are kept; a file with more is no configuration.
    pub const MAX: usize = 100;

    pub(crate) fn one(error: ConfigError) -> Self {
        Self(vec![error])
    }

    /// The mistakes in the order of the file.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        if self.0.len() >= Self::MAX {
            f.write_str("\n(further errors are not shown)")?;
        }
        Ok(())
    }
}

/// Something that works and is worth saying once at start. No secret is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it comes from.
    pub place: Place,
    /// The key's path; empty for the whole file.
    pub key: String,
    /// What to know.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.message)
        } else {
            write!(f, "{}: {}: {}", self.place, self.key, self.message)
        }
    }
}

/// What is collected while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<Warning>,
    /// Files that belong to the configuration: a change of one is a change of it.
    pub(crate) files: Vec<PathBuf>,
}

impl Findings {
    pub(crate) fn error(&mut self, place: &Place, key: &str, kind: ErrorKind, message: impl Into<String>) {
        if self.errors.len() < Errors::MAX {
            let error = ConfigError {
                place: place.clone(),
                key: key.to_owned(),
                kind,
                message: message.into(),
            };
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
        }
    }

    pub(crate) fn push(&mut self, error: ConfigError) {
        self.error(&error.place, &error.key, error.kind, error.message);
    }

    pub(crate) fn warn(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        self.warnings.push(Warning {
            place: place.clone(),
            key: key.to_owned(),
            message: message.into(),
        });
    }

    pub(crate) const fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors, those of the file first and in its order.
    pub(crate) fn into_failure(mut self) -> Errors {
        self.errors.sort_by_key(|error| match &error.place {
            Place::File { line, column, .. } => (0, *line, *column),
            _ => (1, 0, 0),
        });
        Errors(self.errors)
    }

    /// `Ok` if nothing is wrong.
    pub(crate) fn verdict(self) -> Result<(Vec<Warning>, Vec<PathBuf>), Errors> {
        if self.is_clean() {
            Ok((self.warnings, self.files))
        } else {
            Err(self.into_failure())
        }
    }
}
