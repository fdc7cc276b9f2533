//! Bytes that both ends know by their offset, so that a lost, doubled or changed one is seen where it happens.

use std::sync::LazyLock;

/// A prime, so that a slip by any power of two is seen.
const LENGTH: usize = 262_139;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    });
    words.flat_map(u64::to_le_bytes).take(LENGTH).collect()
});

/// The bytes from an offset on: at least one, at most `limit`.
pub(crate) fn at(offset: u64, limit: u64) -> &'static [u8] {
    let start = usize::try_from(offset % LENGTH as u64).unwrap_or(0);
    let rest = &BLOCK[start..];
    &rest[..rest.len().min(usize::try_from(limit).unwrap_or(usize::MAX))]
}

/// Whether these bytes are the ones that belong to the offset.
pub(crate) fn matches(mut offset: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = at(offset, bytes.len() as u64);
        let (part, rest) = bytes.split_at(expected.len());
        if part != expected {
            return false;
        }
        offset += expected.len() as u64;
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_seen() {
        let mut bytes = Vec::new();
        while bytes.len() < 600_000 {
            bytes.extend_from_slice(at(7 + bytes.len() as u64, 100_000));
        }
        assert!(matches(7, &bytes));
        assert!(!matches(8, &bytes));
        let lost = bytes.remove(300_000);
        assert!(!matches(7, &bytes), "lost {lost}");
    }
}
