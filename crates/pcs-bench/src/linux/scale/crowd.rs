//! Nine thousand tunnels that do nothing, under a soft limit of descriptors that has to be raised for them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, getrlimit};

use super::{CHECKED, Found, MIB, Setup, configuration};
use crate::linux::bench::start_hop;
use crate::linux::bench::targets::Check;
use crate::linux::json::number;
use crate::linux::load::Credentials;
use crate::linux::load::tunnels::{Pace, Tunnels};
use crate::linux::pcs::Pcs;

const TUNNELS: usize = 9000;
/// The soft limit that shells give.
const SOFT: u64 = 1024;
/// What PCS keeps beside two sockets a connection.
const RESERVE: u64 = 64;
const WORD: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(3);
/// Descriptors that may be open more than before: a listener of the log, an idle upstream of the checks.
const MORE_DESCRIPTORS: usize = 4;

pub(super) fn measure(setup: &Setup) -> Result<Found> {
    let mut found = Found::default();
    let folder = setup.folder.join("crowd");
    fs::create_dir_all(&folder)?;
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 30);
    let needed = 2 * TUNNELS as u64 + RESERVE;
    ensure!(
        hard > needed,
        "the hard limit of descriptors is {hard}, and {needed} are needed"
    );
    let (_hop, ports, _) = start_hop(1, &[], &folder)?;
    let most = hard.saturating_sub(RESERVE) / 2;
    let start = |connections: u64| {
        let server = format!("max_connections: {connections}");
        let text = configuration(&folder, &server, &ports, CHECKED);
        Pcs::start_with_soft_limit(&setup.pcs, &folder, &text, SOFT)
    };
    let too_many = warning(&mut start(most + 1)?)?;
    found.row(
        format!("warning at max_connections: {}", most + 1),
        too_many.as_deref().unwrap_or("none"),
    );
    let mut pcs = start(most)?;
    let enough = warning(&mut pcs)?;
    found.row(
        format!("warning at max_connections: {most}"),
        enough.as_deref().unwrap_or("none"),
    );
    let soft = soft_limit(pcs.process.id())?;
    found.row(
        "soft limit of descriptors",
        format!("{SOFT} → {soft}, hard {hard}"),
    );
    found.figure("soft_limit", soft);
    found.check(Check::at_least(
        "soft limit of descriptors after the start",
        Some(soft as f64),
        hard as f64,
    ));
    let said = f64::from(u8::from(too_many.is_some() && enough.is_none()));
    found.check(Check::at_least(
        "warning where, and only where, connections do not fit",
        Some(said),
        1.0,
    ));
    hold(&mut pcs, &mut found)?;
    Ok(found)
}

fn hold(pcs: &mut Pcs, found: &mut Found) -> Result<()> {
    let address = pcs.address("proxy")?;
    let job = |total, hold| Tunnels {
        address,
        connect: Some(Credentials::LeftToProxy),
        pace: Pace::Together(64),
        total,
        hold,
    };
    job(2000, false).run()?;
    sleep(Duration::from_secs(1));
    let (descriptors, resident) = (pcs.process.descriptors(), pcs.process.resident());
    let (outcome, mut streams) = job(TUNNELS, true).run()?;
    sleep(Duration::from_secs(1));
    let held = pcs.process.resident();
    let cpu = pcs.process.cpu();
    sleep(IDLE);
    let cpu = pcs.process.cpu().since(cpu) as f64 / 1e7 / IDLE.as_secs_f64();
    let open = pcs.process.descriptors();
    let alive = streams.iter_mut().filter_map(|stream| echo(stream).ok()).count();
    let each = held.saturating_sub(resident) as f64 / outcome.done.max(1) as f64;
    found.row("tunnels held", format!("{} of {TUNNELS}", outcome.done));
    found.row("of these, carry 32 bytes and back afterwards", alive.to_string());
    found.row("descriptors with them", open.to_string());
    found.row(
        "RSS before, with them",
        format!("{:.1}, {:.1} MiB", resident as f64 / MIB, held as f64 / MIB),
    );
    found.row("resident bytes each", format!("{each:.0}"));
    found.row("CPU with them", format!("{cpu:.2} % of a core"));
    drop(streams);
    let begun = Instant::now();
    while pcs.process.descriptors() > descriptors && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50));
    }
    let after = pcs.process.descriptors();
    found.row("descriptors before, after", format!("{descriptors}, {after}"));
    for (name, value) in [("held", outcome.done), ("alive", alive), ("descriptors", open)] {
        found.figure(name, value);
    }
    found.figure("bytes_each", number(each, 0));
    found.figure("idle_cpu_percent", number(cpu, 3));
    found.check(Check::at_least(
        "idle tunnels held that still carry bytes",
        Some(alive as f64),
        TUNNELS as f64,
    ));
    found.check(Check::at_most(
        "descriptors more than before, once they are closed",
        Some(after.saturating_sub(descriptors) as f64),
        MORE_DESCRIPTORS as f64,
    ));
    Ok(())
}

fn echo(stream: &mut TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(WORD)?;
    let mut word = [0; WORD.len()];
    stream.read_exact(&mut word)?;
    ensure!(&word == WORD, "other bytes came back");
    Ok(())
}

/// What PCS says at its start about the limit.
fn warning(pcs: &mut Pcs) -> Result<Option<String>> {
    pcs.address("proxy")?;
    let event = pcs.events().find(|event| event["event"] == "open_files_limit");
    Ok(event.map(|event| {
        let text = event["message"].as_str().unwrap_or_default();
        format!("limit {}, wanted {}: {text}", event["limit"], event["wanted"])
    }))
}

/// The soft limit of open files of a process.
fn soft_limit(pid: u32) -> Result<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line
        .and_then(|line| line.split_whitespace().next())
        .context("a limit of open files")?;
    Ok(soft.parse()?)
}
