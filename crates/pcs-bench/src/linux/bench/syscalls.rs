//! System calls of one tunnel, counted by strace in a run of its own: it slows what it watches.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::measure::{tunnels, warm_up};
use super::peers::{Kind, Peer, find};
use super::{Setup, start_hop};
use crate::linux::load::relay::{Direction, relay};
use crate::linux::process::Process;

const ATTACH: Duration = Duration::from_millis(700);
const TUNNELS: usize = 500;
const BULK: u64 = 256 << 20;

/// Calls by name.
pub(crate) type Calls = BTreeMap<String, f64>;

/// What strace counted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    /// For each tunnel, one at a time.
    pub(crate) single: Calls,
    /// For each tunnel, 32 at once.
    pub(crate) many: Calls,
    /// Calls of `splice` while 256 MiB went through one tunnel.
    pub(crate) bulk_splices: f64,
}

pub(crate) fn total(calls: &Calls) -> f64 {
    calls.values().sum()
}

pub(crate) fn count(kind: Kind, setup: &Setup) -> Result<Counts> {
    let folder = setup
        .folder
        .join("strace")
        .join(kind.name().replace([' ', ','], "-"));
    fs::create_dir_all(&folder)?;
    let (_hop, ports, _) = start_hop(1, &[], &folder)?;
    let peer = Peer::start(kind, setup, ports.first().copied().unwrap_or(0), &folder)?;
    warm_up(&peer, &setup.scale)?;
    let mut counts = Counts::default();
    for (together, calls) in [(1, &mut counts.single), (32, &mut counts.many)] {
        *calls = watch(&peer, &folder, || {
            let (outcome, _) = tunnels(&peer, together, TUNNELS, false).run()?;
            ensure!(
                outcome.failed == 0,
                "{} tunnels failed under strace",
                outcome.failed
            );
            Ok(())
        })?;
        for number in calls.values_mut() {
            *number /= TUNNELS as f64;
        }
        // What happens now and then, such as a timer's tick, is no call of a tunnel.
        calls.retain(|_, number| *number >= 0.005);
    }
    let bulk = watch(&peer, &folder, || {
        let (_, held) = tunnels(&peer, 1, 1, true).run()?;
        relay(held, Direction::Pull, BULK).map(drop)
    })?;
    counts.bulk_splices = bulk.get("splice").copied().unwrap_or(0.0);
    Ok(counts)
}

/// The calls that a participant makes while something is done.
fn watch(peer: &Peer, folder: &Path, work: impl FnOnce() -> Result<()>) -> Result<Calls> {
    let report = folder.join("strace.txt");
    let mut command = Command::new(find("strace").context("strace is missing")?);
    command
        .args(["-c", "-f", "-p", &peer.process.id().to_string(), "-o"])
        .arg(&report);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut strace = Process::start("strace", &mut command, &folder.join("strace.err"))?;
    std::thread::sleep(ATTACH);
    work()?;
    std::thread::sleep(Duration::from_millis(200));
    strace.signal(Signal::INT)?;
    strace.ends_within(Duration::from_secs(10))?;
    Ok(parse(&fs::read_to_string(&report)?))
}

/// Reads the table of `strace -c`: % time, seconds, usecs/call, calls, perhaps errors, name.
fn parse(table: &str) -> Calls {
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words
            .last()
            .filter(|name| **name != "total" && words.len() >= 5)?;
        let calls = words.get(3)?.parse().ok()?;
        Some(((*name).to_owned(), calls))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     \x20100.00    0.000099           4        22           read\n\
                     \x20  0.00    0.000000           0         3         1 accept4\n\
                     100.00    0.000099           3        25         1 total\n";
        let calls = parse(table);
        assert_eq!(calls.len(), 2);
        assert!((total(&calls) - 25.0).abs() < f64::EPSILON);
    }
}
