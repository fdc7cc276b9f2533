//! One after the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng;

use crate::Members;
use crate::candidates::Candidates;

/// Turns taken before giving up on order: more than one only where a turn falls on a member tried already.
const TURNS: usize = 4;

/// The turns go over the eligible members by rank, so they are A, B, C, A, B, C, and where C is out A, B, A, B:
/// no neighbour takes the turns of a dead member alone.
pub(crate) fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    cursor: &AtomicUsize,
    rng: &mut R,
) -> Option<usize> {
    for _ in 0..TURNS {
        let eligible = candidates.members.eligible_count();
        if eligible == 0 {
            return None;
        }
        // Relaxed: each turn is handed out once, nothing else hangs on it.
        let turn = cursor.fetch_add(1, Ordering::Relaxed);
        match candidates.members.nth_eligible(turn % eligible) {
            Some(at) if candidates.contains(at) => return Some(at),
            _ => {}
        }
    }
    candidates.draw(rng)
}
