//! Health checks of ten thousand members: what they cost, whether each has its turn, and what traffic sees of them.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{CHECKED, Found, MIB, Setup, configuration};
use crate::linux::bench::start_hop;
use crate::linux::bench::targets::Check;
use crate::linux::json::number;
use crate::linux::load::tunnels::{Pace, Tunnels};
use crate::linux::load::{Credentials, Outcome};
use crate::linux::pcs::{self, Pcs};
use crate::linux::process::Scripted;

const MEMBERS: usize = 10_000;
/// The default: within it each is checked once.
const INTERVAL: Duration = Duration::from_secs(60);
/// What checks that are under way may still take.
const SLACK: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(15);
/// Two hundred tunnels a second for ten seconds.
const PACE: Duration = Duration::from_millis(5);
const TUNNELS: usize = 2000;
/// Checks shall leave nearly all of one core of two to the traffic.
const MOST_CPU: f64 = 20.0;
/// What the checks may add to the latency of a tunnel, in milliseconds.
const MOST_ADDED_P50: f64 = 0.5;
const MOST_ADDED_P99: f64 = 5.0;

pub(super) fn measure(setup: &Setup) -> Result<Found> {
    let mut found = Found::default();
    let folder = setup.folder.join("checks");
    std::fs::create_dir_all(&folder)?;
    // One hop with a port for each member.
    let (mut hop, ports, _) = start_hop(MEMBERS, &[], &folder)?;
    let off = "health_check: {enabled: false}\n";
    let (quiet, still) = {
        let mut pcs = Pcs::start(
            &setup.pcs,
            &folder,
            &configuration(&folder, "max_connections: 2000", &ports, off),
        )?;
        let proxy = pcs.address("proxy")?;
        sleep(Duration::from_secs(1));
        (traffic(proxy)?, window(&pcs, &mut hop)?)
    };
    let asked_before = requests(&mut hop)?;
    let begun = Instant::now();
    let mut pcs = Pcs::start(
        &setup.pcs,
        &folder,
        &configuration(&folder, "max_connections: 2000", &ports, CHECKED),
    )?;
    let proxy = pcs.address("proxy")?;
    let admin = pcs.address("admin")?;
    found.row(
        "start with 10,000 members",
        format!("{:.0} ms", begun.elapsed().as_secs_f64() * 1e3),
    );
    found.figure("start_ms", number(begun.elapsed().as_secs_f64() * 1e3, 1));
    sleep(Duration::from_secs(2));
    let first = window(&pcs, &mut hop)?;
    let busy = traffic(proxy)?;
    sleep((INTERVAL + SLACK).saturating_sub(begun.elapsed()));
    let (checked, proven, healthy) = count(admin)?;
    let asked = requests(&mut hop)? - asked_before;
    let second = window(&pcs, &mut hop)?;
    tell_windows(
        &mut found,
        &[
            ("without checks", still),
            ("first round", first),
            ("second round", second),
        ],
    );
    found.row(
        format!("after {} s", (INTERVAL + SLACK).as_secs()),
        format!(
            "{checked} members checked, {proven} proven by traffic alone, {healthy} healthy, {asked} checks"
        ),
    );
    found.figure("checked", checked);
    found.figure("proven_by_traffic_alone", proven);
    found.figure("healthy", healthy);
    let resident = pcs.process.resident() as f64 / MIB;
    found.row("RSS", format!("{resident:.1} MiB"));
    found.figure("rss_mib", number(resident, 1));
    tell_traffic(&mut found, &quiet, &busy);
    found.check(Check::at_least(
        "members checked or proven by traffic within an interval",
        Some((checked + proven) as f64),
        MEMBERS as f64,
    ));
    found.check(Check::at_least(
        "members healthy after it",
        Some(healthy as f64),
        MEMBERS as f64,
    ));
    found.check(Check::at_most(
        "CPU of checking 10,000 members a minute, % of a core",
        Some(first.0.max(second.0)),
        MOST_CPU,
    ));
    Ok(found)
}

/// Percent of a core, and checks a second.
type Window = (f64, f64);

/// What goes on without traffic.
fn window(pcs: &Pcs, hop: &mut Scripted) -> Result<Window> {
    let (asked, cpu) = (requests(hop)?, pcs.process.cpu());
    sleep(WINDOW);
    let used = pcs.process.cpu().since(cpu) as f64;
    let asked = requests(hop)? - asked;
    let seconds = WINDOW.as_secs_f64();
    Ok((used / 1e7 / seconds, asked as f64 / seconds))
}

fn tell_windows(found: &mut Found, windows: &[(&str, Window)]) {
    for (name, (cpu, rate)) in windows {
        found.row(
            *name,
            format!("{cpu:.2} % of a core at {rate:.0} checks a second"),
        );
        found.figure(&format!("{name}, cpu percent"), number(*cpu, 3));
        found.figure(&format!("{name}, checks a second"), number(*rate, 1));
    }
}

fn tell_traffic(found: &mut Found, quiet: &Outcome, busy: &Outcome) {
    for (name, outcome) in [("without checks", quiet), ("with checks", busy)] {
        found.row(
            format!("200 tunnels a second {name}"),
            format!(
                "p50 {:.2} ms, p99 {:.2} ms, {} failed",
                outcome.p50_us / 1e3,
                outcome.p99_us / 1e3,
                outcome.failed
            ),
        );
        found.figure(&format!("{name}, p50 us"), number(outcome.p50_us, 1));
        found.figure(&format!("{name}, p99 us"), number(outcome.p99_us, 1));
    }
    let added = |with: f64, without: f64| Some((with - without) / 1e3);
    found.check(Check::at_most(
        "what checks add to a tunnel, p50, ms",
        added(busy.p50_us, quiet.p50_us),
        MOST_ADDED_P50,
    ));
    found.check(Check::at_most(
        "what checks add to a tunnel, p99, ms",
        added(busy.p99_us, quiet.p99_us),
        MOST_ADDED_P99,
    ));
    found.check(Check::at_most(
        "tunnels that failed meanwhile",
        Some((quiet.failed + busy.failed) as f64),
        0.0,
    ));
}

fn traffic(address: SocketAddr) -> Result<Outcome> {
    let job = Tunnels {
        address,
        connect: Some(Credentials::LeftToProxy),
        pace: Pace::Every(PACE),
        total: TUNNELS,
        hold: false,
    };
    Ok(job.run()?.0)
}

/// Plain requests that the hop has had: the checks.
fn requests(hop: &mut Scripted) -> Result<u64> {
    hop.say("stats")?;
    let line = hop.line()?;
    Ok(line.split(' ').nth(2).context("four counters")?.parse()?)
}

/// How many members were checked, how many needed none because traffic went well, and how many are healthy.
fn count(admin: SocketAddr) -> Result<(usize, usize, usize)> {
    let (_, answer) = pcs::call(admin, "GET", "/api/v1/proxies", None)?;
    let members = answer["proxies"].as_array().context("a list of proxies")?;
    let is_checked = |member: &Value| !member["health"]["last_check"].is_null();
    let is_proven = |member: &Value| member["stats"]["successful_requests"].as_u64() > Some(0);
    let count = |is: &dyn Fn(&Value) -> bool| members.iter().filter(|member| is(member)).count();
    Ok((
        count(&is_checked),
        count(&|member| !is_checked(member) && is_proven(member)),
        count(&|member| member["healthy"] == true),
    ))
}
