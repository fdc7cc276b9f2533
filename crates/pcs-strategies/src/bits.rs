//! Which members may be picked, one bit each.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Words of one block. At 100,000 bits a search reads at most 49 block counts and 32 words.
const BLOCK: usize = 32;

/// A fixed number of bits that flip in constant time and are found by rank without visiting each.
///
/// All accesses are relaxed: a bit is advice to the next pick, and whatever acts on a pick is checked again where
/// it is taken. Counts follow their bits within the same call of [`Bits::set`], so searches that run meanwhile may
/// miss a bit, never invent one.
#[derive(Debug)]
pub struct Bits {
    words: Box<[AtomicU64]>,
    blocks: Box<[AtomicU32]>,
    len: usize,
    ones: AtomicUsize,
}

impl Bits {
    /// `len` bits, all cleared.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let words = len.div_ceil(64);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            blocks: (0..words.div_ceil(BLOCK)).map(|_| AtomicU32::new(0)).collect(),
            len,
            ones: AtomicUsize::new(0),
        }
    }

    /// `len` bits, all set.
    #[must_use]
    pub fn filled(len: usize) -> Self {
        let bits = Self::new(len);
        (0..len).for_each(|at| _ = bits.set(at, true));
        bits
    }

    /// How many bits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bits are set.
    #[must_use]
    pub fn ones(&self) -> usize {
        self.ones.load(Ordering::Relaxed)
    }

    /// One bit; `false` beyond the end.
    #[must_use]
    #[inline]
    pub fn get(&self, at: usize) -> bool {
        self.words
            .get(at / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (at % 64) & 1 == 1)
    }

    /// The 64 bits from 64 × `number` on, the first one lowest; `None` beyond the end.
    #[must_use]
    #[inline]
    pub fn word(&self, number: usize) -> Option<u64> {
        Some(self.words.get(number)?.load(Ordering::Relaxed))
    }

    /// Sets or clears one bit and says whether that changed it; nothing happens beyond the end.
    pub fn set(&self, at: usize, on: bool) -> bool {
        if at >= self.len {
            return false;
        }
        let mask = 1u64 << (at % 64);
        let (word, block) = (&self.words[at / 64], &self.blocks[at / 64 / BLOCK]);
        let before = if on {
            word.fetch_or(mask, Ordering::Relaxed)
        } else {
            word.fetch_and(!mask, Ordering::Relaxed)
        };
        // Whoever flipped the bit moves the counts: they end up right in whatever order the calls finish.
        match (before & mask != 0, on) {
            (false, true) => {
                block.fetch_add(1, Ordering::Relaxed);
                self.ones.fetch_add(1, Ordering::Relaxed);
                true
            }
            (true, false) => {
                block.fetch_sub(1, Ordering::Relaxed);
                self.ones.fetch_sub(1, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// The first set bit at `from` or after it.
    #[must_use]
    pub fn next(&self, from: usize) -> Option<usize> {
        let mut at = from / 64;
        let mut word = self.words.get(at)?.load(Ordering::Relaxed) & (u64::MAX << (from % 64));
        loop {
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
            at += 1;
            word = self.words.get(at)?.load(Ordering::Relaxed);
        }
    }

    /// The set bit with `rank` set bits before it.
    #[must_use]
    pub fn nth(&self, rank: usize) -> Option<usize> {
        let mut left = rank;
        for (block, words) in self.blocks.iter().zip(self.words.chunks(BLOCK).enumerate()) {
            let ones = block.load(Ordering::Relaxed) as usize;
            if left >= ones {
                left -= ones;
                continue;
            }
            let (number, words) = words;
            for (at, word) in words.iter().enumerate() {
                let word = word.load(Ordering::Relaxed);
                let ones = word.count_ones() as usize;
                if left < ones {
                    return Some((number * BLOCK + at) * 64 + nth_in_word(word, left));
                }
                left -= ones;
            }
            // The block lost bits since its count was read.
            return None;
        }
        None
    }
}

fn nth_in_word(mut word: u64, rank: usize) -> usize {
    for _ in 0..rank {
        word &= word - 1;
    }
    word.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_agree_with_a_plain_list(
            len in 0usize..5000,
            flips in proptest::collection::vec((0usize..5050, any::<bool>()), 0..300),
            from in 0usize..5050,
        ) {
            let bits = Bits::new(len);
            let mut model = vec![false; len];
            for (at, on) in flips {
                let changed = bits.set(at, on);
                prop_assert_eq!(changed, model.get(at).is_some_and(|bit| *bit != on));
                if let Some(bit) = model.get_mut(at) {
                    *bit = on;
                }
            }
            let ones: Vec<usize> = (0..len).filter(|at| model[*at]).collect();
            prop_assert_eq!(bits.ones(), ones.len());
            prop_assert_eq!(bits.next(from), ones.iter().copied().find(|at| *at >= from));
            prop_assert_eq!(bits.get(from), model.get(from).copied().unwrap_or(false));
            for rank in 0..=ones.len() {
                prop_assert_eq!(bits.nth(rank), ones.get(rank).copied());
            }
        }
    }

    #[test]
    fn filled_bits_are_all_set() {
        let bits = Bits::filled(4097);
        assert_eq!(
            (bits.ones(), bits.nth(4096), bits.next(4096), bits.next(4097)),
            (4097, Some(4096), Some(4096), None)
        );
    }

    #[test]
    fn counts_are_right_after_threads_flipped_the_same_bits() {
        let bits = Bits::new(3000);
        std::thread::scope(|scope| {
            for seed in 0..4usize {
                let bits = &bits;
                scope.spawn(move || {
                    for step in 0..30_000usize {
                        bits.set(
                            step.wrapping_mul(2_654_435_761).wrapping_add(seed) % 3000,
                            (step / 7 + seed) % 2 == 0,
                        );
                    }
                });
            }
        });
        let counted = (0..3000).filter(|at| bits.get(*at)).count();
        assert_eq!(bits.ones(), counted);
        assert_eq!((0..counted).filter_map(|rank| bits.nth(rank)).count(), counted);
    }
}
