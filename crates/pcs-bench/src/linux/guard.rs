//! `guard`: a regression guard that noise cannot fool: instructions for each operation, against a committed baseline.
//!
//! Wall clock and CPU time vary by a fifth on a shared machine; the number of instructions that our own code executes
//! for one tunnel does not. Callgrind counts them. Each scenario runs with few and with many operations, three times
//! each; the difference of the least counts takes start-up out, and most of what timers do meanwhile. Bulk is not among them: how many bytes a splice moves is a matter of timing, and its
//! count varied by half between two runs. The kernel's share is not seen: for that there are the system calls of `bench`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::bench::{pcs_configuration, start_hop};
use super::load::Credentials;
use super::load::requests::Requests;
use super::load::tunnels::{Pace, Tunnels};
use super::pcs;
use super::process::Process;
use super::socket::{free_port, loopback};

const BASELINE: &str = "crates/pcs-bench/baseline.json";
const FOLDER: &str = "target/bench/guard";
/// More than so many percent above the baseline fails; as much below it asks for a new one. `--tolerance` gives another.
const TOLERANCE: u32 = 5;
const FEW: usize = 50;
const MANY: usize = 450;
/// Runs of each, of which the least counts.
const RUNS: usize = 3;
/// Valgrind takes its time.
const START: Duration = Duration::from_secs(60);

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Scenario {
    Tunnel,
    TwoHops,
    Request,
}

impl Scenario {
    const ALL: [(&'static str, Self); 3] = [
        ("tunnel", Self::Tunnel),
        ("tunnel_two_hops", Self::TwoHops),
        ("plain_request", Self::Request),
    ];

    fn run(self, port: u16, count: usize) -> Result<()> {
        let (address, credentials) = (loopback(port), Credentials::LeftToProxy);
        // One at a time: how many share a wake-up must not depend on the machine.
        let tunnels = |total| Tunnels {
            address,
            connect: Some(credentials),
            pace: Pace::Together(1),
            total,
            hold: false,
        };
        let failed = match self {
            Self::Tunnel | Self::TwoHops => tunnels(count).run()?.0.failed,
            Self::Request => {
                Requests {
                    address,
                    credentials,
                    together: 1,
                    total: count,
                }
                .run()?
                .failed
            }
        };
        ensure!(failed == 0, "{failed} of {count} operations failed");
        Ok(())
    }
}

/// Instructions by scenario, and by which compiler.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    compiler: String,
    instructions: BTreeMap<String, u64>,
}

/// Counts and compares; `--write` takes what was counted as the new baseline. False if something became dearer.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let binary = fs::canonicalize(pcs::binary(arguments)?)?;
    let folder = std::env::current_dir()?.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let mut counted = Baseline {
        compiler: compiler()?,
        instructions: BTreeMap::new(),
    };
    for (name, scenario) in Scenario::ALL {
        let least = |operations| least(&binary, scenario, operations, &folder.join(name));
        let few = least(FEW).with_context(|| name)?;
        let many = least(MANY).with_context(|| name)?;
        let each = many.saturating_sub(few) / (MANY - FEW) as u64;
        counted.instructions.insert(name.to_owned(), each);
    }
    if arguments.iter().any(|argument| argument == "--write") {
        fs::write(BASELINE, format!("{}\n", serde_json::to_string_pretty(&counted)?))?;
        println!("written to {BASELINE}");
    }
    let baseline: Baseline = serde_json::from_str(&fs::read_to_string(BASELINE).context(BASELINE)?)?;
    Ok(compare(&counted, &baseline, tolerance(arguments)?))
}

/// Prints the table; whether nothing became dearer. Counts of different compilers are only shown.
fn compare(counted: &Baseline, baseline: &Baseline, tolerance: u32) -> bool {
    let tolerance = f64::from(tolerance) / 100.0;
    let same = counted.compiler == baseline.compiler;
    if !same {
        println!(
            "SKIPPED comparing: the baseline is of {}, this is {}",
            baseline.compiler, counted.compiler
        );
    }
    let mut good = true;
    println!(
        "{:<18} {:>14} {:>14} {:>7}",
        "instructions", "counted", "baseline", "ratio"
    );
    for (name, instructions) in &counted.instructions {
        let before = baseline.instructions.get(name).copied().unwrap_or(0);
        let ratio = *instructions as f64 / before.max(1) as f64;
        let verdict = if ratio > 1.0 + tolerance {
            good = good && !same;
            "FAIL: dearer"
        } else if ratio < 1.0 - tolerance {
            "cheaper: take it as the new baseline by --write"
        } else {
            "pass"
        };
        println!("{name:<18} {instructions:>14} {before:>14} {ratio:>7.3}  {verdict}");
    }
    good
}

fn tolerance(arguments: &[String]) -> Result<u32> {
    let mut after = arguments
        .iter()
        .skip_while(|argument| *argument != "--tolerance")
        .skip(1);
    let wanted = after.next().map(|percent| percent.parse());
    wanted
        .unwrap_or(Ok(TOLERANCE))
        .context("--tolerance takes a percentage")
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("rustc does not run")?;
    let version = String::from_utf8(output.stdout)?;
    // Name and number: what follows is the build's.
    Ok(version.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

/// The least of some counts: what the clock brings about, more of it the slower the machine is, only ever adds.
fn least(binary: &Path, scenario: Scenario, operations: usize, folder: &Path) -> Result<u64> {
    let mut least = u64::MAX;
    for _ in 0..RUNS {
        least = least.min(count(binary, scenario, operations, folder)?);
    }
    Ok(least)
}

/// Instructions of a whole run with so many operations.
fn count(binary: &Path, scenario: Scenario, operations: usize, folder: &Path) -> Result<u64> {
    fs::create_dir_all(folder)?;
    let (_hop, ports, _) = start_hop(1, &[], folder)?;
    let hop = ports.first().copied().context("one port was asked for")?;
    let port = free_port()?;
    let corporate = matches!(scenario, Scenario::TwoHops).then_some(hop);
    // Nothing that comes and goes by the clock.
    let more = "circuit_breaker: {enabled: false}\n";
    let configuration = pcs_configuration(port, corporate, hop, more)
        .replace("health_check: {", "health_check: {enabled: false, ");
    fs::write(folder.join("config.yaml"), configuration)?;
    let out: PathBuf = folder.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()));
    command
        .arg(binary)
        .args(["run", "--config", "config.yaml"])
        .current_dir(folder);
    command
        .env_remove("RUST_LOG")
        .env_remove("PCS_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut valgrind = Process::start("valgrind", &mut command, &folder.join("stderr"))?;
    valgrind.serves_on(port, Credentials::LeftToProxy, START)?;
    let done = scenario.run(port, operations);
    if done.is_err() && !valgrind.runs() {
        println!("  pcs, or valgrind, ended: {:?}", valgrind.ends_within(START));
    }
    done?;
    valgrind.signal(Signal::TERM)?;
    let status = valgrind.ends_within(START)?;
    ensure!(status.success(), "pcs ended with {status} under valgrind");
    let profile = fs::read_to_string(&out)?;
    let total = profile
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .context("callgrind tells no total")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(compiler: &str, instructions: u64) -> Baseline {
        let instructions = BTreeMap::from([("tunnel".to_owned(), instructions)]);
        Baseline {
            compiler: compiler.to_owned(),
            instructions,
        }
    }

    #[test]
    fn only_what_became_dearer_by_the_same_compiler_fails() {
        let before = baseline("rustc 1", 1000);
        assert!(compare(&baseline("rustc 1", 1049), &before, 5));
        assert!(!compare(&baseline("rustc 1", 1051), &before, 5));
        assert!(compare(&baseline("rustc 1", 1051), &before, 15));
        assert!(compare(&baseline("rustc 2", 2000), &before, 5));
        assert!(compare(&baseline("rustc 1", 500), &before, 5));
    }
}
