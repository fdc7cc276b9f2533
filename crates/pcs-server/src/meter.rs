//! How far a stream is, told while it lives: one that carries much for hours is not to look idle.

use pcs_tunnel::Outcome;

/// Bytes that the counters may lag behind: few tell seldom, and nobody tells per byte.
const TELL_EVERY: u64 = 64 * 1024;

/// What an outcome was told of the bytes up and down.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    up: u64,
    down: u64,
}

impl Meter {
    /// Tells of what is new in these sums, if it is enough.
    pub(crate) fn keep_up(&mut self, outcome: &mut dyn Outcome, up: u64, down: u64) {
        if (up - self.up) + (down - self.down) >= TELL_EVERY {
            self.settle(outcome, up, down);
        }
    }

    /// Tells of all that is new in these sums.
    pub(crate) fn settle(&mut self, outcome: &mut dyn Outcome, up: u64, down: u64) {
        let (more_up, more_down) = (up - self.up, down - self.down);
        (self.up, self.down) = (up, down);
        outcome.moved(more_up, more_down);
    }
}
