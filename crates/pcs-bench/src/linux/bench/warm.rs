//! Two hops that wait 20 ms each at accept and at CONNECT, under steady demand, with chains kept warm and without.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::peers::pcs_configuration;
use super::{Setup, start_hop};
use crate::linux::load::Credentials;
use crate::linux::load::tunnels::{Pace, Tunnels};
use crate::linux::pcs::Pcs;

const WAIT_MS: u64 = 20;
/// A hundred tunnels a second.
const INTERVAL: Duration = Duration::from_millis(10);
/// Demand is steady from here on.
const LEAD: usize = 300;

/// What clients saw.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Warm {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    /// Connections that the hop accepted for each tunnel.
    pub(crate) dialled: f64,
}

pub(crate) fn measure(setup: &Setup) -> Result<Vec<(&'static str, Warm)>> {
    let mut found = Vec::new();
    for (name, setting) in [("cold", "0"), ("auto", "auto"), ("16", "16")] {
        let more = format!("tunnel: {{warm_connections: {setting}}}\n");
        found.push((name, one(setup, &setup.folder.join("warm").join(name), &more)?));
    }
    Ok(found)
}

fn one(setup: &Setup, folder: &Path, more: &str) -> Result<Warm> {
    std::fs::create_dir_all(folder)?;
    let (mut hop, ports, _) = start_hop(1, WAIT_MS, folder)?;
    let port = ports.first().copied().context("one port was asked for")?;
    let log = folder.join("pcs.log");
    let configuration = pcs_configuration(0, Some(port), port, more)
        .replace("file: pcs.log", &format!("file: {}", log.display()));
    let mut pcs = Pcs::start(&setup.pcs, folder, &configuration)?;
    let address = pcs.address("proxy")?;
    let job = |total| Tunnels {
        address,
        connect: Some(Credentials::LeftToProxy),
        pace: Pace::Every(INTERVAL),
        total,
        hold: false,
    };
    job(LEAD).run()?;
    let before = accepted(&mut hop)?;
    let total = usize::try_from(setup.scale.warm_seconds * 1000 / 10)?;
    let (outcome, _) = job(total).run()?;
    let dialled = accepted(&mut hop)?.saturating_sub(before);
    // No latency of nothing: 0 would pass for the best of all.
    ensure!(outcome.done > 0, "none of {total} tunnels succeeded");
    Ok(Warm {
        p50_ms: outcome.p50_us / 1e3,
        p99_ms: outcome.p99_us / 1e3,
        done: outcome.done,
        failed: outcome.failed,
        dialled: dialled as f64 / outcome.done.max(1) as f64,
    })
}

fn accepted(hop: &mut crate::linux::process::Scripted) -> Result<u64> {
    hop.say("stats")?;
    let line = hop.line()?;
    Ok(line.split(' ').next().context("counters")?.parse()?)
}
