//! At random, by static weight × measured success × measured speed.

use rand::Rng;

use crate::Members;
use crate::alias::Alias;
use crate::candidates::{Candidates, unit};

/// Up to so many eligible members the shares are exact.
const COMPARE_ALL: usize = 128;
/// Up to so many eligible members a draw by weight walks over all of them.
const WALK_ALL: usize = 1024;
/// Draws by static weight, of which one is taken by measurement.
const SAMPLE: usize = 8;
/// Draws from the table that may fall on ineligible members before the rest is drawn otherwise.
const TABLE_TRIES: usize = 640;
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
            scored.push(candidates.members, at, 1.0)
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
    if eligible <= WALK_ALL {
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

/// Draws by static weight among few: one walk to add the weights up, one to find who holds the marks.
fn walk<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    rng: &mut R,
    mut push: impl FnMut(usize),
) {
    let members = candidates.members;
    let total: f64 = candidates.iter().map(|at| f64::from(members.weight(at))).sum();
    let mut marks = [0.0; SAMPLE];
    marks.fill_with(|| unit(rng) * total);
    marks.sort_unstable_by(f64::total_cmp);
    let mut marks = marks.into_iter().peekable();
    let mut sum = 0.0;
    for at in candidates.iter() {
        sum += f64::from(members.weight(at));
        while marks.next_if(|mark| *mark < sum).is_some() {
            push(at);
        }
        if marks.peek().is_none() {
            return;
        }
    }
}

/// A handful of members with what their chances hang on.
struct Scored {
    entries: [(u32, f32, u32); COMPARE_ALL],
    count: usize,
    fastest: u32,
}

impl Scored {
    fn new() -> Self {
        Self {
            entries: [(0, 0.0, 0); COMPARE_ALL],
            count: 0,
            fastest: u32::MAX,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "no pool has 2³² members, scores need no more than 24 bits"
    )]
    fn push<M: Members + ?Sized>(&mut self, members: &M, at: usize, weight: f64) {
        let Some(entry) = self.entries.get_mut(self.count) else {
            return;
        };
        let success = (f64::from(members.success_permille(at)) / 1000.0).clamp(MIN_SUCCESS, 1.0);
        let latency = members.latency_us(at);
        *entry = (at as u32, (weight * success) as f32, latency);
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
        for (_, score, latency) in &mut *entries {
            // Who was never measured counts as fast: its first requests tell.
            let speed = if *latency == 0 {
                1.0
            } else {
                (fastest / f64::from(*latency)).clamp(MIN_SPEED, 1.0)
            };
            total += f64::from(*score) * speed;
            *score = total as f32;
        }
        if total <= 0.0 {
            return None;
        }
        let mark = unit(rng) * total;
        let entry = entries
            .iter()
            .find(|(_, sum, _)| mark < f64::from(*sum))
            .or_else(|| {
                // Rounding may put the mark past the last sum: then the last one that weighs something holds it.
                let last = entries.last().map(|(_, sum, _)| *sum)?;
                entries.iter().find(|(_, sum, _)| *sum >= last)
            });
        entry.map(|(at, _, _)| *at as usize)
    }
}
