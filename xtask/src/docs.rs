//! Documents that are made from the code, and the check that they are as fresh as the code.
//!
//! A crate offers one by an example program `docs_NAME` whose output is the document; the table says where it goes.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, bail};

use crate::{metadata, shell};

/// Example program, and the file that holds what it prints.
const GENERATED: &[(&str, &str)] = &[
    ("docs_configuration", "docs/configuration.md"),
    ("docs_schema", "docs/config.schema.json"),
    ("docs_metrics", "docs/metrics.md"),
    ("docs_openapi", "docs/openapi.json"),
];

/// Regenerates every document.
///
/// # Errors
///
/// A generator does not run.
pub(crate) fn run() -> Result<()> {
    for (path, text) in generate()? {
        fs::write(path, text)?;
        println!("docs: wrote {path}");
    }
    Ok(())
}

/// Compares every document with what the code says now.
///
/// # Errors
///
/// The documents that are stale.
pub(crate) fn check() -> Result<()> {
    let stale: Vec<&str> = generate()?
        .into_iter()
        .filter(|(path, text)| fs::read_to_string(path).ok().as_deref() != Some(text))
        .map(|(path, _)| path)
        .collect();
    if stale.is_empty() {
        return Ok(());
    }
    bail!("stale, run `cargo xtask docs`: {}", stale.join(", "));
}

fn generate() -> Result<Vec<(&'static str, String)>> {
    let packages = metadata::packages()?;
    let mut documents = Vec::new();
    let mut known = BTreeSet::new();
    for (example, path) in GENERATED {
        known.insert(*example);
        let Some(package) = packages
            .iter()
            .find(|package| package.examples.iter().any(|name| name == example))
        else {
            continue;
        };
        let mut generator =
            shell::cargo(&["run", "--quiet", "--package", &package.name, "--example", example]);
        documents.push((*path, shell::read(&mut generator)?));
    }
    let examples = packages.iter().flat_map(|package| &package.examples);
    let homeless: Vec<&str> = examples
        .map(String::as_str)
        .filter(|name| name.starts_with("docs_") && !known.contains(name))
        .collect();
    if !homeless.is_empty() {
        bail!(
            "no place for the output of {} in xtask/src/docs.rs",
            homeless.join(", ")
        );
    }
    Ok(documents)
}
