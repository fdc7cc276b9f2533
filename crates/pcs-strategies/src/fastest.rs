//! Mostly the fastest half.

use rand::Rng;

use crate::Members;
use crate::candidates::{Candidates, below};
use crate::hash::mix;

/// Up to so many eligible members the fastest half is exact.
const RANK_ALL: usize = 128;
/// Above, the faster half of so many draws stands for it.
const SAMPLE: usize = 31;

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
    let mut ranked = [0; RANK_ALL];
    let mut count = 0;
    let salt = rng.next_u64();
    let mut push = |at: usize| {
        let (Some(member), Some(rank)) = (members.get_mut(count), ranked.get_mut(count)) else {
            return;
        };
        *member = at;
        // Latency above, 0 as the greatest; a lot in the middle, so that equals have no order; the slot below.
        let latency = u64::from(candidates.members.latency_us(at).wrapping_sub(1));
        let lot = mix(salt ^ count as u64) >> 32;
        *rank = latency << 32 | lot & !SLOT | count as u64;
        count += 1;
    };
    if candidates.members.eligible_count() <= RANK_ALL {
        candidates.iter().take(RANK_ALL).for_each(&mut push);
    } else {
        (0..SAMPLE)
            .map_while(|_| candidates.draw(rng))
            .for_each(&mut push);
    }
    let half = count.div_ceil(2);
    let ranked = ranked.get_mut(..count)?;
    if half == 0 {
        return None;
    }
    if half < count {
        ranked.select_nth_unstable(half);
    }
    let slot = ranked.get(below(rng, half))? & SLOT;
    members.get(usize::try_from(slot).ok()?).copied()
}

/// The bits that name one of [`RANK_ALL`] slots.
const SLOT: u64 = RANK_ALL as u64 - 1;
