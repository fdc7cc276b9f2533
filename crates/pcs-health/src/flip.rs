//! From single results to a verdict, with hysteresis: pure.

/// How many results in a row change a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Consecutive failures until it is unhealthy; 0 counts as 1. Default 3.
    pub failures: u32,
    /// Consecutive successes until an unhealthy one is back; 0 counts as 1. Default 2.
    pub successes: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            failures: 3,
            successes: 2,
        }
    }
}

/// What is held of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// Nothing yet: it may be used.
    #[default]
    Unknown,
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

impl Health {
    /// Whether a member in this state may be picked.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Unknown | Self::Healthy)
    }
}

/// The verdict over one member, and the streak that may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flip {
    health: Health,
    failures: u32,
    successes: u32,
}

impl Flip {
    /// Nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            health: Health::Unknown,
            failures: 0,
            successes: 0,
        }
    }

    /// The verdict.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Failures in a row.
    #[must_use]
    pub const fn consecutive_failures(&self) -> u32 {
        self.failures
    }

    /// Successes in a row.
    #[must_use]
    pub const fn consecutive_successes(&self) -> u32 {
        self.successes
    }

    /// Adds a success, and says the new verdict if it changed. The first one settles an unknown member.
    pub fn succeed(&mut self, thresholds: Thresholds) -> Option<Health> {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let enough = self.health == Health::Unknown || self.successes >= thresholds.successes.max(1);
        self.turn(enough, Health::Healthy)
    }

    /// Adds a failure, and says the new verdict if it changed.
    pub fn fail(&mut self, thresholds: Thresholds) -> Option<Health> {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        self.turn(self.failures >= thresholds.failures.max(1), Health::Unhealthy)
    }

    fn turn(&mut self, enough: bool, to: Health) -> Option<Health> {
        (enough && self.health != to).then(|| {
            self.health = to;
            to
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(results: &str, expected: &str) {
        let mut flip = Flip::new();
        let mut seen = String::new();
        for result in results.chars() {
            let turned = if result == '+' {
                flip.succeed(Thresholds::default())
            } else {
                flip.fail(Thresholds::default())
            };
            seen.push(match turned {
                None => '.',
                Some(Health::Healthy) => 'H',
                Some(_) => 'U',
            });
        }
        assert_eq!(seen, expected, "{results}");
    }

    #[test]
    fn verdicts_change_after_enough_results_in_a_row() {
        check("+++", "H..");
        check("---", "..U");
        check("--+--+", "..H...");
        check("---+-++", "..U...H");
        check("+---++---", "H..U.H..U");
    }

    proptest! {
        /// The model looks at the whole history each time.
        #[test]
        fn verdicts_agree_with_the_history(
            results in proptest::collection::vec(any::<bool>(), 0..60),
            failures in 0u32..5,
            successes in 0u32..5,
        ) {
            let thresholds = Thresholds { failures, successes };
            let mut flip = Flip::new();
            let mut health = Health::Unknown;
            for end in 1..=results.len() {
                let same = results[..end].iter().rev().take_while(|ok| **ok == results[end - 1]);
                let streak = same.fold(0u32, |streak, _| streak + 1);
                let before = health;
                if results[end - 1] {
                    if health == Health::Unknown || streak >= successes.max(1) {
                        health = Health::Healthy;
                    }
                } else if streak >= failures.max(1) {
                    health = Health::Unhealthy;
                }
                let turned = if results[end - 1] { flip.succeed(thresholds) } else { flip.fail(thresholds) };
                prop_assert_eq!(turned, (before != health).then_some(health));
                prop_assert_eq!(flip.health(), health);
                prop_assert_eq!(flip.consecutive_failures().max(flip.consecutive_successes()), streak);
            }
        }
    }
}
