//! A million tunnels: what they leave behind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{CHECKED, Found, MIB, Setup, configuration};
use crate::linux::bench::start_hop;
use crate::linux::bench::targets::Check;
use crate::linux::json::number;
use crate::linux::load::Credentials;
use crate::linux::load::tunnels::{Pace, Tunnels};
use crate::linux::pcs::Pcs;

/// With these the memory to compare with is taken.
const FIRST: usize = 10_000;
const BATCH: usize = 50_000;
const TOGETHER: usize = 32;
/// After so long no further batch is begun.
const LONGEST: Duration = Duration::from_secs(900);
const REST: Duration = Duration::from_secs(3);
const MOST_GROWTH: f64 = 1.05;
/// An idle upstream of the checks, a log that was just opened anew.
const MORE_DESCRIPTORS: usize = 2;

pub(super) fn measure(setup: &Setup, tunnels: usize) -> Result<Found> {
    let mut found = Found::default();
    let folder = setup.folder.join("endurance");
    std::fs::create_dir_all(&folder)?;
    let (_hop, ports, _) = start_hop(1, &[], &folder)?;
    let text = configuration(&folder, "max_connections: 1000", &ports, CHECKED);
    let mut pcs = Pcs::start(&setup.pcs, &folder, &text)?;
    let address = pcs.address("proxy")?;
    let job = |total| Tunnels {
        address,
        connect: Some(Credentials::LeftToProxy),
        pace: Pace::Together(TOGETHER),
        total,
        hold: false,
    };
    let mut failed = job(200).run()?.0.failed;
    sleep(REST);
    let descriptors = pcs.process.descriptors();
    failed += job(FIRST).run()?.0.failed;
    sleep(REST);
    let resident = pcs.process.resident();
    found.row(format!("RSS after {FIRST} tunnels"), mib(resident));
    let (begun, cpu) = (Instant::now(), pcs.process.cpu());
    let mut done = 0;
    while done < tunnels && begun.elapsed() < LONGEST {
        let outcome = job(BATCH.min(tunnels - done)).run()?.0;
        failed += outcome.failed;
        done += outcome.done;
        if outcome.done == 0 {
            break;
        }
        if done.is_multiple_of(4 * BATCH) {
            println!(
                "  {done}: {:.0} a second, RSS {}",
                outcome.rate(),
                mib(pcs.process.resident())
            );
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let each = pcs.process.cpu().since(cpu) as f64 / 1e3 / done.max(1) as f64;
    sleep(REST);
    let (after, open) = (pcs.process.resident(), pcs.process.descriptors());
    let growth = after as f64 / resident.max(1) as f64;
    found.row(
        format!("{done} more"),
        format!(
            "{:.0} a second, {each:.1} µs CPU each, {failed} failed",
            done as f64 / seconds
        ),
    );
    found.row("RSS after them", format!("{}: {growth:.3} times", mib(after)));
    found.row(
        "descriptors at the start, after",
        format!("{descriptors}, {open}"),
    );
    found.figure("tunnels", done);
    found.figure("cpu_us", number(each, 2));
    found.figure("rss_before", resident);
    found.figure("rss_after", after);
    for (name, figure, limit) in [
        (
            "RSS after a million tunnels / after ten thousand",
            growth,
            MOST_GROWTH,
        ),
        (
            "descriptors more than at the start",
            open.saturating_sub(descriptors) as f64,
            MORE_DESCRIPTORS as f64,
        ),
        ("tunnels that failed", failed as f64, 0.0),
    ] {
        found.check(Check::at_most(name, Some(figure), limit));
    }
    found.check(Check::at_least("tunnels made", Some(done as f64), tunnels as f64));
    // Its log has a line for each of them.
    drop(pcs);
    std::fs::remove_dir_all(&folder)?;
    Ok(found)
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / MIB)
}
