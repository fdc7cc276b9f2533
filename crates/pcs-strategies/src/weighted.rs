//! At random, by static weight × measured success × measured speed.

use rand::Rng;

use crate::Members;
use crate::alias::Alias;
use crate::candidates::{Candidates, below, unit};

/// Up to so many eligible members the shares are exact.
const COMPARE_ALL: usize = 128;
/// A walk over all eligible members costs in proportion to their number, draws from the table to how few of all
/// they are. Walking is cheaper while their number squared is below so many times the number of all (measured in
/// bench `pick`).
const WALK_FACTOR: usize = 20;
/// Draws by static weight, of which one is taken by measurement.
const SAMPLE: usize = 8;
/// Draws from the table that may fall on ineligible members before the rest is drawn otherwise.
const TABLE_TRIES: usize = 640;
/// Milestones left on a walk.
const MILESTONES: usize = 64;
/// A success ratio below this counts as this: who recovers must be seen to.
const MIN_SUCCESS: f64 = 0.05;
/// Who is more than ten times slower than the fastest counts as ten times slower.
const MIN_SPEED: f64 = 0.1;

/// Picks by weight. Above 128 eligible members, eight are drawn by static weight and one of them is taken by its
/// measurements: the shares come close to exact ones at a fixed cost.
pub(crate) fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    table: Option<&Alias>,
    rng: &mut R,
) -> Option<usize> {
    let mut scored = Scored::new();
    let eligible = candidates.members.eligible_count();
    if eligible <= COMPARE_ALL {
        for at in candidates.iter().take(COMPARE_ALL) {
            scored.push(candidates.members, at, f64::from(candidates.members.weight(at)));
        }
    } else {
        sample(candidates, table, eligible, rng, |at| {
            scored.push(candidates.members, at, 1.0);
        });
    }
    scored.draw(rng).or_else(|| candidates.draw(rng))
}

/// Draws by static weight alone.
fn sample<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    table: Option<&Alias>,
    eligible: usize,
    rng: &mut R,
    mut push: impl FnMut(usize),
) {
    let Some(table) = table else {
        return (0..SAMPLE).map_while(|_| candidates.draw(rng)).for_each(push);
    };
    if eligible * eligible <= candidates.members.len() * WALK_FACTOR {
        return walk(candidates, rng, push);
    }
    let mut found = 0;
    for _ in 0..TABLE_TRIES {
        let at = table.draw(rng);
        if candidates.contains(at) {
            push(at);
            found += 1;
            if found == SAMPLE {
                return;
            }
        }
    }
    if found == 0 {
        // Nearly all of the weight is out: what is left is drawn exactly, at the price of a walk.
        walk(candidates, rng, push);
    }
}

/// Draws by static weight among few: one walk adds the weights up and leaves milestones, from which short ones find
/// who holds each mark.
fn walk<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    rng: &mut R,
    mut push: impl FnMut(usize),
) {
    let members = candidates.members;
    let every = members.eligible_count() / MILESTONES + 1;
    // Each names a member and the weight of all before it.
    let mut milestones = [(0, usize::MAX); MILESTONES];
    let mut total = 0;
    for (passed, at) in candidates.iter().enumerate() {
        if passed % every == 0
            && let Some(milestone) = milestones.get_mut(passed / every)
        {
            *milestone = (at, total);
        }
        total += usize::from(members.weight(at));
    }
    if total == 0 {
        return;
    }
    for _ in 0..SAMPLE {
        let mark = below(rng, total);
        let passed = milestones.partition_point(|(_, sum)| *sum <= mark);
        let (from, mut sum) = milestones[passed.saturating_sub(1)];
        let holder = candidates.iter_from(from).find(|at| {
            sum += usize::from(members.weight(*at));
            mark < sum
        });
        // Nobody holds it where members dropped out since the walk.
        holder.into_iter().for_each(&mut push);
    }
}

/// A handful of members with what their chances hang on.
struct Scored {
    entries: [(u32, u32, f64); COMPARE_ALL],
    count: usize,
    fastest: u32,
}

impl Scored {
    fn new() -> Self {
        Self {
            entries: [(0, 0, 0.0); COMPARE_ALL],
            count: 0,
            fastest: u32::MAX,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "no pool has 2³² members")]
    fn push<M: Members + ?Sized>(&mut self, members: &M, at: usize, weight: f64) {
        let Some(entry) = self.entries.get_mut(self.count) else {
            return;
        };
        let success = (f64::from(members.success_permille(at)) / 1000.0).clamp(MIN_SUCCESS, 1.0);
        let latency = members.latency_us(at);
        *entry = (at as u32, latency, weight * success);
        self.count += 1;
        if latency != 0 {
            self.fastest = self.fastest.min(latency);
        }
    }

    /// One of them by score; `None` where all weigh nothing.
    fn draw<R: Rng + ?Sized>(&mut self, rng: &mut R) -> Option<usize> {
        let fastest = f64::from(self.fastest);
        let entries = self.entries.get_mut(..self.count)?;
        let mut total = 0.0;
        for (_, latency, score) in &mut *entries {
            // Who was never measured counts as fast: its first requests tell.
            let speed = if *latency == 0 {
                1.0
            } else {
                (fastest / f64::from(*latency)).clamp(MIN_SPEED, 1.0)
            };
            total += *score * speed;
            *score = total;
        }
        if total <= 0.0 {
            return None;
        }
        let mark = unit(rng) * total;
        let entry = entries.iter().find(|(_, _, sum)| mark < *sum).or_else(|| {
            // Rounding may put the mark past the last sum: then the last one that weighs something holds it.
            let last = entries.last().map(|(_, _, sum)| *sum)?;
            entries.iter().find(|(_, _, sum)| *sum >= last)
        });
        entry.map(|(at, _, _)| *at as usize)
    }
}
