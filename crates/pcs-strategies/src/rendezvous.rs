//! The member that a key belongs to, on every instance alike.

use crate::Members;
use crate::candidates::Candidates;
use crate::hash::mix;

/// Tickets a key holds. The most loaded member gets about 5 % above the mean with 21 (Appleton, O'Reilly,
/// "Multi-probe consistent hashing", 2015).
const PROBES: usize = 21;
/// Added to a key for each further probe: the golden ratio of 2⁶⁴, as in `SplitMix64`.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Rendezvous hashing (highest random weight) in less than linear time.
///
/// Each member stands on one point of a circle, by its id; each key throws 21 probes on it. A member's score for a
/// key is its nearness to the closest probe before it, and the best score among the eligible wins. As in every
/// rendezvous hash, a member's score depends on nothing but itself and the key, therefore
///
/// - instances with the same eligible members agree, in whatever order they list them;
/// - a member that goes takes only its own keys along, and they spread over all others;
/// - a member that comes takes only keys that become its own.
///
/// Unlike with hashed scores, the best is found by walking from each probe to the next eligible point instead of
/// scoring all members. Weights play no part.
#[derive(Debug)]
pub struct Rendezvous {
    /// Points in ascending order.
    points: Box<[u64]>,
    /// Whose they are.
    owners: Box<[u32]>,
    /// For each value of a point's top bits, the first point that is not below it.
    starts: Box<[u32]>,
    shift: u32,
}

impl Rendezvous {
    /// Puts the members on the circle.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "no pool has 2³² members")]
    pub fn new(members: &(impl Members + ?Sized)) -> Self {
        let mut placed: Vec<(u64, u32)> = (0..members.len())
            .map(|at| (mix(members.id_hash(at)), at as u32))
            .collect();
        placed.sort_unstable();
        let buckets = placed.len().next_power_of_two().max(2);
        let shift = 64 - buckets.ilog2();
        let mut starts = Vec::with_capacity(buckets);
        let mut next = 0;
        for bucket in 0..buckets as u64 {
            while placed.get(next).is_some_and(|(point, _)| point >> shift < bucket) {
                next += 1;
            }
            starts.push(next as u32);
        }
        let (points, owners): (Vec<u64>, Vec<u32>) = placed.into_iter().unzip();
        Self {
            points: points.into(),
            owners: owners.into(),
            starts: starts.into(),
            shift,
        }
    }

    /// The eligible member that `key` belongs to, without those in `excluded`: called again with the winner
    /// excluded, it walks down the key's list.
    ///
    /// `members` are those of [`Rendezvous::new`].
    #[must_use]
    pub fn pick(&self, members: &(impl Members + ?Sized), key: u64, excluded: &[usize]) -> Option<usize> {
        let eligible = members.eligible_count();
        if eligible == 0 || self.points.is_empty() {
            return None;
        }
        let candidates = Candidates::new(members, excluded);
        let mut probes = [0; PROBES];
        let mut state = mix(key);
        probes.fill_with(|| {
            state = state.wrapping_add(STEP);
            mix(state)
        });
        // Where few are left, walks grow long and scoring all is cheaper. Both find the same member.
        if eligible * eligible <= self.points.len() {
            score_all(&candidates, &probes)
        } else {
            self.walk(&candidates, &probes)
        }
    }

    fn walk<M: Members + ?Sized>(&self, candidates: &Candidates<'_, M>, probes: &[u64]) -> Option<usize> {
        let mut starts = [0; PROBES];
        // In loops of their own, so that the reads for all probes wait for memory together.
        for (start, probe) in starts.iter_mut().zip(probes) {
            *start = self.bucket(*probe);
        }
        for (start, probe) in starts.iter_mut().zip(probes) {
            while self.points.get(*start).is_some_and(|point| *point < *probe) {
                *start += 1;
            }
        }
        let mut best = (u64::MAX, None);
        for (start, probe) in starts.into_iter().zip(probes) {
            let around = (start..self.points.len()).chain(0..start);
            for at in around {
                let distance = self.points[at].wrapping_sub(*probe);
                if distance >= best.0 {
                    break;
                }
                let owner = self.owners[at] as usize;
                if candidates.contains(owner) {
                    best = (distance, Some(owner));
                    break;
                }
            }
        }
        best.1
    }

    /// The first point whose top bits are not below those of `probe`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer than 2³² top-bit values"
    )]
    fn bucket(&self, probe: u64) -> usize {
        self.starts
            .get((probe >> self.shift) as usize)
            .map_or(0, |start| *start as usize)
    }
}

fn score_all<M: Members + ?Sized>(candidates: &Candidates<'_, M>, probes: &[u64]) -> Option<usize> {
    candidates.iter().min_by_key(|at| {
        let point = mix(candidates.members.id_hash(*at));
        probes.iter().map(|probe| point.wrapping_sub(*probe)).min()
    })
}
