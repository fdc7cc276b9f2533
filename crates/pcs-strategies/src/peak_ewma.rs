//! The power of two choices over latency and load (Mitzenmacher 2001; cost as in Finagle's `peakEwma`).

use rand::Rng;

use crate::Members;
use crate::candidates::Candidates;

/// A lower success ratio counts as this one, so that a cost stays comparable.
const MIN_SUCCESS_PERMILLE: u16 = 50;
/// The cost of a member without a measured latency that is busy already: it is measured by one request at a time.
const UNMEASURED: u128 = 1 << 80;

pub(crate) fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
    candidates: &Candidates<'_, M>,
    rng: &mut R,
) -> Option<usize> {
    let first = candidates.draw(rng)?;
    // A second draw of the same member is repeated once: at two members that still leaves one pick in four
    // without a comparison, so the last resort is any other.
    let other = (0..2)
        .filter_map(|_| candidates.draw(rng))
        .find(|second| *second != first)
        .or_else(|| candidates.iter().find(|second| *second != first));
    let Some(second) = other else { return Some(first) };
    Some(
        if cost(candidates.members, second) < cost(candidates.members, first) {
            second
        } else {
            first
        },
    )
}

/// Latency × (load + 1) ÷ success ratio: without the last, a member that fails fast would look idle and draw
/// everything.
fn cost<M: Members + ?Sized>(members: &M, at: usize) -> u128 {
    let (latency, active) = (members.latency_us(at), members.active(at));
    if latency == 0 {
        return if active == 0 {
            0
        } else {
            UNMEASURED + u128::from(active)
        };
    }
    let success = members.success_permille(at).clamp(MIN_SUCCESS_PERMILLE, 1000);
    u128::from(latency) * (u128::from(active) + 1) * 1000 / u128::from(success)
}
