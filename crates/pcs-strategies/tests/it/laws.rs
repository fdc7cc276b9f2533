//! What every strategy keeps.

use pcs_strategies::{Members, Pick, Selector, Strategy};
use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::pool::Pool;

fn pools() -> impl proptest::strategy::Strategy<Value = (Pool, Vec<usize>)> {
    let len = prop_oneof![0usize..5, 0usize..40, 100usize..300, 1000usize..3000];
    (len, 0u8..6, any::<u64>()).prop_flat_map(|(len, density, seed)| {
        let member = (
            any::<bool>(),
            0u8..10,
            0u16..4,
            0u32..4,
            0u32..100_000,
            0u16..=1000,
        );
        let excluded = proptest::collection::vec(0..len.max(1), 0..6);
        (proptest::collection::vec(member, len), excluded).prop_map(move |(members, excluded)| {
            let mut pool = Pool::with_ids((0..len as u64).map(|at| at ^ seed).collect());
            for (at, (eligible, lot, weight, load, latency, success)) in members.into_iter().enumerate() {
                // From nobody to half of them.
                pool.bits.set(at, eligible && lot < density * 2 || density == 5);
                pool.weights[at] = weight;
                *pool.active[at].get_mut() = load;
                *pool.total[at].get_mut() = load.into();
                pool.latency[at] = if load == 3 { 0 } else { latency };
                pool.success[at] = success;
            }
            (pool, excluded)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn only_the_eligible_and_untried_are_picked_and_always_one_while_there_is_one(
        (pool, excluded) in pools(),
        seed in any::<u64>(),
        key in proptest::option::of(any::<u64>()),
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let left = (0..pool.len()).any(|at| pool.is_eligible(at) && !excluded.contains(&at));
        for strategy in Strategy::ALL {
            let selector = Selector::new(strategy, &pool);
            for _ in 0..20 {
                let picked = selector.pick(&pool, Pick { key, excluded: &excluded }, &mut rng);
                prop_assert_eq!(picked.is_some(), left, "{}", strategy);
                if let Some(at) = picked {
                    prop_assert!(pool.is_eligible(at) && !excluded.contains(&at), "{} picked {}", strategy, at);
                }
            }
        }
    }

    #[test]
    fn retries_go_through_all_members_and_then_end(len in 1usize..20, seed in any::<u64>(), key in any::<u64>()) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let pool = Pool::of(len);
        for strategy in Strategy::ALL {
            let selector = Selector::new(strategy, &pool);
            let mut tried = Vec::new();
            while let Some(at) = selector.pick(&pool, Pick { key: Some(key), excluded: &tried }, &mut rng) {
                tried.push(at);
                prop_assert!(tried.len() <= len);
            }
            tried.sort_unstable();
            prop_assert_eq!(&tried, &(0..len).collect::<Vec<_>>(), "{}", strategy);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_picks((pool, excluded) in pools(), seed in any::<u64>()) {
        for strategy in Strategy::ALL {
            let picks = || {
                let mut rng = SmallRng::seed_from_u64(seed);
                let selector = Selector::new(strategy, &pool);
                (0..10).map(|key| {
                    selector.pick(&pool, Pick { key: Some(key), excluded: &excluded }, &mut rng)
                }).collect::<Vec<_>>()
            };
            prop_assert_eq!(picks(), picks(), "{}", strategy);
        }
    }
}
