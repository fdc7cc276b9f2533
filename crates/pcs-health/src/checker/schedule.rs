//! When the next check of a member is due: pure.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::flip::{Flip, Health};

/// Two new members are at least this far apart, until an interval is full.
pub(super) const SPREAD: Duration = Duration::from_millis(10);
/// No member is checked more often than this, however short the interval.
const SHORTEST: Duration = Duration::from_millis(20);

/// Successful checks in a row after which the interval is stretched once, and once more.
const STABLE: u32 = 5;
const VERY_STABLE: u32 = 10;

/// The time to the next check, before jitter.
///
/// `steady` counts the successful checks in a row; `open` says that failures wait to count.
pub(super) fn delay(interval: Duration, flip: &Flip, steady: u32, open: bool) -> Duration {
    let in_doubt = match flip.health() {
        Health::Unknown | Health::Healthy => open || flip.consecutive_failures() > 0,
        Health::Unhealthy => flip.consecutive_successes() > 0,
    };
    let delay = match steady {
        _ if in_doubt => interval / 4,
        VERY_STABLE.. => interval * 2,
        STABLE.. => interval + interval / 2,
        _ => interval,
    };
    delay.max(SHORTEST)
}

/// The same, give or take a tenth, so that members fall out of step.
pub(super) fn jittered(delay: Duration, rng: &mut impl Rng) -> Duration {
    delay.mul_f64(rng.random_range(0.9..1.1))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::flip::Thresholds;

    #[track_caller]
    fn check(results: &str, steady: u32, open: bool, quarters: u32) {
        let mut flip = Flip::new();
        for result in results.chars() {
            _ = if result == '+' {
                flip.succeed(Thresholds::default())
            } else {
                flip.fail(Thresholds::default())
            };
        }
        let minute = Duration::from_secs(60);
        assert_eq!(
            delay(minute, &flip, steady, open),
            minute / 4 * quarters,
            "{results} {steady} {open}"
        );
    }

    #[test]
    fn intervals_stretch_for_the_stable_and_shrink_in_doubt() {
        check("", 0, false, 4);
        check("+", 4, false, 4);
        check("+", 5, false, 6);
        check("+", 10, false, 8);
        check("+", u32::MAX, false, 8);
        check("+-", 0, false, 1);
        check("+", 0, true, 1);
        check("---", 0, false, 4);
        check("---+", 1, false, 1);
        check("---++", 2, false, 4);
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let mut rng = SmallRng::seed_from_u64(3);
        for _ in 0..1000 {
            let delay = jittered(Duration::from_secs(100), &mut rng);
            assert!((90..=110).contains(&delay.as_secs()), "{delay:?}");
        }
    }
}
