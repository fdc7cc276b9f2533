//! The first that is eligible, in order.

use crate::Members;
use crate::candidates::Candidates;

pub(crate) fn pick<M: Members + ?Sized>(candidates: &Candidates<'_, M>) -> Option<usize> {
    candidates.iter().next()
}
