//! Names for requests.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The name of one request in answers and logs: a random part per process and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    process: u32,
    count: u64,
}

impl RequestId {
    /// Writes the name to the end of `out`: it is in every line of the access log.
    pub fn append_to(self, out: &mut Vec<u8>) {
        hex(out, self.process.into(), 8);
        out.push(b'-');
        hex(out, self.count, 6);
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(25);
        self.append_to(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// A number in hexadecimal, in `least` digits or as many as it takes.
fn hex(out: &mut Vec<u8>, number: u64, least: u32) {
    let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(least);
    for at in (0..digits).rev() {
        let digit = u8::try_from(number >> (4 * at) & 0xf).unwrap_or_default();
        out.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' - 10 + digit
        });
    }
}

/// Makes request ids.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// A source whose ids differ from those of other processes but for chance.
    pub(crate) fn new() -> Self {
        // The seed of the standard hash map is the one randomness at hand without an rng; ids are no secrets.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            process: u32::try_from(seed >> 32).unwrap_or_default(),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn next(&self) -> RequestId {
        // Relaxed: only uniqueness counts.
        RequestId {
            process: self.process,
            count: self.next.fetch_add(1, Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hexadecimal_and_of_one_width() {
        for (process, count, text) in [
            (0, 1, "00000000-000001"),
            (0xdead_beef, 0xab_cdef, "deadbeef-abcdef"),
            (0x12, 0x123_4567, "00000012-1234567"),
            (u32::MAX, u64::MAX, "ffffffff-ffffffffffffffff"),
        ] {
            assert_eq!(RequestId { process, count }.to_string(), text);
        }
    }
}
