//! `bench`: peers and PCS in turn, the same work, medians of interleaved repeats.

mod fresh;
mod measure;
mod peers;
mod report;
mod syscalls;
pub(crate) mod targets;
mod warm;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::load::tunnels::{Pace, Tunnels};
use super::process::Scripted;
use super::socket::loopback;
use super::{option, pcs};
use fresh::Fresh;
use measure::{Measure, Sample, Scale};
pub(crate) use peers::pcs_configuration;
use peers::{Kind, Peer};
use syscalls::Counts;
use warm::{Far, Warm};

/// Where results and what the participants write go.
const FOLDER: &str = "target/bench";
/// After all are started, and after each load: what is still under way shall not be counted for the next.
const SETTLE: Duration = Duration::from_millis(400);

/// Requests without credentials, in the whole run, that still count as learning what a hop wants.
const MOST_REFUSED: u64 = 200;

/// Everything that one run found out.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) quick: bool,
    pub(crate) repeats: usize,
    pub(crate) taken: Vec<Taken>,
    /// Latencies without any proxy: how many at once, p50 and p99 in microseconds.
    pub(crate) direct: Vec<(usize, f64, f64)>,
    pub(crate) fresh: Vec<(Kind, Fresh)>,
    pub(crate) counts: Vec<(Kind, Counts)>,
    pub(crate) warm: Vec<Warm>,
}

/// One sample: whose, of what, and in which round. Within a round all participants follow each other closely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) kind: Kind,
    pub(crate) measure: Measure,
    pub(crate) round: usize,
    pub(crate) sample: Sample,
}

/// The middle of the ratios of all rounds, and between which half of them lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) middle: f64,
    pub(crate) half: (f64, f64),
}

impl Results {
    /// The samples of one participant in one measure.
    pub(crate) fn samples(&self, kind: Kind, measure: Measure) -> impl Iterator<Item = &Taken> {
        self.taken
            .iter()
            .filter(move |taken| taken.kind == kind && taken.measure == measure)
    }

    /// The median of one figure of one participant.
    pub(crate) fn median(&self, kind: Kind, measure: Measure, figure: fn(&Sample) -> f64) -> Option<f64> {
        median(
            self.samples(kind, measure)
                .map(|taken| figure(&taken.sample))
                .collect(),
        )
    }

    /// CPU of one participant against another's, round by round: what slows the machine down for longer than a
    /// round slows both down, and leaves their ratio as it is.
    pub(crate) fn ratio(&self, measure: Measure, of: Kind, to: Kind) -> Option<Ratio> {
        let pairs = self.samples(of, measure).filter_map(|ours| {
            let theirs = self
                .samples(to, measure)
                .find(|taken| taken.round == ours.round)?;
            Some(ours.sample.cpu / theirs.sample.cpu)
        });
        let ratios: Vec<f64> = pairs.collect();
        Some(Ratio {
            middle: median(ratios.clone())?,
            half: middle_half(ratios)?,
        })
    }

    pub(crate) fn fresh(&self, kind: Kind) -> Option<&Fresh> {
        self.fresh
            .iter()
            .find(|(of, _)| *of == kind)
            .map(|(_, fresh)| fresh)
    }

    /// What two slow hops cost with this setting of `tunnel.warm_connections`.
    pub(crate) fn warm(&self, far: Far, setting: &str) -> Option<&Warm> {
        self.warm
            .iter()
            .find(|warm| warm.far == far && warm.setting == setting)
    }

    pub(crate) fn counts(&self, kind: Kind) -> Option<&Counts> {
        self.counts
            .iter()
            .find(|(of, _)| *of == kind)
            .map(|(_, counts)| counts)
    }
}

/// The middle one; none of none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[middle - 1], upper))
}

/// Between which the middle half of the values lies.
fn middle_half(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((*values.get(last / 4)?, *values.get((last * 3).div_ceil(4))?))
}

/// Runs the comparison; false if PCS misses what it must reach.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = option(arguments, "--only");
    let wanted = |kind: Kind| only.is_none_or(|names| names.split(',').any(|name| name == kind.name()));
    let bench = Bench {
        setup: Setup {
            scale: if quick { Scale::QUICK } else { Scale::FULL },
            pcs: pcs::binary(arguments)?,
            folder: std::env::current_dir()?.join(FOLDER).join("run"),
            is_pinned: arguments.iter().any(|argument| argument == "--pin"),
        },
        repeats: option(arguments, "--repeats").unwrap_or("3").parse()?,
        kinds: Kind::ALL.into_iter().filter(|kind| wanted(*kind)).collect(),
        measures: option(arguments, "--measures").map(measures).transpose()?,
    };
    ensure!(bench.repeats > 0, "no repeats, no medians");
    if bench.setup.is_pinned {
        let mut first = CpuSet::new();
        first.set(0);
        sched_setaffinity(None, &first)?;
    }
    for kind in bench.kinds.iter().filter(|kind| !kind.is_there()) {
        println!("SKIPPED {}: it is not installed", kind.name());
    }
    let results = bench.measure(quick)?;
    report::print(&results);
    let checks = targets::check(&results);
    let good = targets::print(&checks);
    report::save(&results, &checks, &PathBuf::from(FOLDER))?;
    Ok(good)
}

/// What all measures need to know.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) scale: Scale,
    pub(crate) pcs: PathBuf,
    /// What participants write goes below it.
    pub(crate) folder: PathBuf,
    /// Participants on one core, load and hop on another: less noise, no wake-ups between cores.
    pub(crate) is_pinned: bool,
}

struct Bench {
    setup: Setup,
    repeats: usize,
    kinds: Vec<Kind>,
    /// These alone; none of the other stages.
    measures: Option<Vec<Measure>>,
}

/// The measures of these names.
fn measures(names: &str) -> Result<Vec<Measure>> {
    let named = |name: &str| {
        let found = Measure::ALL.into_iter().find(|measure| measure.name() == name);
        let known = || Measure::ALL.map(Measure::name).join(", ");
        found.with_context(|| format!("no measure `{name}` (there are {})", known()))
    };
    names.split(',').map(named).collect()
}

impl Bench {
    fn measure(&self, quick: bool) -> Result<Results> {
        let mut results = Results {
            quick,
            repeats: self.repeats,
            ..Results::default()
        };
        let kinds: Vec<Kind> = self
            .kinds
            .iter()
            .copied()
            .filter(|kind| kind.is_there())
            .collect();
        fs::create_dir_all(&self.setup.folder)?;
        let started = Instant::now();
        let stage = |name: &str| println!("== {name} (after {:.0} s)", started.elapsed().as_secs_f64());
        stage("load");
        self.load(&kinds, &mut results)?;
        if self.measures.is_some() {
            return Ok(results);
        }
        stage("memory, start, idle");
        for &kind in kinds.iter().filter(|kind| **kind != Kind::PcsTwoHops) {
            let measured = fresh::measure(kind, &self.setup);
            note(kind, measured, |fresh| results.fresh.push((kind, fresh)));
        }
        stage("system calls");
        for &kind in kinds.iter().filter(|_| peers::find("strace").is_some()) {
            let counted = syscalls::count(kind, &self.setup);
            note(kind, counted, |counts| results.counts.push((kind, counts)));
        }
        if kinds.contains(&Kind::Pcs) {
            stage("two hops that are slow to reach");
            let measured = warm::measure(&self.setup);
            note(Kind::PcsTwoHops, measured, |warm| results.warm = warm);
        }
        Ok(results)
    }

    /// All run at once, each on its own port before a port of its own at the hop; the load goes to one at a time.
    fn load(&self, kinds: &[Kind], results: &mut Results) -> Result<()> {
        let (mut hop, ports, origin) = start_hop(kinds.len(), &[], &self.setup.folder)?;
        let mut peers = Vec::new();
        for (&kind, &port) in kinds.iter().zip(&ports) {
            let folder = self.setup.folder.join(kind.name().replace([' ', ','], "-"));
            let started = Peer::start(kind, &self.setup, port, &folder);
            note(kind, started, |peer| peers.push(peer));
        }
        std::thread::sleep(SETTLE);
        for peer in &peers {
            let warm_up = measure::warm_up(peer, &self.setup.scale);
            note(peer.kind, warm_up, |()| ());
        }
        let mut order = Shuffle(0x2545_f491_4f6c_dd1d);
        for repeat in 0..self.repeats {
            println!("  repeat {} of {}", repeat + 1, self.repeats);
            for together in [1, 32] {
                results
                    .direct
                    .push(direct(origin, together, self.setup.scale.tunnels(together))?);
            }
            for &measure in self.measures.as_deref().unwrap_or(&Measure::ALL) {
                let rounds = measure.rounds(&self.setup.scale);
                for round in repeat * rounds..(repeat + 1) * rounds {
                    order.shuffle(&mut peers);
                    for peer in &peers {
                        let sample = measure.run(peer, &self.setup.scale);
                        note(peer.kind, sample, |sample| {
                            results.taken.push(Taken {
                                kind: peer.kind,
                                measure,
                                round,
                                sample,
                            });
                        });
                    }
                }
            }
        }
        hop.say("stats")?;
        let refused: u64 = hop.line()?.split(' ').nth(3).context("four counters")?.parse()?;
        // `auth: auto` asks the corporate hop once without; more would mean that somebody forgets what it learnt.
        ensure!(
            refused < MOST_REFUSED,
            "{refused} requests came to the hop without credentials"
        );
        Ok(())
    }
}

/// One that fails is told and left out.
fn note<T>(kind: Kind, measured: Result<T>, keep: impl FnOnce(T)) {
    match measured {
        Ok(figures) => keep(figures),
        Err(error) => println!("  {} failed: {error:#}", kind.name()),
    }
}

/// A hop with so many ports and perhaps more options; the process, its ports and that of the origin alone.
pub(crate) fn start_hop(
    ports: usize,
    more: &[&str],
    folder: &std::path::Path,
) -> Result<(Scripted, Vec<u16>, u16)> {
    let arguments: Vec<String> = ["hop", "--ports", &ports.to_string()]
        .iter()
        .chain(more)
        .map(|argument| (*argument).to_owned())
        .collect();
    let mut hop = Scripted::start("hop", &arguments, &folder.join("hop.err"))?;
    let ports = hop
        .line()?
        .split(' ')
        .map(str::parse)
        .collect::<Result<Vec<u16>, _>>()?;
    let origin = hop.line()?.parse()?;
    Ok((hop, ports, origin))
}

fn direct(origin: u16, together: usize, total: usize) -> Result<(usize, f64, f64)> {
    let job = Tunnels {
        address: loopback(origin),
        connect: None,
        pace: Pace::Together(together),
        total,
        hold: false,
    };
    let (outcome, _) = job.run()?;
    ensure!(
        outcome.failed == 0,
        "{} direct connections failed",
        outcome.failed
    );
    Ok((together, outcome.p50_us, outcome.p99_us))
}

/// Puts things in another order each time, the same in each run.
struct Shuffle(u64);

impl Shuffle {
    fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let other = usize::try_from(self.0 % (last as u64 + 1)).unwrap_or(0);
            things.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, f64::NAN, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut results = Results::default();
        for (round, ours, theirs) in [(0, 1.0, 2.0), (1, 8.0, 10.0), (2, 3.0, 3.0)] {
            for (kind, cpu) in [(Kind::Pcs, ours), (Kind::Squid, theirs)] {
                let sample = Sample {
                    cpu,
                    ..Sample::default()
                };
                results.taken.push(Taken {
                    kind,
                    measure: Measure::Requests,
                    round,
                    sample,
                });
            }
        }
        let ratio = results.ratio(Measure::Requests, Kind::Pcs, Kind::Squid).unwrap();
        assert!((ratio.middle - 0.8).abs() < 1e-9 && ratio.half.0 <= 0.8 && ratio.half.1 >= 0.8);
        assert!(
            results
                .ratio(Measure::Requests, Kind::Pcs, Kind::Tinyproxy)
                .is_none()
        );
        results
            .taken
            .retain(|taken| taken.kind == Kind::Pcs || taken.round == 2);
        let ratio = results.ratio(Measure::Requests, Kind::Pcs, Kind::Squid).unwrap();
        assert!((ratio.middle - 1.0).abs() < 1e-9);
    }

    #[test]
    fn shuffling_loses_nobody() {
        let mut things = vec![1, 2, 3, 4, 5];
        Shuffle(99).shuffle(&mut things);
        things.sort_unstable();
        assert_eq!(things, [1, 2, 3, 4, 5]);
    }
}
