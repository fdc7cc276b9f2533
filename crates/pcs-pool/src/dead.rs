//! Targets that members agreed on to be dead: what met their end says nothing about the member it went through.
//!
//! A request that failed through one member and then went well through the next charges the first, unless its target
//! came back in between: many requests are under way when that happens.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;
use pcs_models::Target;
use tokio::time::Instant;

/// Targets remembered at once; the one that was heard of least recently goes first.
const CAPACITY: usize = 64;

/// The targets last agreed on, for one pool.
#[derive(Debug, Default)]
pub(crate) struct DeadTargets(Mutex<VecDeque<Dead>>);

#[derive(Debug)]
struct Dead {
    /// The hash of the target: names of targets are not kept.
    target: u64,
    /// When a request first went well where another member had failed it; `None` while it is held dead.
    back: Option<Instant>,
}

impl DeadTargets {
    /// Two members agreed that this target is at fault.
    pub(crate) fn note(&self, target: &Target) {
        let target = hash(target);
        let mut held = self.0.lock();
        held.retain(|dead| dead.target != target);
        if held.len() == CAPACITY {
            held.pop_front();
        }
        held.push_back(Dead { target, back: None });
    }

    /// A request for this target went well, after a failure of an attempt that `began` then. Says whether that failure
    /// is the target's.
    pub(crate) fn explain(&self, target: &Target, began: Instant, now: Instant) -> bool {
        let target = hash(target);
        let mut held = self.0.lock();
        let dead = held.iter_mut().find(|dead| dead.target == target);
        dead.is_some_and(|dead| began <= *dead.back.get_or_insert(now))
    }
}

fn hash(target: &Target) -> u64 {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(port: u16) -> Target {
        format!("t:{port}").parse().unwrap()
    }

    #[test]
    fn what_began_before_a_dead_target_was_back_is_explained_and_nothing_else() {
        let (targets, start) = (DeadTargets::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(
            !targets.explain(&target(1), at(0), at(1)),
            "nobody called it dead"
        );
        targets.note(&target(1));
        assert!(!targets.explain(&target(2), at(0), at(1)), "another one");
        assert!(targets.explain(&target(1), at(5), at(10)));
        assert!(targets.explain(&target(1), at(9), at(20)));
        assert!(
            !targets.explain(&target(1), at(11), at(20)),
            "it was back by then"
        );
        targets.note(&target(1));
        assert!(targets.explain(&target(1), at(15), at(30)), "dead once more");
    }

    #[test]
    fn the_least_recent_goes_when_there_are_too_many() {
        let (targets, now) = (DeadTargets::default(), Instant::now());
        for port in 1..=70 {
            targets.note(&target(port));
            targets.note(&target(1));
        }
        assert_eq!(targets.0.lock().len(), CAPACITY);
        assert!(targets.explain(&target(1), now, now));
        assert!(!targets.explain(&target(2), now, now));
        assert!(targets.explain(&target(70), now, now));
    }
}
