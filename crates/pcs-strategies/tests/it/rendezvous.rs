//! Keys and the members they belong to.

use std::collections::HashMap;

use pcs_strategies::{Members, Rendezvous, stable_hash};
use proptest::prelude::*;

use crate::pool::Pool;

const KEYS: u64 = 400;

/// The id each key belongs to.
fn owners(pool: &Pool) -> Vec<Option<u64>> {
    let table = Rendezvous::new(pool);
    (0..KEYS)
        .map(|key| {
            table
                .pick(pool, stable_hash(&key.to_le_bytes()), &[])
                .map(|at| pool.ids[at])
        })
        .collect()
}

fn ids() -> impl Strategy<Value = Vec<u64>> {
    let size = prop_oneof![1usize..4, 1usize..60, 200usize..1500];
    size.prop_flat_map(|size| proptest::collection::hash_set(any::<u64>(), size).prop_map(Vec::from_iter))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_member_that_goes_takes_only_its_own_keys_along(ids in ids(), gone in any::<prop::sample::Index>()) {
        let gone = ids[gone.index(ids.len())];
        let before = owners(&Pool::with_ids(ids.clone()));
        let without = Pool::with_ids(ids.iter().copied().filter(|id| *id != gone).collect());
        for (before, after) in before.iter().zip(owners(&without)) {
            if *before != Some(gone) {
                prop_assert_eq!(*before, after);
            }
        }
        // Whether it left the list or is only not eligible makes no difference.
        let resting = Pool::with_ids(ids.clone()).only(|at| ids[at] != gone);
        prop_assert_eq!(owners(&resting), owners(&without));
    }

    #[test]
    fn instances_agree_in_whatever_order_they_list_the_members(ids in ids(), turn in any::<prop::sample::Index>()) {
        let mut turned = ids.clone();
        turned.rotate_left(turn.index(ids.len()));
        turned.reverse();
        prop_assert_eq!(owners(&Pool::with_ids(ids)), owners(&Pool::with_ids(turned)));
    }

    #[test]
    fn how_many_are_out_does_not_change_whom_a_key_finds(ids in ids(), one_in in 1usize..200) {
        // Few of many are found by scoring, many by walking: a table of the few alone must agree with both.
        let few: Vec<u64> = ids.iter().copied().step_by(one_in).collect();
        let resting = Pool::with_ids(ids).only(|at| at % one_in == 0);
        prop_assert_eq!(owners(&resting), owners(&Pool::with_ids(few)));
    }

    #[test]
    fn the_list_of_a_key_is_walked_down_by_excluding(ids in ids(), key in any::<u64>()) {
        let pool = Pool::with_ids(ids);
        let table = Rendezvous::new(&pool);
        let mut tried = Vec::new();
        for _ in 0..pool.len().min(5) {
            let next = table.pick(&pool, key, &tried).unwrap();
            // Excluded or not eligible comes to the same.
            let rest = Pool::with_ids(pool.ids.clone()).only(|at| !tried.contains(&at));
            prop_assert_eq!(table.pick(&rest, key, &[]), Some(next));
            tried.push(next);
        }
    }
}

#[test]
fn the_keys_of_a_member_that_goes_spread_over_many() {
    let pool = Pool::of(50);
    let table = Rendezvous::new(&pool);
    let mut heirs: HashMap<usize, u32> = HashMap::new();
    for key in (0..50_000u64).map(|key| stable_hash(&key.to_le_bytes())) {
        if table.pick(&pool, key, &[]) == Some(7) {
            *heirs.entry(table.pick(&pool, key, &[7]).unwrap()).or_default() += 1;
        }
    }
    assert!(heirs.len() >= 45, "{} heirs", heirs.len());
    let (most, all) = (heirs.values().max().unwrap(), heirs.values().sum::<u32>());
    assert!(most * 10 < all, "one heir got {most} of {all}");
}

#[test]
fn answers_never_change_between_versions() {
    let pool = Pool::of(10);
    let ids: Vec<u64> = owners(&pool).into_iter().take(8).flatten().collect();
    assert_eq!(ids, [3, 2, 3, 4, 2, 6, 6, 4], "a change would move sessions");
}

#[test]
fn nobody_is_found_where_nobody_is() {
    let empty = Pool::of(0);
    assert_eq!(Rendezvous::new(&empty).pick(&empty, 1, &[]), None);
    let resting = Pool::of(3).only(|_| false);
    assert_eq!(Rendezvous::new(&resting).pick(&resting, 1, &[]), None);
}
