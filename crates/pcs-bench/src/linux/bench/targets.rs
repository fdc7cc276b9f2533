//! What PCS must reach, as ratios in the same run and as floors of the architecture.

use serde_json::{Value, json};

use super::measure::Measure;
use super::peers::Kind;
use super::syscalls::total;
use super::warm::{Far, ROUND_TRIP_MS};
use super::{Ratio, Results};
use crate::linux::json::number;
use crate::linux::load::relay::Direction;

const MIB: f64 = 1024.0 * 1024.0;

/// One figure against its limit.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// None: it was not measured, or the peer is missing.
    pub(crate) figure: Option<f64>,
    pub(crate) limit: f64,
    /// Half of all rounds lie in between.
    half: Option<(f64, f64)>,
    bound: Bound,
    /// An aim that is missed fails nothing.
    must: bool,
    /// It needs nobody but PCS: without a figure it was not shown, and fails.
    alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtMost,
    AtLeast,
}

impl Check {
    pub(crate) fn at_most(name: impl Into<String>, figure: Option<f64>, limit: f64) -> Self {
        Self {
            name: name.into(),
            figure,
            limit,
            half: None,
            bound: Bound::AtMost,
            must: true,
            alone: false,
        }
    }

    fn ratio(name: impl Into<String>, ratio: Option<Ratio>, limit: f64) -> Self {
        Self {
            half: ratio.map(|ratio| ratio.half),
            ..Self::at_most(name, ratio.map(|ratio| ratio.middle), limit)
        }
    }

    pub(crate) fn at_least(name: impl Into<String>, figure: Option<f64>, limit: f64) -> Self {
        Self {
            bound: Bound::AtLeast,
            ..Self::at_most(name, figure, limit)
        }
    }

    fn aim(self) -> Self {
        Self { must: false, ..self }
    }

    pub(crate) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    fn fails(&self) -> bool {
        self.must && !self.holds().unwrap_or(!self.alone)
    }

    fn holds(&self) -> Option<bool> {
        let figure = self.figure?;
        Some(match self.bound {
            Bound::AtMost => figure <= self.limit,
            Bound::AtLeast => figure >= self.limit,
        })
    }

    fn verdict(&self) -> &'static str {
        match (self.holds(), self.must) {
            (Some(true), _) => "pass",
            (Some(false), true) => "FAIL",
            (Some(false), false) => "missed",
            (None, _) if self.fails() => "FAIL: no figure",
            (None, _) => "no figure",
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "figure": self.figure.map(|figure| number(figure, 4)),
            "half": self.half.map(|(low, high)| [number(low, 4), number(high, 4)]),
            "limit": self.limit,
            "must": self.must,
            "holds": self.holds(),
        })
    }
}

/// Prints the block; whether all musts hold.
pub(crate) fn print(checks: &[Check]) -> bool {
    println!(
        "\n{:<62} {:>10} {:>4} {:>8}  {:<15}  half of all rounds",
        "target", "figure", "", "limit", "verdict"
    );
    for check in checks {
        let figure = check
            .figure
            .map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"));
        let sign = if check.bound == Bound::AtMost { "<=" } else { ">=" };
        let half = check
            .half
            .map_or_else(String::new, |(low, high)| format!("{low:.3} to {high:.3}"));
        println!(
            "{:<62} {figure:>10} {sign:>4} {:>8}  {:<15}  {half}",
            check.name,
            check.limit,
            check.verdict()
        );
    }
    checks.iter().all(|check| !check.fails())
}

/// All checks of a run.
pub(crate) fn check(results: &Results) -> Vec<Check> {
    let mut checks = ratios(results);
    checks.extend(
        absolutes(results)
            .into_iter()
            .chain(warm(results))
            .chain(floors(results))
            .map(Check::alone),
    );
    checks
}

fn ratios(results: &Results) -> Vec<Check> {
    let many = Measure::Tunnels(32);
    let versus = |measure, peer| results.ratio(measure, Kind::Pcs, peer);
    let mut checks = vec![
        Check::ratio(
            "CPU per tunnel at 32 / haproxy http",
            versus(many, Kind::HaproxyHttp),
            1.0,
        ),
        Check::ratio(
            "CPU per tunnel at 32 / haproxy http, the aim",
            versus(many, Kind::HaproxyHttp),
            0.9,
        )
        .aim(),
        Check::ratio("CPU per tunnel at 32 / squid", versus(many, Kind::Squid), 0.45),
        Check::ratio(
            "CPU per tunnel at 32, two hops / one",
            results.ratio(many, Kind::PcsTwoHops, Kind::Pcs),
            1.15,
        ),
        Check::ratio(
            "CPU per plain request at 32 / haproxy http",
            versus(Measure::Requests, Kind::HaproxyHttp),
            1.0,
        ),
    ];
    for (tunnels, direction, name) in [
        (1, Direction::Pull, "pull, 1 tunnel"),
        (1, Direction::Push, "push, 1 tunnel"),
        (8, Direction::Pull, "pull, 8 tunnels"),
        (8, Direction::Push, "push, 8 tunnels"),
    ] {
        let figure = versus(Measure::Relay(tunnels, direction), Kind::HaproxySplice);
        checks.push(Check::ratio(
            format!("CPU per GB / haproxy tcp splice, {name}"),
            figure,
            1.0,
        ));
    }
    let bytes = |kind| results.fresh(kind).map(|fresh| fresh.bytes_per_tunnel);
    let memory = bytes(Kind::Pcs)
        .zip(bytes(Kind::HaproxyHttp))
        .map(|(ours, theirs)| ours / theirs);
    checks.push(Check::at_most(
        "resident bytes per idle tunnel / haproxy http",
        memory,
        0.7,
    ));
    checks
}

fn absolutes(results: &Results) -> Vec<Check> {
    let calls = |kind| results.counts(kind).map(|counts| total(&counts.many));
    let one = calls(Kind::Pcs);
    let second = calls(Kind::PcsTwoHops).zip(one).map(|(two, one)| two - one);
    let splices = results.counts(Kind::Pcs).map(|counts| counts.bulk_splices);
    let fresh = results.fresh(Kind::Pcs);
    let after = fresh.map(|fresh| fresh.rss_after as f64 / fresh.rss_idle.max(1) as f64);
    vec![
        Check::at_most("system calls per tunnel at 32", one, 24.0),
        Check::at_most("more system calls for a second hop", second, 3.0),
        Check::at_least("calls of splice in 256 MiB of bulk", splices, 1.0),
        Check::at_most(
            "RSS idle, MiB",
            fresh.map(|fresh| fresh.rss_idle as f64 / MIB),
            15.0,
        ),
        Check::at_most("RSS after 5,000 tunnels / idle", after, 1.5),
        Check::at_most(
            "start to the end of the first tunnel, ms",
            fresh.map(|fresh| fresh.start_ms),
            50.0,
        ),
    ]
}

fn warm(results: &Results) -> Vec<Check> {
    let near = results.warm(Far::TwentyEach, "auto");
    let far = results.warm(Far::HundredAway, "auto");
    let cold = results.warm(Far::HundredAway, "0");
    let served = far.map(|warm| 100.0 * warm.used / (warm.done + warm.failed).max(1) as f64);
    vec![
        Check::at_most(
            "two hops that wait 20 + 20 ms, warm: p50, ms",
            near.map(|warm| warm.p50_ms),
            25.0,
        ),
        Check::at_most(
            "two hops that wait 20 + 20 ms, warm: p99, ms",
            near.map(|warm| warm.p99_ms),
            35.0,
        ),
        Check::at_least(
            "two hops 50 ms away, cold: p50, round trips (for comparison)",
            cold.map(|warm| warm.p50_ms / ROUND_TRIP_MS),
            3.0,
        ),
        // Nearer to one than to two, even where something else has the processor for a moment.
        Check::at_most(
            "two hops 50 ms away, warm: p50, round trips",
            far.map(|warm| warm.p50_ms / ROUND_TRIP_MS),
            1.2,
        ),
        Check::at_most(
            "two hops 50 ms away, warm: p99, round trips",
            far.map(|warm| warm.p99_ms / ROUND_TRIP_MS),
            1.5,
        ),
        Check::at_least("two hops 50 ms away: % served by warm chains", served, 99.0),
    ]
}

fn floors(results: &Results) -> Vec<Check> {
    let direct = |at: usize| {
        results
            .direct
            .iter()
            .filter(move |(together, ..)| *together == at)
    };
    let many = Measure::Tunnels(32);
    let added = |through: Option<f64>, without: Option<f64>| {
        through
            .zip(without)
            .map(|(through, without)| (through - without) / 1e3)
    };
    let p50 = added(
        results.median(Kind::Pcs, many, |sample| sample.p50_us),
        super::median(direct(32).map(|(_, p50, _)| *p50).collect()),
    );
    let p99 = added(
        results.median(Kind::Pcs, many, |sample| sample.p99_us),
        super::median(direct(32).map(|(.., p99)| *p99).collect()),
    );
    let fresh = results.fresh(Kind::Pcs);
    vec![
        Check::at_most("floor: added latency at 32, p50, ms", p50, 50.0),
        Check::at_most("floor: added latency at 32, p99, ms", p99, 100.0),
        Check::at_least(
            "floor: plain requests per second",
            results.median(Kind::Pcs, Measure::Requests, |sample| sample.rate),
            1000.0,
        ),
        Check::at_least(
            "floor: tunnels at once",
            fresh.map(|fresh| fresh.held as f64),
            501.0,
        ),
        Check::at_most(
            "floor: RSS idle, MiB",
            fresh.map(|fresh| fresh.rss_idle as f64 / MIB),
            50.0,
        ),
        Check::at_most(
            "floor: RSS with 5,000 tunnels, MiB",
            fresh.map(|fresh| fresh.rss_held as f64 / MIB),
            200.0,
        ),
        Check::at_most(
            "floor: CPU idle, % of a core",
            fresh.map(|fresh| fresh.idle_cpu),
            5.0,
        ),
        Check::at_most("floor: failed operations, %", failed(results), 0.1),
        Check::at_most(
            "floor: start to the end of the first tunnel, ms",
            fresh.map(|fresh| fresh.start_ms),
            1000.0,
        ),
    ]
}

fn failed(results: &Results) -> Option<f64> {
    let ours = results
        .taken
        .iter()
        .filter(|taken| matches!(taken.kind, Kind::Pcs | Kind::PcsTwoHops));
    let warm = results.warm.iter().map(|warm| (warm.done, warm.failed));
    let all = ours
        .map(|taken| (taken.sample.done, taken.sample.failed))
        .chain(warm);
    let (done, failed) = all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (done + failed > 0).then(|| 100.0 * failed as f64 / (done + failed) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missed_must_fails() {
        let figure = |value| Some(value);
        let must = Check::at_most("must", figure(1.1), 1.0);
        let aim = Check::at_most("aim", figure(1.1), 1.0).aim();
        let unknown = Check::at_least("unknown", None, 1.0);
        assert_eq!(
            (must.verdict(), aim.verdict(), unknown.verdict()),
            ("FAIL", "missed", "no figure")
        );
        assert!(!print(&[must]));
        assert!(!print(&[Check::at_most("not shown", None, 1.0).alone()]));
        assert!(print(&[aim, unknown, Check::at_least("least", figure(2.0), 1.0)]));
    }
}
