//! `soak`: mixed load through two hops while they die, hang and lie, members come and go; then the invariants.

mod chaos;
mod client;
mod load;
mod verdict;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::option;
use super::pcs::{self, Pcs};
use super::process::Scripted;
use super::socket::free_port;
use chaos::{Chaos, Hops};
use load::{Load, Tally};
use verdict::Verdict;

const FOLDER: &str = "target/bench/soak";
/// Chaos that fills pools, tables and heaps before the memory to compare with is taken.
const WARM_UP_SHARE: f64 = 0.25;
const LONGEST_WARM_UP: f64 = 60.0;
/// Load with every hop well: not one failure.
const CALM: Duration = Duration::from_secs(6);
/// By then nothing is kept warm any more for a pool without traffic.
const COOLING: Duration = Duration::from_secs(60);
const RECOVERY: Duration = Duration::from_secs(30);

/// Runs the soak; false if an invariant does not hold.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let minutes: f64 = option(arguments, "--minutes").unwrap_or("2").parse()?;
    let seed: u64 = option(arguments, "--seed").unwrap_or("1").parse()?;
    ensure!(
        minutes > 0.0 && minutes < 100_000.0,
        "--minutes is a positive number"
    );
    let total = minutes * 60.0;
    let warm_up = (total * WARM_UP_SHARE).min(LONGEST_WARM_UP);
    let mut soak = Soak::start(arguments, seed)?;
    let verdict = soak.run(
        Duration::from_secs_f64(warm_up),
        Duration::from_secs_f64(total - warm_up),
    )?;
    Ok(verdict.print())
}

/// What runs, and where it is.
struct Soak {
    pcs: Pcs,
    hops: Hops,
    proxy: SocketAddr,
    admin: SocketAddr,
    metrics: SocketAddr,
    seed: u64,
}

impl Soak {
    fn start(arguments: &[String], seed: u64) -> Result<Self> {
        let binary = pcs::binary(arguments)?;
        let folder: PathBuf = std::env::current_dir()?.join(FOLDER);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let hops = Hops::start(&folder)?;
        let mut pcs = Pcs::start(&binary, &folder, &hops.configuration(0))?;
        let proxy = pcs.address("proxy")?;
        let admin = pcs.address("admin")?;
        let metrics = pcs.address("metrics")?;
        Ok(Self {
            pcs,
            hops,
            proxy,
            admin,
            metrics,
            seed,
        })
    }

    fn run(&mut self, warm_up: Duration, long: Duration) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        self.wait_until_well()?;
        let descriptors = self.pcs.process.descriptors();
        println!("== warm-up with chaos, {:.0} s", warm_up.as_secs_f64());
        let first = self.torment(warm_up, self.seed)?;
        self.rest()?;
        let resident = self.pcs.process.resident();
        println!("== chaos, {:.0} s", long.as_secs_f64());
        let tally = self.torment(long, self.seed.wrapping_mul(7919))?;
        self.rest()?;
        println!("== calm, {} s", CALM.as_secs());
        let calm = Load::start(self.proxy, self.seed + 1).stop_after(CALM);
        verdict.calm(&calm);
        verdict.chaos(&[&first, &tally]);
        verdict.sticky(self.proxy)?;
        self.rest()?;
        let counted = self.at_rest(&mut verdict)?;
        verdict.descriptors(descriptors, self.descriptors_settle(descriptors));
        verdict.resident(resident, self.pcs.process.resident());
        verdict.said(&self.pcs, counted);
        verdict.stops(&mut self.pcs);
        Ok(verdict)
    }

    /// Load and chaos together, then everything well again.
    fn torment(&mut self, time: Duration, seed: u64) -> Result<Tally> {
        let load = Load::start(self.proxy, seed);
        let mut chaos = Chaos::new(&mut self.hops, &self.pcs, self.admin, seed);
        let end = Instant::now() + time;
        let result = chaos.until(end);
        let repaired = chaos.repair();
        let tally = load.stop_after(Duration::ZERO);
        result.and(repaired)?;
        println!("  {tally}");
        ensure!(self.pcs.process.runs(), "pcs has died");
        self.wait_until_well()?;
        Ok(tally)
    }

    /// Every member healthy with its circuit closed.
    fn wait_until_well(&self) -> Result<()> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let (status, answer) = pcs::call(self.admin, "GET", "/api/v1/proxies", None)?;
            let members = answer["proxies"].as_array().cloned().unwrap_or_default();
            let well =
                |member: &serde_json::Value| member["healthy"] == true && member["circuit"] == "closed";
            if status == 200 && members.len() == chaos::MEMBERS && members.iter().all(well) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} s after the last hop came back not all members are well: {answer}",
                RECOVERY.as_secs()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Until idle connections and kept chains have aged out.
    fn rest(&self) -> Result<()> {
        std::thread::sleep(chaos::IDLE * 3);
        // Its answer is of no interest: a connection to the admin API as there was one at the start.
        pcs::call(self.admin, "GET", "/api/v1/stats", None).map(drop)
    }

    /// Descriptors once chains that were kept warm for the demand of a moment ago are given up.
    fn descriptors_settle(&self, goal: usize) -> usize {
        let deadline = Instant::now() + COOLING;
        loop {
            let now = self.pcs.process.descriptors();
            if now <= goal || Instant::now() >= deadline {
                return now;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What is told of a server at rest; how many requests it counted.
    fn at_rest(&self, verdict: &mut Verdict) -> Result<u64> {
        let (_, stats) = pcs::call(self.admin, "GET", "/api/v1/stats", None)?;
        let (_, members) = pcs::call(self.admin, "GET", "/api/v1/proxies", None)?;
        let of_members = members["proxies"].as_array().context("a list of proxies")?.iter();
        let of_members: u64 = of_members
            .filter_map(|member| member["active_connections"].as_u64())
            .sum();
        let page = pcs::get(self.metrics, "GET", "/metrics", None)?;
        let gauge = page
            .lines()
            .find_map(|line| line.strip_prefix("proxy_chain_active_connections "));
        verdict.in_flight(&json!({
            "stats": stats["active_connections"],
            "members": of_members,
            "metrics": gauge.and_then(|value| value.trim().parse::<f64>().ok()),
        }));
        verdict.shown(&[stats.to_string(), members.to_string(), page]);
        stats["total_requests"].as_u64().context("a number of requests")
    }
}

/// A scripted child with one port, which stays the same when it is started again.
pub(crate) fn start_child(
    program: &str,
    name: &str,
    port: u16,
    folder: &std::path::Path,
) -> Result<Scripted> {
    let arguments = [program, "--port", &port.to_string(), "--name", name].map(str::to_owned);
    let mut child = Scripted::start(name, &arguments, &folder.join(format!("{name}.err")))?;
    // Its port, and with that: it listens.
    child.line()?;
    Ok(child)
}

pub(crate) fn ports(count: usize) -> Result<Vec<u16>> {
    (0..count).map(|_| free_port()).collect()
}
