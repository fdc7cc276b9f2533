//! Bytes that show where they belong.

/// `count` bytes in chunks of at most 32 KiB; another `salt` gives other bytes.
pub(crate) fn chunks(salt: u64, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut left = count;
    std::iter::from_fn(move || {
        let size = left.min(32 * 1024);
        left -= size;
        let mut chunk = Vec::with_capacity(size + 8);
        while chunk.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.extend_from_slice(&state.to_le_bytes());
        }
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    })
}
