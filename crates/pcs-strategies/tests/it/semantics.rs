//! What each strategy promises.

use std::sync::atomic::Ordering;

use pcs_strategies::{Members, Pick, Selector, Strategy};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::pool::{Pool, shares};

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(1)
}

#[track_caller]
fn check_order(pool: &Pool, excluded: &[usize], expected: &[usize]) {
    let selector = Selector::new(Strategy::RoundRobin, pool);
    let mut rng = rng();
    let picked: Vec<usize> = expected
        .iter()
        .map(|_| {
            selector
                .pick(pool, Pick { key: None, excluded }, &mut rng)
                .expect("somebody is eligible")
        })
        .collect();
    assert_eq!(picked, expected);
}

#[test]
fn round_robin_goes_a_b_c_a_b_c() {
    check_order(&Pool::of(3), &[], &[0, 1, 2, 0, 1, 2, 0]);
    check_order(&Pool::of(4).only(|at| at != 1), &[], &[0, 2, 3, 0, 2, 3]);
    check_order(&Pool::of(1), &[], &[0, 0]);
}

#[test]
fn round_robin_skips_whom_the_request_tried_already() {
    check_order(&Pool::of(3), &[1], &[0, 2, 0, 2, 0, 2]);
}

#[test]
fn round_robin_goes_on_where_the_selector_before_stood() {
    let pool = Pool::of(3);
    let first = Selector::new(Strategy::RoundRobin, &pool);
    let mut rng = rng();
    (0..2).for_each(|_| _ = first.pick(&pool, Pick::default(), &mut rng));
    let second = Selector::with_cursor(Strategy::RoundRobin, &pool, first.cursor());
    assert_eq!(second.pick(&pool, Pick::default(), &mut rng), Some(2));
}

#[test]
fn failover_takes_the_first_usable() {
    let pool = Pool::of(5).only(|at| at > 1);
    let selector = Selector::new(Strategy::Failover, &pool);
    let pick = |excluded: &[usize]| selector.pick(&pool, Pick { key: None, excluded }, &mut rng());
    assert_eq!(pick(&[]), Some(2));
    assert_eq!(pick(&[2]), Some(3));
    assert_eq!(pick(&[3, 2]), Some(4));
    pool.bits.set(0, true);
    assert_eq!(
        selector.pick(&pool, Pick::default(), &mut rng()),
        Some(0),
        "back as soon as it is usable"
    );
}

#[test]
fn least_takes_the_least_and_breaks_ties_among_the_least_only() {
    let pool = Pool::of(6);
    for (at, load) in [5, 1, 3, 1, 9, 1].into_iter().enumerate() {
        pool.active[at].store(load, Ordering::Relaxed);
        pool.total[at].store(u64::from(load) << 40, Ordering::Relaxed);
    }
    for strategy in [Strategy::LeastConnections, Strategy::LeastUsed] {
        let counts = shares(strategy, &pool, 3000);
        assert_eq!([counts[0], counts[2], counts[4]], [0; 3], "{strategy}");
        assert!(
            [1, 3, 5].into_iter().all(|at| counts[at] > 900),
            "{strategy}: {counts:?}"
        );
    }
}

#[test]
fn least_used_levels_out_even_where_it_samples() {
    let pool = Pool::of(2000);
    let selector = Selector::new(Strategy::LeastUsed, &pool);
    let mut rng = rng();
    for _ in 0..200_000 {
        let at = selector.pick(&pool, Pick::default(), &mut rng).unwrap();
        pool.total[at].fetch_add(1, Ordering::Relaxed);
    }
    let totals: Vec<u64> = (0..2000).map(|at| pool.total(at)).collect();
    let (least, most) = (totals.iter().min().unwrap(), totals.iter().max().unwrap());
    assert!(most - least <= 6, "from {least} to {most}");
}

#[test]
fn fastest_takes_seven_in_ten_from_the_faster_half() {
    for len in [4usize, 100, 2000] {
        let mut pool = Pool::of(len);
        (0..len).for_each(|at| pool.latency[at] = 1000 + u32::from(at % 2 == 1) * 5000);
        let counts = shares(Strategy::Fastest, &pool, 20_000);
        let fast: u64 = counts.iter().step_by(2).sum();
        // All of the 70 % and half of the 30 %. Where a sample stands for all, it may have a slow majority.
        let expected = if len == 2000 {
            14_900..=17_300
        } else {
            16_700..=17_300
        };
        assert!(expected.contains(&fast), "{len}: {fast}");
        assert!(
            counts.iter().all(|count| *count > 0 || len == 2000),
            "the slow are measured again"
        );
    }
}

#[test]
fn fastest_counts_the_unmeasured_as_slow_and_takes_them_in_no_order() {
    let mut pool = Pool::of(10);
    pool.latency[3] = 90_000_000;
    let counts = shares(Strategy::Fastest, &pool, 10_000);
    // 7000 ÷ 5 + 3000 ÷ 10, against 7000 × 4 ÷ 5 ÷ 9 + 3000 ÷ 10.
    assert!((1550..=1850).contains(&counts[3]), "{counts:?}");
    assert!(
        (0..10)
            .filter(|at| *at != 3)
            .all(|at| (800..=1050).contains(&counts[at])),
        "{counts:?}"
    );
}

#[test]
fn peak_ewma_weighs_latency_load_and_success() {
    let cases = [
        ("slower", [30_000u32, 10_000], [0u32, 0], [1000u16, 1000]),
        ("busier", [10_000, 10_000], [3, 2], [1000, 1000]),
        ("faster but much busier", [10_000, 40_000], [4, 0], [1000, 1000]),
        ("faster but fails", [10_000, 40_000], [0, 0], [200, 1000]),
        ("unmeasured and busy", [0, 900_000], [1, 50], [1000, 1000]),
    ];
    for (name, latency, active, success) in cases {
        let mut pool = Pool::of(2);
        pool.latency = latency.into();
        pool.success = success.into();
        (0..2).for_each(|at| *pool.active[at].get_mut() = active[at]);
        assert_eq!(shares(Strategy::PeakEwma, &pool, 200), [0, 200], "{name}");
    }
    let mut pool = Pool::of(2);
    pool.latency = vec![1, 0];
    assert_eq!(
        shares(Strategy::PeakEwma, &pool, 200),
        [0, 200],
        "idle and unmeasured is measured first"
    );
}

#[test]
fn peak_ewma_never_takes_the_worst_of_many() {
    let mut pool = Pool::of(500);
    (0..500).for_each(|at| pool.latency[at] = 1000 + u32::try_from(at).unwrap());
    let counts = shares(Strategy::PeakEwma, &pool, 100_000);
    assert_eq!(counts[499], 0);
    assert!(
        counts[..250].iter().sum::<u64>() > 72_000,
        "three quarters go to the better half"
    );
}

#[test]
fn hash_without_a_key_is_random() {
    let pool = Pool::of(3);
    let selector = Selector::new(Strategy::Hash, &pool);
    let mut rng = rng();
    let mut seen = [false; 3];
    (0..100).for_each(|_| seen[selector.pick(&pool, Pick::default(), &mut rng).unwrap()] = true);
    assert_eq!(seen, [true; 3]);
}
