//! `cargo xtask ci`: what has to hold before a commit is kept.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{bench, docs, fuzz, layers, packages, shell, test, tidy};

/// One check.
type Step = fn() -> Result<()>;

/// Runs every check, the tests last; a check that fails does not keep the others from running.
///
/// # Errors
///
/// At least one check failed.
pub(crate) fn run() -> Result<()> {
    let steps: [(&str, Step); 9] = [
        ("fmt", || {
            shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))
        }),
        ("layers", layers::run),
        ("tidy", tidy::run),
        ("clippy", clippy),
        ("doc", doc),
        ("docs", docs::check),
        ("deny", deny),
        ("fuzz", fuzz::smoke),
        ("guard", guard),
    ];
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        if let Err(error) = step() {
            println!("error: {error:#}");
            failed.push(name);
        }
    }
    println!("\n== test");
    let tested = test::run(&[]);
    if tested.is_err() {
        failed.push("test");
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn clippy() -> Result<()> {
    shell::run(&mut shell::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> Result<()> {
    let mut doc = shell::cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    shell::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// Instructions for each operation against the baseline. The margin is for another machine's libraries.
fn guard() -> Result<()> {
    packages::try_install();
    if !shell::works(Command::new("valgrind").arg("--version")) {
        println!("SKIPPED guard: there is no valgrind");
        return Ok(());
    }
    bench::run("guard", &["--tolerance".to_owned(), "15".to_owned()])
}

/// Licences, bans and sources always; advisories where their database can be had.
fn deny() -> Result<()> {
    test::need_cargo_tool("deny")?;
    shell::run(&mut shell::cargo(&[
        "deny",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    if !shell::works(&mut shell::cargo(&["deny", "fetch", "db"])) {
        println!("SKIPPED deny advisories: the advisory database cannot be fetched from here");
        return Ok(());
    }
    shell::run(&mut shell::cargo(&[
        "deny",
        "--all-features",
        "check",
        "--disable-fetch",
        "advisories",
    ]))
}
