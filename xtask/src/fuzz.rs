//! `cargo xtask fuzz`: the targets under `fuzz/`, each for a while.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell;

/// Seconds per target where none are given.
const SECONDS: u32 = 60;
/// Seconds per target in `cargo xtask ci`: the plain tests of `pcs-fuzz` have run the same code already.
const SMOKE_SECONDS: u32 = 5;

/// Runs every target, or those named, for `--seconds N` each.
///
/// # Errors
///
/// A target found something (the input lies under `fuzz/artifacts`), or does not build.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut seconds = SECONDS;
    let mut wanted = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = arguments.next().context("--seconds needs a number")?;
                seconds = number.parse().context("--seconds needs a number")?;
            }
            option if option.starts_with("--") => bail!("no option `{option}`"),
            target => wanted.push(target.to_owned()),
        }
    }
    if let Some(missing) = missing() {
        println!("SKIPPED fuzz: {missing}");
        return Ok(());
    }
    let known = targets()?;
    if let Some(unknown) = wanted.iter().find(|target| !known.contains(target)) {
        bail!("no target `{unknown}` (there are {})", known.join(", "));
    }
    each(if wanted.is_empty() { &known } else { &wanted }, seconds)
}

/// Runs every target for some seconds. What this machine or a newer nightly cannot do is told and no failure: the plain
/// tests of `pcs-fuzz` run the same code.
///
/// # Errors
///
/// A target found something.
pub(crate) fn smoke() -> Result<()> {
    let skipped =
        |why: &str| println!("SKIPPED fuzz: {why}; the tests of pcs-fuzz run the targets without it");
    if let Some(missing) = missing() {
        skipped(missing);
        return Ok(());
    }
    if let Err(error) = shell::run(&mut nightly(&["fuzz", "build"])) {
        skipped(&format!("{error:#}"));
        return Ok(());
    }
    let mut found = Vec::new();
    for target in targets()? {
        let before = artifacts(&target);
        match one(&target, SMOKE_SECONDS) {
            Ok(()) => {}
            Err(error) if artifacts(&target) == before => skipped(&format!("{target}: {error:#}")),
            Err(_) => found.push(target),
        }
    }
    ensure!(
        found.is_empty(),
        "found something: {} (see fuzz/artifacts)",
        found.join(", ")
    );
    Ok(())
}

/// The inputs that a target was brought down by so far; that one was slow is no finding.
fn artifacts(target: &str) -> BTreeSet<OsString> {
    let folder = fs::read_dir(shell::root().join("fuzz/artifacts").join(target));
    let names = folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    names
        .filter(|name| !name.to_string_lossy().starts_with("slow-unit-"))
        .collect()
}

/// What is missing here, once it was installed if it may be.
fn missing() -> Option<&'static str> {
    let has_nightly = || shell::works(&mut nightly(&["--version"]));
    let has_fuzz = || shell::works(&mut nightly(&["fuzz", "--version"]));
    if !has_nightly() {
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        let _ = shell::run(&mut install);
    }
    if !has_nightly() {
        return Some("there is no nightly compiler");
    }
    if !has_fuzz() {
        let _ = shell::run(&mut shell::cargo(&["install", "--locked", "cargo-fuzz"]));
    }
    (!has_fuzz()).then_some("there is no cargo-fuzz")
}

/// The nightly cargo: rustup's `cargo`, which knows toolchains, not the one that runs us.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").args(arguments);
    // Flags for the house's compiler are not meant for this one.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO")
        .env_remove("RUSTC");
    command
}

/// The names of the targets.
fn targets() -> Result<Vec<String>> {
    let folder = shell::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.extend(name.map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn each(targets: &[String], seconds: u32) -> Result<()> {
    shell::run(&mut nightly(&["fuzz", "build"]))?;
    let mut found = Vec::new();
    for target in targets {
        if let Err(error) = one(target, seconds) {
            println!("error: {error:#}");
            found.push(target.as_str());
        }
    }
    if !found.is_empty() {
        bail!("found something: {} (see fuzz/artifacts)", found.join(", "));
    }
    println!("fuzz: {} targets, {seconds} s each", targets.len());
    Ok(())
}

/// New inputs go to the corpus, which is not committed; the seeds are only read.
fn one(target: &str, seconds: u32) -> Result<()> {
    let corpus = format!("fuzz/corpus/{target}");
    let seeds = format!("fuzz/seeds/{target}");
    fs::create_dir_all(Path::new(&corpus))?;
    shell::run(&mut nightly(&[
        "fuzz",
        "run",
        target,
        &corpus,
        &seeds,
        "--",
        &format!("-max_total_time={seconds}"),
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-verbosity=0",
        "-print_final_stats=1",
    ]))
}
