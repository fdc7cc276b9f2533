//! The workspace as cargo sees it.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::shell;

/// A package of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The names of what it needs to run (not to build or to test).
    pub(crate) dependencies: Vec<String>,
    /// The names of its example programs.
    pub(crate) examples: Vec<String>,
}

/// Every package of the workspace.
///
/// # Errors
///
/// Cargo does not run, or says something unexpected.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let metadata = read()?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    packages
        .iter()
        .map(|package| parse(package).context("cargo metadata has another shape"))
        .collect()
}

/// Where cargo builds.
///
/// # Errors
///
/// Cargo does not run, or says something unexpected.
pub(crate) fn target_folder() -> Result<PathBuf> {
    Ok(read()?["target_directory"]
        .as_str()
        .context("cargo metadata names no target folder")?
        .into())
}

fn read() -> Result<Value> {
    let text = shell::read(&mut shell::cargo(&[
        "metadata",
        "--format-version=1",
        "--no-deps",
    ]))?;
    Ok(serde_json::from_str(&text)?)
}

fn parse(package: &Value) -> Option<Package> {
    let dependencies = package["dependencies"].as_array()?;
    let targets = package["targets"].as_array()?;
    let manifest = PathBuf::from(package["manifest_path"].as_str()?);
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        folder: manifest.parent()?.to_path_buf(),
        dependencies: dependencies
            .iter()
            // Normal dependencies have no kind.
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .map(str::to_owned)
            .collect(),
        examples: targets
            .iter()
            .filter(|target| target["kind"][0] == "example")
            .filter_map(|target| target["name"].as_str())
            .map(str::to_owned)
            .collect(),
    })
}
