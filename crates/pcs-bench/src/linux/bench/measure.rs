//! The measures: what is done to a participant, and what that cost it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::peers::Peer;
use crate::linux::load::Outcome;
use crate::linux::load::relay::{Direction, relay};
use crate::linux::load::requests::Requests;
use crate::linux::load::tunnels::{Pace, Tunnels};
use crate::linux::socket::loopback;

/// After the last answer a proxy still has connections to close: that is its cost too.
const AFTERMATH: Duration = Duration::from_millis(30);

/// How much work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    single: usize,
    many: usize,
    requests: usize,
    relay_bytes: u64,
    /// How often a repeat does what is over in a moment: many short turns, each participant next to the others, tell
    /// a ratio better than few long ones on a machine that is busy now and then.
    rounds: usize,
    pub(crate) held: usize,
    pub(crate) starts: usize,
    pub(crate) warm_seconds: u64,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        single: 800,
        many: 3000,
        requests: 12_000,
        relay_bytes: 2 << 30,
        rounds: 5,
        held: 5000,
        starts: 7,
        warm_seconds: 12,
    };
    pub(crate) const QUICK: Self = Self {
        single: 400,
        many: 1200,
        requests: 5000,
        relay_bytes: 512 << 20,
        rounds: 3,
        held: 5000,
        starts: 3,
        warm_seconds: 6,
    };

    /// How many tunnels at this concurrency.
    pub(crate) fn tunnels(&self, together: usize) -> usize {
        if together == 1 { self.single } else { self.many }
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Short tunnels, so many at once.
    Tunnels(usize),
    /// Plain requests on 32 kept connections.
    Requests,
    /// Bulk through so many tunnels.
    Relay(usize, Direction),
}

impl Measure {
    pub(crate) const ALL: [Self; 8] = [
        Self::Tunnels(1),
        Self::Tunnels(32),
        Self::Tunnels(256),
        Self::Requests,
        Self::Relay(1, Direction::Pull),
        Self::Relay(1, Direction::Push),
        Self::Relay(8, Direction::Pull),
        Self::Relay(8, Direction::Push),
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Tunnels(together) => format!("tunnels_{together}"),
            Self::Requests => "requests_32".to_owned(),
            Self::Relay(tunnels, Direction::Pull) => format!("pull_{tunnels}"),
            Self::Relay(tunnels, Direction::Push) => format!("push_{tunnels}"),
        }
    }

    /// How often one repeat does it.
    pub(crate) fn rounds(self, scale: &Scale) -> usize {
        match self {
            // What is held against two peers within a few percent.
            Self::Tunnels(32) => scale.rounds * 3,
            Self::Tunnels(_) | Self::Requests => scale.rounds,
            Self::Relay(..) => 1,
        }
    }

    /// Does it to a participant.
    pub(crate) fn run(self, peer: &Peer, scale: &Scale) -> Result<Sample> {
        match self {
            Self::Tunnels(together) => {
                let job = tunnels(peer, together, scale.tunnels(together), false);
                cost(peer, || Ok(job.run()?.0))
            }
            Self::Requests => {
                let job = Requests {
                    address: loopback(peer.port),
                    credentials: peer.kind.credentials(),
                    together: 32,
                    total: scale.requests,
                };
                cost(peer, || job.run())
            }
            Self::Relay(count, direction) => {
                let (opened, held) = tunnels(peer, count, count, true).run()?;
                ensure!(
                    opened.failed == 0,
                    "{} tunnels for the bulk failed",
                    opened.failed
                );
                let before = peer.process.cpu();
                let took = relay(held, direction, scale.relay_bytes)?.as_secs_f64();
                std::thread::sleep(AFTERMATH);
                let cpu = peer.process.cpu().since(before) as f64 / 1e9;
                let gigabytes = scale.relay_bytes as f64 / 1e9;
                Ok(Sample {
                    cpu: cpu / gigabytes,
                    rate: gigabytes * 8.0 / took,
                    done: count,
                    ..Sample::default()
                })
            }
        }
    }
}

/// What one measure of one participant gave.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Sample {
    /// Microseconds for each operation; seconds for each gigabyte.
    pub(crate) cpu: f64,
    /// Operations per second; gigabits per second.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) done: usize,
    pub(crate) failed: usize,
}

/// Fills caches, grows heaps, opens kept connections.
pub(crate) fn warm_up(peer: &Peer, scale: &Scale) -> Result<()> {
    let (outcome, _) = tunnels(peer, 32, scale.many / 4, false).run()?;
    ensure!(
        outcome.failed == 0,
        "{} of its first tunnels failed",
        outcome.failed
    );
    Ok(())
}

pub(crate) fn tunnels(peer: &Peer, together: usize, total: usize, hold: bool) -> Tunnels {
    Tunnels {
        address: loopback(peer.port),
        connect: Some(peer.kind.credentials()),
        pace: Pace::Together(together),
        total,
        hold,
    }
}

fn cost(peer: &Peer, work: impl FnOnce() -> Result<Outcome>) -> Result<Sample> {
    let before = peer.process.cpu();
    let outcome = work()?;
    std::thread::sleep(AFTERMATH);
    let used = peer.process.cpu().since(before) as f64 / 1e3;
    ensure!(outcome.done > 0, "nothing succeeded");
    if outcome.failed > 0 {
        println!(
            "  {}: {} of {} failed",
            peer.kind.name(),
            outcome.failed,
            outcome.done + outcome.failed
        );
    }
    Ok(Sample {
        cpu: used / outcome.done as f64,
        rate: outcome.rate(),
        p50_us: outcome.p50_us,
        p99_us: outcome.p99_us,
        done: outcome.done,
        failed: outcome.failed,
    })
}
