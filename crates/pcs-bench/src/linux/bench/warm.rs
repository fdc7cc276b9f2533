//! Two hops that are slow to reach, under steady demand, with chains kept warm and without.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::peers::pcs_configuration;
use super::{Setup, start_hop};
use crate::linux::load::Credentials;
use crate::linux::load::tunnels::{Pace, Tunnels};
use crate::linux::pcs::{self, Pcs};

/// A hundred tunnels a second.
const INTERVAL: Duration = Duration::from_millis(10);
/// Demand is steady from here on.
const LEAD: usize = 300;
/// From us to the far hops, and the same back.
const WAY_MS: u64 = 50;
/// One round trip to the hops of [`Far::HundredAway`], in milliseconds.
pub(crate) const ROUND_TRIP_MS: f64 = 2.0 * WAY_MS as f64;

/// How the hops are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Far {
    /// Each waits 20 ms at accept and 20 ms at CONNECT.
    TwentyEach,
    /// The way takes 50 ms there and 50 ms back: connection, CONNECT to the second hop and CONNECT to the target are
    /// a round trip of 100 ms each.
    HundredAway,
}

impl Far {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TwentyEach => "hops wait 20 + 20 ms",
            Self::HundredAway => "50 ms each way: a round trip is 100 ms",
        }
    }

    fn option(self) -> [String; 2] {
        match self {
            Self::TwentyEach => ["--wait".to_owned(), "20".to_owned()],
            Self::HundredAway => ["--way".to_owned(), WAY_MS.to_string()],
        }
    }
}

/// What clients saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Warm {
    pub(crate) far: Far,
    pub(crate) setting: &'static str,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    /// Connections that the hop accepted for each tunnel.
    pub(crate) dialled: f64,
    /// Tunnels that a warm chain served, and chains that were dead when they were needed, by PCS's own metrics.
    pub(crate) used: f64,
    pub(crate) stale: f64,
}

pub(crate) fn measure(setup: &Setup) -> Result<Vec<Warm>> {
    let mut found = Vec::new();
    for far in [Far::TwentyEach, Far::HundredAway] {
        for setting in ["0", "auto", "16"] {
            if (far, setting) == (Far::HundredAway, "16") {
                // Too few for a hundred a second that take 200 ms to build: no question worth an answer.
                continue;
            }
            let folder = setup.folder.join("warm").join(format!("{far:?}-{setting}"));
            found.push(one(setup, &folder, far, setting)?);
        }
    }
    Ok(found)
}

fn one(setup: &Setup, folder: &Path, far: Far, setting: &'static str) -> Result<Warm> {
    std::fs::create_dir_all(folder)?;
    let [slow, how] = far.option();
    let (mut hop, ports, _) = start_hop(1, &[&slow, &how], folder)?;
    let port = ports.first().copied().context("one port was asked for")?;
    let log = folder.join("pcs.log");
    let more = format!("tunnel: {{warm_connections: {setting}}}\n");
    let configuration = pcs_configuration(0, Some(port), port, &more)
        .replace("file: pcs.log", &format!("file: {}", log.display()));
    let mut pcs = Pcs::start(&setup.pcs, folder, &configuration)?;
    let address = pcs.address("proxy")?;
    let metrics = pcs.address("metrics")?;
    let job = |total| Tunnels {
        address,
        connect: Some(Credentials::LeftToProxy),
        pace: Pace::Every(INTERVAL),
        total,
        hold: false,
    };
    job(LEAD).run()?;
    let before = (accepted(&mut hop)?, pcs::get(metrics, "GET", "/metrics", None)?);
    let total = usize::try_from(setup.scale.warm_seconds * 1000 / 10)?;
    let (outcome, _) = job(total).run()?;
    let after = (accepted(&mut hop)?, pcs::get(metrics, "GET", "/metrics", None)?);
    let dialled = after.0.saturating_sub(before.0);
    let counted = |result| {
        let series = format!("proxy_chain_warm_chains_total{{result=\"{result}\"}}");
        pcs::metric(&after.1, &series) - pcs::metric(&before.1, &series)
    };
    // No latency of nothing: 0 would pass for the best of all.
    ensure!(outcome.done > 0, "none of {total} tunnels succeeded");
    Ok(Warm {
        far,
        setting,
        p50_ms: outcome.p50_us / 1e3,
        p99_ms: outcome.p99_us / 1e3,
        done: outcome.done,
        failed: outcome.failed,
        dialled: dialled as f64 / outcome.done.max(1) as f64,
        used: counted("hit"),
        stale: counted("stale"),
    })
}

fn accepted(hop: &mut crate::linux::process::Scripted) -> Result<u64> {
    hop.say("stats")?;
    let line = hop.line()?;
    Ok(line.split(' ').next().context("counters")?.parse()?)
}
