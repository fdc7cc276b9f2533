//! What one pick costs: every strategy, at 100 and 100,000 members, with all or one in a hundred eligible.

use std::hint::black_box;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use divan::Bencher;
use pcs_strategies::{Bits, Members, Pick, Selector, Strategy, stable_hash};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Members as a pool keeps them: one dense array of atomics for each quantity.
struct Dense {
    bits: Bits,
    weights: Vec<u16>,
    active: Vec<AtomicU32>,
    total: Vec<AtomicU64>,
    latency: Vec<AtomicU32>,
    success: Vec<AtomicU16>,
    hashes: Vec<u64>,
}

impl Dense {
    fn new(len: usize, one_in: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(7);
        let bits = Bits::new(len);
        (0..len).step_by(one_in).for_each(|at| _ = bits.set(at, true));
        Self {
            bits,
            weights: (0..len).map(|at| u16::from(at % 7 == 0) * 9 + 1).collect(),
            active: (0..len).map(|_| AtomicU32::new(rng.next_u32() % 50)).collect(),
            total: (0..len)
                .map(|_| AtomicU64::new(rng.next_u64() % 10_000))
                .collect(),
            latency: (0..len)
                .map(|_| AtomicU32::new(20_000 + rng.next_u32() % 300_000))
                .collect(),
            success: (0..len)
                .map(|at| AtomicU16::new(if at % 9 == 0 { 700 } else { 1000 }))
                .collect(),
            hashes: (0..len).map(|at| stable_hash(&at.to_le_bytes())).collect(),
        }
    }
}

impl Members for Dense {
    fn len(&self) -> usize {
        self.hashes.len()
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
        self.latency[at].load(Ordering::Relaxed)
    }
    fn success_permille(&self, at: usize) -> u16 {
        self.success[at].load(Ordering::Relaxed)
    }
    fn id_hash(&self, at: usize) -> u64 {
        self.hashes[at]
    }
}

fn main() {
    divan::main();
}

/// Members, and one in how many of them is eligible.
const CASES: [(usize, usize); 8] = [
    (100, 1),
    (100, 2),
    (100, 50),
    (1_000, 1),
    (100_000, 1),
    (100_000, 20),
    (100_000, 100),
    (100_000, 100_000),
];

#[divan::bench(args = Strategy::ALL, consts = [0, 1, 2, 3, 4, 5, 6, 7])]
fn pick<const CASE: usize>(bencher: Bencher<'_, '_>, strategy: Strategy) {
    let (len, one_in) = CASES[CASE];
    let members = Dense::new(len, one_in);
    let selector = Selector::new(strategy, &members);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut key = 0u64;
    bencher.bench_local(|| {
        key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
        selector.pick(
            black_box(&members),
            Pick {
                key: Some(key),
                excluded: &[],
            },
            &mut rng,
        )
    });
}

#[divan::bench(args = [100, 100_000])]
fn flip(bencher: Bencher<'_, '_>, len: usize) {
    let bits = Bits::filled(len);
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 7919) % len;
        bits.set(at, false);
        bits.set(at, true)
    });
}

#[divan::bench(args = [100, 100_000])]
fn build(bencher: Bencher<'_, '_>, len: usize) {
    let members = Dense::new(len, 1);
    bencher.bench_local(|| Selector::new(Strategy::Weighted, black_box(&members)));
}
