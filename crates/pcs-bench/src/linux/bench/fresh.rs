//! What only a fresh process can tell: start-up, idle cost, memory before, with and after many tunnels.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::measure::tunnels;
use super::peers::{Kind, Peer};
use super::{Setup, median, start_hop};

const IDLE: Duration = Duration::from_secs(2);
/// Enough to see every path once, too little to grow a heap.
const FIRST: usize = 200;
/// A load that leaves the heap as it is in use.
const WARM: usize = 2000;

/// Figures of one participant.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fresh {
    pub(crate) start_ms: f64,
    /// Percent of one core, doing nothing.
    pub(crate) idle_cpu: f64,
    pub(crate) rss_idle: u64,
    pub(crate) rss_held: u64,
    pub(crate) rss_after: u64,
    pub(crate) held: usize,
    pub(crate) bytes_per_tunnel: f64,
    /// Percent of one core, with the tunnels open and silent.
    pub(crate) held_cpu: f64,
}

pub(crate) fn measure(kind: Kind, setup: &Setup) -> Result<Fresh> {
    let folder = setup
        .folder
        .join("fresh")
        .join(kind.name().replace([' ', ','], "-"));
    std::fs::create_dir_all(&folder)?;
    let (_hop, ports, _) = start_hop(1, &[], &folder)?;
    let hop = ports.first().copied().unwrap_or(0);
    let mut starts = Vec::new();
    for _ in 0..setup.scale.starts {
        starts.push(Peer::start(kind, setup, hop, &folder)?.start.as_secs_f64() * 1e3);
    }
    let peer = Peer::start(kind, setup, hop, &folder)?;
    std::thread::sleep(Duration::from_millis(500));
    let rss_idle = peer.process.resident();
    let idle_cpu = busy(&peer);
    let (first, _) = tunnels(&peer, 8, FIRST, false).run()?;
    ensure!(first.failed == 0, "{} of its first tunnels failed", first.failed);
    let (warm, _) = tunnels(&peer, 32, WARM, false).run()?;
    ensure!(warm.failed == 0, "{} of its first tunnels failed", warm.failed);
    std::thread::sleep(Duration::from_millis(300));
    let rss_warm = peer.process.resident();
    let (outcome, streams) = tunnels(&peer, 64, setup.scale.held, true).run()?;
    std::thread::sleep(Duration::from_millis(500));
    let rss_held = peer.process.resident();
    let held_cpu = busy(&peer);
    drop(streams);
    std::thread::sleep(Duration::from_secs(2));
    let rss_after = peer.process.resident();
    ensure!(outcome.done > 0, "it held no tunnel");
    Ok(Fresh {
        start_ms: median(starts).unwrap_or(f64::NAN),
        idle_cpu,
        rss_idle,
        rss_held,
        rss_after,
        held: outcome.done,
        bytes_per_tunnel: rss_held.saturating_sub(rss_warm) as f64 / outcome.done as f64,
        held_cpu,
    })
}

fn busy(peer: &Peer) -> f64 {
    let before = peer.process.cpu();
    std::thread::sleep(IDLE);
    peer.process.cpu().since(before) as f64 / 1e7 / IDLE.as_secs_f64()
}
