//! At random, by static weight × measured success × measured speed.

use rand::Rng;

use crate::Members;
use crate::alias::Alias;
use crate::candidates::{Candidates, below};

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
const MIN_SUCCESS_PERMILLE: u16 = 50;
/// Who is more than ten times slower than the fastest counts as ten times slower.
const MIN_SPEED: f32 = 0.1;

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
        candidates.each(|at| scored.push(candidates.members, at, candidates.members.weight(at)));
    } else {
        let (mut drawn, mut count) = ([0; SAMPLE], 0);
        sample(candidates, table, eligible, rng, |at| {
            if let Some(slot) = drawn.get_mut(count) {
                *slot = at;
                count += 1;
            }
        });
        // In a loop of its own, so that the reads of all members wait for memory together.
        for at in drawn.iter().take(count) {
            scored.push(candidates.members, *at, 1);
        }
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
    members: [u32; COMPARE_ALL],
    /// Weight × success, in thousandths.
    worth: [u32; COMPARE_ALL],
    /// Microseconds, 0 while unknown.
    latency: [u32; COMPARE_ALL],
    count: usize,
}

impl Scored {
    fn new() -> Self {
        Self {
            members: [0; COMPARE_ALL],
            worth: [0; COMPARE_ALL],
            latency: [0; COMPARE_ALL],
            count: 0,
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "no pool has 2³² members")]
    fn push<M: Members + ?Sized>(&mut self, members: &M, at: usize, weight: u16) {
        let slot = self.count;
        if slot >= COMPARE_ALL {
            return;
        }
        let success = members.success_permille(at).clamp(MIN_SUCCESS_PERMILLE, 1000);
        self.members[slot] = at as u32;
        self.worth[slot] = u32::from(weight) * u32::from(success);
        self.latency[slot] = members.latency_us(at);
        self.count += 1;
    }

    /// One of them by score; `None` where all weigh nothing.
    fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<usize> {
        let count = self.count.min(COMPARE_ALL);
        let latency = &self.latency[..count];
        // One less turns "unknown" into the slowest, which none is measured against.
        let fastest = latency.iter().map(|latency| latency.wrapping_sub(1)).min()?;
        let mut speeds = [0; COMPARE_ALL];
        for (speed, latency) in speeds.iter_mut().zip(latency) {
            *speed = speed_permille(*latency, fastest.wrapping_add(1));
        }
        let mut sums = [0; COMPARE_ALL];
        let mut total = 0;
        for ((sum, worth), speed) in sums.iter_mut().zip(&self.worth[..count]).zip(speeds) {
            total += u64::from(*worth) * u64::from(speed);
            *sum = total;
        }
        if total == 0 {
            return None;
        }
        let mark = ((u128::from(rng.next_u64()) * u128::from(total)) >> 64) as u64;
        let slot = sums[..count].iter().position(|sum| mark < *sum)?;
        Some(self.members[slot] as usize)
    }
}

/// The fastest latency by this one, from a tenth to one. Who was never measured counts as fast: its first requests
/// tell. Without a branch or a conversion that the compiler could not do for several at once.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "24 bits are enough for thousandths")]
fn speed_permille(latency: u32, fastest: u32) -> u32 {
    /// Added to a number below itself it leaves that number, rounded, in the lower bits.
    const ROUND: f32 = 8_388_608.0;
    let float = |micros: u32| micros.min(i32::MAX.unsigned_abs()).cast_signed() as f32;
    let ratio = (float(fastest) / float(latency)).clamp(MIN_SPEED, 1.0);
    let ratio = if latency == 0 { 1.0 } else { ratio };
    (ratio * 1000.0 + ROUND).to_bits() & 0x007f_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_rounded_thousandths_of_the_fastest() {
        let cases = [
            (0, 7, 1000),
            (7, 7, 1000),
            (14, 7, 500),
            (1500, 1000, 667),
            (70, 7, 100),
            (700_000, 7, 100),
            (u32::MAX, u32::MAX, 1000),
            (u32::MAX, 1, 100),
            (0, 0, 1000),
        ];
        for (latency, fastest, speed) in cases {
            assert_eq!(speed_permille(latency, fastest), speed, "{fastest} by {latency}");
        }
    }
}
