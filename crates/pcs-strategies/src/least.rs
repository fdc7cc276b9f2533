//! The one with the least of something; ties are broken by lot.

use rand::Rng;

use crate::Members;
use crate::candidates::{Candidates, below};

/// Up to so many eligible members all are compared.
const COMPARE_ALL: usize = 1024;
/// Above, so many draws: the least of 16 is in the lowest sixth of all with a chance of 95 %.
const SAMPLE: usize = 16;

pub(crate) fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    rng: &mut R,
    load: impl Fn(usize) -> u64,
) -> Option<usize> {
    let mut least = Least {
        at: None,
        load: u64::MAX,
        ties: 0,
    };
    if candidates.members.eligible_count() <= COMPARE_ALL {
        candidates.each(|at| least.offer(at, load(at), rng));
        return least.at;
    }
    let mut drawn = [0; SAMPLE];
    let count = candidates.draw_into(&mut drawn, SAMPLE, rng);
    let drawn = drawn.get(..count)?;
    let mut loads = [0; SAMPLE];
    // In a loop of its own, so that the reads of all members wait for memory together.
    for (slot, at) in loads.iter_mut().zip(drawn) {
        *slot = load(*at);
    }
    for (at, load) in drawn.iter().zip(loads) {
        least.offer(*at, load, rng);
    }
    least.at
}

struct Least {
    at: Option<usize>,
    load: u64,
    ties: usize,
}

impl Least {
    /// Keeps the lesser; the n-th of equals replaces the others with a chance of 1 in n, which is fair to all.
    #[inline]
    fn offer<R: Rng + ?Sized>(&mut self, at: usize, load: u64, rng: &mut R) {
        if self.at.is_none() || load < self.load {
            *self = Self {
                at: Some(at),
                load,
                ties: 1,
            };
        } else if load == self.load {
            self.ties += 1;
            if below(rng, self.ties) == 0 {
                self.at = Some(at);
            }
        }
    }
}
