//! The members that may be picked for one request, and fair draws from them: the strategy `random`.

use rand::Rng;

use crate::Members;

/// Random indices that are tried before the search by rank, where at least one in [`DENSE`] is eligible.
const INDEX_TRIES: usize = 16;
/// How sparse eligible members may be for trying random indices: past it most tries are lost.
const DENSE: usize = 4;
/// Searches by rank before the walk; they fail where the member was tried before in the same request.
const RANK_TRIES: usize = 8;

/// Eligible members without those that were tried already.
pub(crate) struct Candidates<'a, M: ?Sized> {
    pub(crate) members: &'a M,
    excluded: &'a [usize],
}

impl<'a, M: Members + ?Sized> Candidates<'a, M> {
    pub(crate) fn new(members: &'a M, excluded: &'a [usize]) -> Self {
        Self { members, excluded }
    }

    /// Whether this member may be picked.
    #[inline]
    pub(crate) fn contains(&self, at: usize) -> bool {
        self.members.is_eligible(at) && self.is_untried(at)
    }

    #[inline]
    fn is_untried(&self, at: usize) -> bool {
        !self.excluded.contains(&at)
    }

    /// All candidates, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.iter_from(0)
    }

    /// Does something with each candidate, in order: what a walk over all of them costs least.
    #[inline]
    pub(crate) fn each(&self, mut act: impl FnMut(usize)) {
        let mut number = 0;
        while let Some(mut word) = self.members.eligible_word(number) {
            for at in self.excluded {
                if at / 64 == number {
                    word &= !(1 << (at % 64));
                }
            }
            while word != 0 {
                act(number * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
            number += 1;
        }
    }

    /// Puts all candidates into `room`, as far as it goes; how many.
    pub(crate) fn collect(&self, room: &mut [usize]) -> usize {
        let mut count = 0;
        self.each(|at| {
            if let Some(slot) = room.get_mut(count) {
                *slot = at;
                count += 1;
            }
        });
        count
    }

    /// Draws `count` times into `room`, as far as it goes, with repetitions; how many.
    pub(crate) fn draw_into<R: Rng + ?Sized>(&self, room: &mut [usize], count: usize, rng: &mut R) -> usize {
        let slots = room.iter_mut().take(count);
        slots
            .map_while(|slot| self.draw(rng).map(|at| *slot = at))
            .count()
    }

    /// The candidates at `from` and after it, in order.
    pub(crate) fn iter_from(&self, mut from: usize) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || {
            loop {
                let at = self.members.next_eligible(from)?;
                from = at + 1;
                if self.is_untried(at) {
                    return Some(at);
                }
            }
        })
    }

    /// Any candidate, all with equal chances.
    ///
    /// The chances are off by less than a percent where half of very few eligible members were tried already.
    pub(crate) fn draw<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<usize> {
        let (len, eligible) = (self.members.len(), self.members.eligible_count());
        if eligible == 0 || len == 0 {
            return None;
        }
        if eligible * DENSE >= len {
            for _ in 0..INDEX_TRIES {
                let at = below(rng, len);
                if self.contains(at) {
                    return Some(at);
                }
            }
        }
        for _ in 0..RANK_TRIES {
            match self.members.nth_eligible(below(rng, eligible)) {
                Some(at) if self.is_untried(at) => return Some(at),
                _ => {}
            }
        }
        self.first_from(below(rng, len))
    }

    /// The first candidate at `start` or after it, around the end.
    fn first_from(&self, start: usize) -> Option<usize> {
        self.iter_from(start).next().or_else(|| self.iter().next())
    }
}

/// A number below `bound` (which is not 0), all with equal chances but for one in 2⁶⁴ ÷ `bound`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the high half of the product is below `bound`"
)]
pub(crate) fn below<R: Rng + ?Sized>(rng: &mut R, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A number from 0 up to but without 1.
#[inline]
pub(crate) fn unit<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 53) as f64;
    (rng.next_u64() >> 11) as f64 * STEP
}
