//! What a strategy sees of a pool.

/// The members of one snapshot, by dense index.
///
/// Everything is read while others write: an answer may be a moment old, and two answers may disagree. A strategy
/// never loops on such a disagreement, and the caller checks again where it acts on the pick (the breaker's
/// permit).
pub trait Members {
    /// How many members there are, eligible or not.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this member may be picked; `false` beyond the end.
    fn is_eligible(&self, at: usize) -> bool;

    /// How many may be picked: kept up to date, not counted.
    fn eligible_count(&self) -> usize;

    /// The first eligible member at `from` or after it. Should skip 64 ineligible ones at a time, as
    /// [`Bits::next`](crate::Bits::next) does.
    fn next_eligible(&self, from: usize) -> Option<usize>;

    /// The eligibility of the 64 members from 64 × `number` on, the first in the lowest bit; `None` beyond the end. A
    /// walk over all reads these.
    fn eligible_word(&self, number: usize) -> Option<u64>;

    /// The eligible member with `rank` eligible ones before it. Should not visit every one of them, as
    /// [`Bits::nth`](crate::Bits::nth) does not.
    fn nth_eligible(&self, rank: usize) -> Option<usize>;

    /// The configured weight. Those of 0 get nothing from `weighted` while another has a weight.
    ///
    /// [`Selector`](crate::Selector) reads all weights when it is built; a changed weight needs a new one.
    fn weight(&self, at: usize) -> u16;

    /// Tunnels and requests under way.
    fn active(&self, at: usize) -> u32;

    /// Attempts given to it so far.
    fn total(&self, at: usize) -> u64;

    /// Moving average of the time to build its chain, in microseconds; 0 while unknown.
    fn latency_us(&self, at: usize) -> u32;

    /// Moving average of its success ratio, 0 to 1000; 1000 while unknown.
    fn success_permille(&self, at: usize) -> u16;

    /// A hash of its id, the same in every process: see [`stable_hash`](crate::stable_hash).
    fn id_hash(&self, at: usize) -> u64;
}

/// One request for a member.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pick<'a> {
    /// What `hash` keys on: the [`stable_hash`](crate::stable_hash) of the session id or target host. Without one,
    /// `hash` picks at random.
    pub key: Option<u64>,
    /// Members that were tried already for the same request: never picked again.
    pub excluded: &'a [usize],
}
