//! Mostly the fastest half.

use rand::Rng;

use crate::Members;
use crate::candidates::{Candidates, below};
use crate::hash::mix;

/// Up to so many eligible members the fastest half is exact.
const RANK_ALL: usize = 128;
/// Above, the faster half of so many draws stands for it.
const SAMPLE: usize = 15;
/// Members of those ranked that are tried before any will do: each has a chance of a half at least.
const TRIES: usize = 24;

/// 70 % of the picks come from the fastest half, 30 % from all: the slow and the unmeasured are measured again.
/// Unmeasured members count as slow, in random order.
pub(crate) fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    rng: &mut R,
) -> Option<usize> {
    if below(rng, 10) >= 7 {
        return candidates.draw(rng);
    }
    let mut members = [0; RANK_ALL];
    let count = if candidates.members.eligible_count() <= RANK_ALL {
        candidates.collect(&mut members)
    } else {
        candidates.draw_into(&mut members, SAMPLE, rng)
    };
    let members = members.get(..count)?;
    let mut ranks = [0; RANK_ALL];
    let ranks = ranks.get_mut(..count)?;
    let salt = rng.next_u64();
    // In a loop of its own, so that the reads of all members wait for memory together.
    for ((slot, at), rank) in members.iter().enumerate().zip(&mut *ranks) {
        // Latency above, 0 as the greatest; a lot below, so that equals have no order.
        let latency = u64::from(candidates.members.latency_us(*at).wrapping_sub(1));
        *rank = latency << 32 | mix(salt ^ slot as u64) >> 32;
    }
    let half = count.div_ceil(2);
    for _ in 0..TRIES {
        let slot = below(rng, count.max(1));
        let rank = *ranks.get(slot)?;
        // Whoever has fewer than half of all before it is of the faster half: no order has to be made.
        if ranks
            .iter()
            .map(|other| usize::from(*other < rank))
            .sum::<usize>()
            < half
        {
            return members.get(slot).copied();
        }
    }
    members.first().copied()
}
