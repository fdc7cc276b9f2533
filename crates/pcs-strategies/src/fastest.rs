//! Mostly the fastest half.

use rand::Rng;

use crate::Members;
use crate::candidates::{Candidates, below};

/// Up to so many eligible members the fastest half is exact.
const RANK_ALL: usize = 128;
/// Above, the faster half of so many draws stands for it; odd, so that one of them is the middle.
const SAMPLE: usize = 15;

/// 70 % of the picks come from the fastest half, 30 % from all: the slow and the unmeasured are measured again.
/// Unmeasured members count as slow, in random order.
pub(crate) fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    rng: &mut R,
) -> Option<usize> {
    if below(rng, 10) >= 7 {
        return candidates.draw(rng);
    }
    let mut ranked = [0u64; RANK_ALL];
    let mut count = 0;
    // Equal latencies are put into an order of their own each time.
    let salt = rng.next_u32();
    let mut push = |at: usize| {
        let Some(slot) = ranked.get_mut(count) else { return };
        let latency = candidates.members.latency_us(at).wrapping_sub(1);
        *slot = u64::from(latency) << 32 | u64::from(low_half(at) ^ salt);
        count += 1;
    };
    if candidates.members.eligible_count() <= RANK_ALL {
        candidates.iter().for_each(&mut push);
    } else {
        (0..SAMPLE)
            .map_while(|_| candidates.draw(rng))
            .for_each(&mut push);
    }
    let ranked = ranked.get_mut(..count)?;
    let half = count.div_ceil(2);
    if half == 0 {
        return None;
    }
    if half < count {
        ranked.select_nth_unstable(half);
    }
    ranked
        .get(below(rng, half))
        .map(|entry| (low_half_of(*entry) ^ salt) as usize)
}

#[expect(clippy::cast_possible_truncation, reason = "no pool has 2³² members")]
fn low_half(at: usize) -> u32 {
    at as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low_half_of(entry: u64) -> u32 {
    entry as u32
}
