//! Long byte sequences that both sides of a test can make, and a digest to compare them by.

/// A reproducible sequence of bytes that does not repeat and does not compress.
#[derive(Debug, Clone)]
pub struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Pattern {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            word: [0; 8],
            used: 8,
        }
    }

    /// The next `length` bytes.
    #[must_use]
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes
    }

    /// Fills `bytes` with what comes next; the pieces asked for do not matter.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let rest = self.word.get(self.used..).unwrap_or_default();
        let begun = rest.len().min(bytes.len());
        let (first, bytes) = bytes.split_at_mut(begun);
        first.copy_from_slice(rest.get(..begun).unwrap_or_default());
        self.used += begun;
        // By words: tests are not optimised, and their bodies are long.
        let mut words = bytes.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next_word().to_le_bytes());
        }
        let last = words.into_remainder();
        if !last.is_empty() {
            self.word = self.next_word().to_le_bytes();
            self.used = last.len();
            last.copy_from_slice(self.word.get(..last.len()).unwrap_or_default());
        }
    }

    /// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
    fn next_word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The digest of the first `length` bytes of this seed's sequence.
    #[must_use]
    pub fn digest(seed: u64, length: u64) -> Digest {
        let mut pattern = Self::new(seed);
        let mut digest = Digest::default();
        let mut left = length;
        let mut block = vec![0; 64 * 1024];
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            let part = block.get_mut(..now).expect("bounded by the block");
            pattern.fill(part);
            digest.add(part);
            left -= now as u64;
        }
        digest
    }
}

/// Length and FNV-1a hash of bytes, fed in pieces of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    length: u64,
    hash: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            length: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::default();
        digest.add(bytes);
        digest
    }

    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// How many bytes went in.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:016x}", self.length, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_matter() {
        let whole = Pattern::new(7).take(1000);
        let mut pattern = Pattern::new(7);
        let mut pieces = Vec::new();
        for length in [1, 2, 3, 500, 494] {
            pieces.extend(pattern.take(length));
        }
        assert_eq!(whole, pieces);
        assert_eq!(Pattern::digest(7, 1000), Digest::of(&whole));
        assert_ne!(Pattern::digest(8, 1000), Digest::of(&whole));
    }
}
