//! A pool that is easy to set up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pcs_strategies::{Bits, Members, Pick, Selector, Strategy, stable_hash};
use rand::SeedableRng;
use rand::rngs::SmallRng;

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) bits: Bits,
    pub(crate) ids: Vec<u64>,
    pub(crate) weights: Vec<u16>,
    pub(crate) active: Vec<AtomicU32>,
    pub(crate) total: Vec<AtomicU64>,
    pub(crate) latency: Vec<u32>,
    pub(crate) success: Vec<u16>,
}

impl Pool {
    /// Members that differ in nothing but their ids, all eligible.
    pub(crate) fn of(len: usize) -> Self {
        Self::with_ids((0..len as u64).collect())
    }

    pub(crate) fn with_ids(ids: Vec<u64>) -> Self {
        let len = ids.len();
        Self {
            bits: Bits::filled(len),
            ids,
            weights: vec![1; len],
            active: (0..len).map(|_| AtomicU32::new(0)).collect(),
            total: (0..len).map(|_| AtomicU64::new(0)).collect(),
            latency: vec![0; len],
            success: vec![1000; len],
        }
    }

    pub(crate) fn only(self, eligible: impl Fn(usize) -> bool) -> Self {
        (0..self.ids.len()).for_each(|at| _ = self.bits.set(at, eligible(at)));
        self
    }
}

impl Members for Pool {
    fn len(&self) -> usize {
        self.ids.len()
    }
    fn is_eligible(&self, at: usize) -> bool {
        self.bits.get(at)
    }
    fn eligible_count(&self) -> usize {
        self.bits.ones()
    }
    fn next_eligible(&self, from: usize) -> Option<usize> {
        self.bits.next(from)
    }
    fn eligible_word(&self, number: usize) -> Option<u64> {
        self.bits.word(number)
    }
    fn nth_eligible(&self, rank: usize) -> Option<usize> {
        self.bits.nth(rank)
    }
    fn weight(&self, at: usize) -> u16 {
        self.weights[at]
    }
    fn active(&self, at: usize) -> u32 {
        self.active[at].load(Ordering::Relaxed)
    }
    fn total(&self, at: usize) -> u64 {
        self.total[at].load(Ordering::Relaxed)
    }
    fn latency_us(&self, at: usize) -> u32 {
        self.latency[at]
    }
    fn success_permille(&self, at: usize) -> u16 {
        self.success[at]
    }
    fn id_hash(&self, at: usize) -> u64 {
        stable_hash(&self.ids[at].to_le_bytes())
    }
}

/// How often each member is picked in `picks` picks of keys 0, 1, 2, …
pub(crate) fn shares(strategy: Strategy, pool: &Pool, picks: u64) -> Vec<u64> {
    let selector = Selector::new(strategy, pool);
    let mut rng = SmallRng::seed_from_u64(42);
    let mut counts = vec![0; pool.len()];
    for key in 0..picks {
        let pick = Pick {
            key: Some(stable_hash(&key.to_le_bytes())),
            excluded: &[],
        };
        counts[selector.pick(pool, pick, &mut rng).expect("somebody is eligible")] += 1;
    }
    counts
}

/// Pearson's statistic of the counts against the expected shares (of any scale), divided by its degrees of freedom:
/// near 1 where the counts come from these shares, and above 1 + 5·√(2 ÷ freedom) by chance in one of a million.
#[track_caller]
pub(crate) fn assert_shares(counts: &[u64], shares: &[f64], what: &str) {
    let (picks, scale): (u64, f64) = (counts.iter().sum(), shares.iter().sum());
    let mut statistic = 0.0;
    let mut cells = 0.0;
    for (count, share) in counts.iter().zip(shares) {
        let expected = picks as f64 * share / scale;
        if expected == 0.0 {
            assert_eq!(*count, 0, "{what}: who has no share is never picked");
            continue;
        }
        statistic += (*count as f64 - expected).powi(2) / expected;
        cells += 1.0;
    }
    let freedom: f64 = cells - 1.0;
    let bound = freedom + 5.0 * (2.0 * freedom).sqrt() + 10.0;
    assert!(
        statistic < bound,
        "{what}: chi-square {statistic:.1} over {bound:.1}: {counts:?}"
    );
}
