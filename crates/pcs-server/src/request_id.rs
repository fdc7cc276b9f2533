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

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:06x}", self.process, self.count)
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
