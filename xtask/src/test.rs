//! `cargo xtask test`: everything that can be tested here, and an honest closing line.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::report::Count;
use crate::{metadata, packages, shell, validators};

/// Where tests write why they could not run, one line each (`pcs_testkit::real`).
const SKIP_LOG: &str = "PCS_SKIP_LOG";

/// Installs, runs, reports.
///
/// # Errors
///
/// A test failed, a runner did not run, or (with `--no-skips`) something was skipped.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (flags, filters): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = flags
        .iter()
        .find(|flag| !["--no-install", "--no-skips"].contains(flag))
    {
        bail!("no option `{unknown}`");
    }
    let mut trouble = Vec::new();
    if !flags.contains(&"--no-install") {
        packages::try_install();
    }
    if !flags.contains(&"--no-install")
        && let Err(error) = validators::install()
    {
        println!("SKIPPED installing validators: {error:#}");
    }
    let target = metadata::target_folder()?;
    let skip_log = target.join("skipped-tests.txt");
    let _ = fs::remove_file(&skip_log);

    let (mut count, ran) = unit_and_integration(&filters, &target, &skip_log)?;
    if let Err(error) = ran {
        trouble.push(error);
    }
    if filters.is_empty() {
        let (doc, ran) = libtest(
            &["test", "--workspace", "--doc", "--no-fail-fast"],
            &[],
            &skip_log,
        )?;
        count += doc;
        if let Err(error) = ran {
            trouble.push(error);
        }
    }

    let skips: BTreeSet<String> = fs::read_to_string(&skip_log)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect();
    println!();
    for skip in &skips {
        println!("SKIPPED {skip}");
    }
    for error in &trouble {
        println!("FAILED {error:#}");
    }
    let count = count.with_skips(skips.len() as u64);
    println!("{count}");
    if !trouble.is_empty() || count.failed > 0 {
        bail!("tests failed");
    }
    if count.passed == 0 {
        bail!("no test ran");
    }
    if flags.contains(&"--no-skips") && count.skipped > 0 {
        bail!("tests were skipped");
    }
    Ok(())
}

/// All tests but those in documentation: by nextest where it is installed, else by cargo.
fn unit_and_integration(filters: &[&str], target: &Path, skip_log: &Path) -> Result<(Count, Result<()>)> {
    if !shell::works(&mut shell::cargo(&["nextest", "--version"])) {
        println!("cargo-nextest is not installed: cargo test does");
        let arguments = [
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
            "--no-fail-fast",
        ];
        return libtest(&arguments, filters, skip_log);
    }
    let report = target.join("nextest/ci/junit.xml");
    let _ = fs::remove_file(&report);
    let mut nextest = shell::cargo(&[
        "nextest",
        "run",
        "--workspace",
        "--profile",
        "ci",
        "--no-fail-fast",
    ]);
    nextest.args(filters).env(SKIP_LOG, skip_log);
    let ran = shell::run(&mut nextest);
    let text = fs::read_to_string(&report).unwrap_or_default();
    match Count::of_junit(&text) {
        Some(count) => Ok((count, ran)),
        None => Ok((
            Count::default(),
            ran.and(Err(anyhow::anyhow!("nextest left no report"))),
        )),
    }
}

/// Runs libtest through cargo, shows what it says and adds it up.
fn libtest(arguments: &[&str], filters: &[&str], skip_log: &Path) -> Result<(Count, Result<()>)> {
    let mut command = shell::cargo(arguments);
    command
        .args(filters)
        .env(SKIP_LOG, skip_log)
        .stdout(Stdio::piped());
    shell::show(&command);
    let mut child = command.spawn().context("cargo does not start")?;
    let stdout = child.stdout.take().context("cargo's output was asked for")?;
    let mut said = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait()?;
    let ran = if status.success() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("cargo {}: {status}", arguments.join(" ")))
    };
    Ok((Count::of_libtest(&said), ran))
}

/// Whether cargo has this subcommand; if not, installs the crate that brings it.
///
/// # Errors
///
/// It cannot be installed.
pub(crate) fn need_cargo_tool(tool: &str) -> Result<()> {
    if shell::works(&mut shell::cargo(&[tool, "--version"])) {
        return Ok(());
    }
    let mut install: Command = shell::cargo(&["install", "--locked", &format!("cargo-{tool}")]);
    shell::run(&mut install)
}
