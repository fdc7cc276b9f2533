//! Choices that follow from the input, and inputs read as choices.

/// Pseudo-random numbers (SplitMix64): the same input rolls the same.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that follow from `data` (its FNV-1a hash).
    pub(crate) fn of(data: &[u8]) -> Self {
        Self(data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }
}

/// How bytes are cut in pieces on their way.
#[derive(Debug, Clone)]
pub(crate) enum Cuts {
    /// Not at all.
    Whole,
    /// Each byte alone.
    Bytes,
    /// Anywhere, rather short.
    Rolled(Dice),
}

impl Cuts {
    /// Ways to cut `data`; the first is not to cut it at all.
    pub(crate) fn ways(data: &[u8]) -> [Self; 4] {
        let dice = Dice::of(data);
        let mut other = dice.clone();
        other.next();
        [Self::Whole, Self::Bytes, Self::Rolled(dice), Self::Rolled(other)]
    }

    /// The length of the next piece of `left` bytes; not 0 unless that is.
    pub(crate) fn next(&mut self, left: usize) -> usize {
        match self {
            Self::Whole => left,
            Self::Bytes => left.min(1),
            Self::Rolled(_) if left == 0 => 0,
            Self::Rolled(dice) => {
                let most = if dice.below(4) == 0 { left } else { left.min(8) };
                1 + dice.below(most)
            }
        }
    }
}

/// An input read from the front, a choice at a time; behind its end everything is 0.
#[derive(Debug, Clone)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// One of `all`, which is not empty.
    pub(crate) fn one_of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        let at = usize::from(self.byte()) % all.len();
        all.get(at).expect("a remainder is below its divisor")
    }
}
