//! The rules of the house that a program can check and clippy does not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{metadata, shell};

/// The most lines a file may have, tests not counted.
const MAX_LINES: usize = 600;
/// What files aim at.
const AIM: usize = 350;
/// Files that may be longer, and why.
const LONG: &[(&str, &str)] = &[(
    "crates/pcs-config/src/keys.rs",
    "the one table of every key with its default and meaning: data, not code",
)];
/// Names that say nothing about what is inside.
const NAMELESS: &[&str] = &[
    "mod.rs",
    "utils.rs",
    "util.rs",
    "common.rs",
    "helpers.rs",
    "misc.rs",
    "types.rs",
];

/// Checks lengths, names, headers, manifests and links.
///
/// # Errors
///
/// All places that break a rule.
pub(crate) fn run() -> Result<()> {
    let root = shell::root();
    let mut problems = Vec::new();
    let mut over_aim = 0;
    let mut sources = Vec::new();
    for folder in ["crates", "xtask"] {
        walk(&root.join(folder), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path.to_path_buf());
            }
        })?;
    }
    for path in &sources {
        let text = fs::read_to_string(path)?;
        let name = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        problems.extend(source_problems(&name, &text));
        over_aim += usize::from(!is_test_file(&name) && length_without_tests(&text) > AIM);
    }
    for package in metadata::packages()? {
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!(
                "{}: its Cargo.toml does not take the lints of the workspace",
                package.name
            ));
        }
    }
    problems.extend(link_problems(&root)?);
    if problems.is_empty() {
        println!(
            "tidy: {} source files, {over_aim} longer than {AIM} lines",
            sources.len()
        );
        return Ok(());
    }
    bail!("tidy:\n  {}", problems.join("\n  "));
}

fn source_problems(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let file = name.rsplit('/').next().unwrap_or(name);
    if NAMELESS.contains(&file) {
        problems.push(format!("{name}: a file is named after what is in it"));
    }
    let lines = length_without_tests(text);
    let excused = LONG.iter().any(|(path, _)| *path == name);
    if lines > MAX_LINES && !excused && !is_test_file(name) {
        problems.push(format!("{name}: {lines} lines, {MAX_LINES} are the limit"));
    }
    if !text.starts_with("//!") && !is_test_file(name) {
        problems.push(format!("{name}: does not begin by saying what it is for (`//!`)"));
    }
    problems
}

/// Lines before the module of unit tests, which comes last.
fn length_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| matches!(pair, ["#[cfg(test)]", next] if next.starts_with("mod tests")));
    tests.unwrap_or(lines.len())
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || name.contains("/benches/") || name.ends_with("/tests.rs")
}

/// Relative links of documents that lead nowhere.
fn link_problems(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut documents: Vec<PathBuf> = fs::read_dir(root)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    for folder in ["docs", "deploy", "config"] {
        if root.join(folder).is_dir() {
            walk(&root.join(folder), &mut |path| documents.push(path.to_path_buf()))?;
        }
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    for document in documents {
        let text = fs::read_to_string(&document)?;
        let folder = document.parent().unwrap_or(root);
        for link in links(&text) {
            if !folder.join(&link).exists() {
                let name = document.strip_prefix(root).unwrap_or(&document).display();
                problems.push(format!("{name}: the link to {link} leads nowhere"));
            }
        }
    }
    Ok(problems)
}

/// The relative targets of Markdown links, without their anchors, code blocks left out.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let prose = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    });
    let targets = prose.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
    targets
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':') && !target.starts_with('<'))
        .map(str::to_owned)
        .collect()
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, visit)?;
        } else {
            visit(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_do_not_count() {
        assert_eq!(
            length_without_tests("//! a\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n"),
            2
        );
        assert_eq!(length_without_tests("//! a\n#[cfg(test)]\nfn b() {}\n"), 3);
    }

    #[test]
    fn broken_rules_are_named() {
        let long = format!("//! a\n{}", "fn b() {}\n".repeat(MAX_LINES));
        assert_eq!(source_problems("crates/a/src/b.rs", "//! a\n").len(), 0);
        assert_eq!(source_problems("crates/a/src/b.rs", &long).len(), 1);
        assert_eq!(source_problems("crates/a/tests/it/b.rs", &long).len(), 0);
        assert_eq!(source_problems("crates/a/src/utils.rs", "fn b() {}").len(), 2);
    }

    #[test]
    fn relative_links_are_found() {
        let text = "see [a](b.md#c), [d](https://e.test/), [f](#g)\n```\n[h](i.md)\n```\n[j](../k/)";
        assert_eq!(links(text), ["b.md", "../k/"]);
    }
}
