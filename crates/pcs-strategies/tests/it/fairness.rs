//! Shares, measured over many picks with fixed seeds.

use pcs_strategies::Strategy;

use crate::pool::{Pool, assert_shares, shares};

const SIZES: [usize; 5] = [2, 10, 100, 200, 3000];

#[test]
fn equals_get_equal_shares() {
    for strategy in Strategy::ALL {
        // `failover` means one member, `hash` has a test of its own.
        if matches!(strategy, Strategy::Failover | Strategy::Hash) {
            continue;
        }
        for len in SIZES {
            let pool = Pool::of(len);
            let counts = shares(strategy, &pool, len as u64 * 100);
            assert_shares(&counts, &vec![1.0; len], &format!("{strategy} of {len}"));
        }
    }
}

#[test]
fn no_neighbour_of_the_dead_gets_their_turns() {
    for strategy in Strategy::ALL {
        if matches!(strategy, Strategy::Failover | Strategy::Hash) {
            continue;
        }
        for (len, alive_in) in [(10, 2), (300, 3), (3000, 100)] {
            // The dead stand in one row, before the living and behind them.
            let alive = |at| (len / 4..len / 4 + len / alive_in).contains(&at);
            let pool = Pool::of(len).only(alive);
            let expected: Vec<f64> = (0..len).map(|at| f64::from(u8::from(alive(at)))).collect();
            let counts = shares(strategy, &pool, (len / alive_in) as u64 * 200);
            assert_shares(&counts, &expected, &format!("{strategy}, {alive_in} of {len}"));
        }
    }
}

#[test]
fn round_robin_turns_are_exactly_even_whoever_is_out() {
    let pool = Pool::of(7).only(|at| at != 2 && at != 3);
    assert_eq!(
        shares(Strategy::RoundRobin, &pool, 500),
        [100, 100, 0, 0, 100, 100, 100]
    );
}

#[test]
fn static_weights_are_shares() {
    for len in [5, 100, 127, 400, 3000] {
        let mut pool = Pool::of(len);
        (0..len).for_each(|at| pool.weights[at] = [1, 2, 3, 10, 0][at % 5]);
        let expected: Vec<f64> = pool.weights.iter().copied().map(f64::from).collect();
        let counts = shares(Strategy::Weighted, &pool, len as u64 * 200);
        assert_shares(&counts, &expected, &format!("weighted of {len}"));
    }
}

#[test]
fn static_weights_are_shares_among_few_of_many() {
    let mut pool = Pool::of(20_000).only(|at| at % 100 == 7);
    (0..20_000).for_each(|at| pool.weights[at] = if at == 707 { 300 } else { 1 });
    let expected: Vec<f64> = (0..20_000)
        .map(|at| {
            if at % 100 == 7 {
                f64::from(pool.weights[at])
            } else {
                0.0
            }
        })
        .collect();
    assert_shares(
        &shares(Strategy::Weighted, &pool, 40_000),
        &expected,
        "weighted, 200 of 20,000",
    );
}

#[test]
fn weights_that_are_all_zero_are_equal() {
    for len in [3, 300] {
        let mut pool = Pool::of(len);
        pool.weights.fill(0);
        let counts = shares(Strategy::Weighted, &pool, len as u64 * 100);
        assert_shares(&counts, &vec![1.0; len], &format!("weightless {len}"));
    }
}

#[test]
fn a_heavy_member_that_is_out_leaves_its_weight_to_the_others() {
    let mut pool = Pool::of(3000).only(|at| at != 5);
    pool.weights[5] = u16::MAX;
    pool.weights[6] = 2;
    let mut expected = vec![1.0; 3000];
    (expected[5], expected[6]) = (0.0, 2.0);
    assert_shares(
        &shares(Strategy::Weighted, &pool, 300_000),
        &expected,
        "weighted without its heaviest",
    );
}

#[test]
fn measured_success_and_speed_scale_the_weights() {
    let mut pool = Pool::of(4);
    pool.weights = vec![2, 2, 2, 1];
    pool.success = vec![1000, 500, 1000, 0];
    pool.latency = vec![10_000, 10_000, 40_000, 10_000_000];
    // The last one counts as five per cent reliable and ten times slower.
    let expected = [2.0, 1.0, 0.5, 0.05 * 0.1];
    assert_shares(
        &shares(Strategy::Weighted, &pool, 100_000),
        &expected,
        "weighted by measurement",
    );
}

#[test]
fn above_128_members_measurements_still_weigh_nearly_in_full() {
    let mut pool = Pool::of(1000);
    (0..1000).for_each(|at| pool.latency[at] = if at < 500 { 10_000 } else { 40_000 });
    let counts = shares(Strategy::Weighted, &pool, 100_000);
    let fast: u64 = counts[..500].iter().sum();
    // Exactly 4 : 1 would be 80,000. The best of eight stands for all, which pulls a little to the middle.
    assert!((74_000..=81_000).contains(&fast), "{fast}");
}

#[test]
fn hash_spreads_keys_evenly() {
    for (len, bound) in [(3usize, 1.25), (10, 1.25), (100, 1.3), (3000, 1.5)] {
        let pool = Pool::of(len);
        let counts = shares(Strategy::Hash, &pool, len as u64 * 1000);
        let most = counts.iter().max().copied().unwrap_or(0) as f64 / 1000.0;
        assert!(
            most < bound,
            "the most loaded of {len} got {most} times its share"
        );
        let deviation = counts
            .iter()
            .map(|count| (*count as f64 / 1000.0 - 1.0).powi(2))
            .sum::<f64>()
            / len as f64;
        assert!(deviation.sqrt() < 0.2, "{len}: {}", deviation.sqrt());
    }
}
