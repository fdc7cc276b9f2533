//! Files that are made from the code, and the check that they are as fresh as the code.
//!
//! A crate that makes some has an example program `generate`, which writes them below the folder that is its one
//! argument, under the names they have below the root of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{metadata, shell};

/// The name of the example programs.
const GENERATOR: &str = "generate";
/// Where such files lie.
const FOLDERS: &[&str] = &["config", "docs", "deploy"];

/// Writes every generated file anew.
///
/// # Errors
///
/// A generator does not run.
pub(crate) fn run() -> Result<()> {
    generate(&shell::root())?;
    println!("docs: written");
    Ok(())
}

/// Compares every generated file with what the code says now.
///
/// # Errors
///
/// The files that are stale.
pub(crate) fn check() -> Result<()> {
    let fresh = metadata::target_folder()?.join("generated");
    let _ = fs::remove_dir_all(&fresh);
    for folder in FOLDERS {
        fs::create_dir_all(fresh.join(folder))?;
    }
    generate(&fresh)?;
    let mut names = Vec::new();
    walk(&fresh, &mut names)?;
    let mut stale = Vec::new();
    for path in &names {
        let name = path.strip_prefix(&fresh)?;
        if fs::read(path)? != fs::read(shell::root().join(name)).unwrap_or_default() {
            stale.push(name.display().to_string());
        }
    }
    if stale.is_empty() {
        println!("docs: {} generated files are fresh", names.len());
        return Ok(());
    }
    bail!("stale, run `cargo xtask docs`: {}", stale.join(", "));
}

fn generate(root: &Path) -> Result<()> {
    let packages = metadata::packages()?;
    for package in packages
        .iter()
        .filter(|package| package.examples.iter().any(|name| name == GENERATOR))
    {
        let mut run = shell::cargo(&[
            "run",
            "--quiet",
            "--package",
            &package.name,
            "--example",
            GENERATOR,
            "--",
        ]);
        shell::run(run.arg(root))?;
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
