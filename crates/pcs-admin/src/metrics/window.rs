//! Quantiles of the last minute, made of atomics.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SLOTS: usize = 7;
const SLOT_SECONDS: u64 = 10;
/// Eight steps for each doubling, from 1 µs to over an hour: within 9 % of the truth.
const STEPS: usize = 8 * 32;

/// The last minute's durations, in slots of ten seconds of which the oldest is being forgotten.
pub(super) struct Window {
    slots: [Slot; SLOTS],
}

struct Slot {
    /// Which ten seconds since the start, plus one; 0 is none.
    epoch: AtomicU64,
    counts: Box<[AtomicU32]>,
}

impl Default for Window {
    fn default() -> Self {
        let slot = |_| Slot {
            epoch: AtomicU64::new(0),
            counts: (0..STEPS).map(|_| AtomicU32::new(0)).collect(),
        };
        Self {
            slots: std::array::from_fn(slot),
        }
    }
}

impl Window {
    /// Records a duration at `age` since the start. A slot is emptied by whoever is the first to come to it anew;
    /// what others record in that moment may be lost, which a quantile does not notice.
    pub(super) fn record(&self, took: Duration, age: Duration) {
        let epoch = age.as_secs() / SLOT_SECONDS + 1;
        let at = usize::try_from(epoch).unwrap_or(0) % SLOTS;
        let Some(slot) = self.slots.get(at) else { return };
        let seen = slot.epoch.load(Relaxed);
        if seen != epoch && slot.epoch.compare_exchange(seen, epoch, Relaxed, Relaxed).is_ok() {
            slot.counts.iter().for_each(|count| count.store(0, Relaxed));
        }
        if let Some(count) = slot.counts.get(step(took)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The counts of the last sixty seconds, by step.
    fn counts(&self, age: Duration) -> Vec<u64> {
        let now = age.as_secs() / SLOT_SECONDS + 1;
        let mut sums = vec![0_u64; STEPS];
        let recent = |slot: &&Slot| {
            let epoch = slot.epoch.load(Relaxed);
            epoch != 0 && epoch <= now && now - epoch < SLOTS as u64 - 1
        };
        for slot in self.slots.iter().filter(recent) {
            for (sum, count) in sums.iter_mut().zip(&slot.counts) {
                *sum += u64::from(count.load(Relaxed));
            }
        }
        sums
    }

    /// The quantiles in seconds; `NaN` where nothing was recorded.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn quantiles<const N: usize>(&self, wanted: [f64; N], age: Duration) -> [f64; N] {
        let counts = self.counts(age);
        let total: u64 = counts.iter().sum();
        wanted.map(|quantile| {
            if total == 0 {
                return f64::NAN;
            }
            let rank = (quantile * total as f64).ceil().max(1.0);
            let mut below = 0_u64;
            for (at, count) in counts.iter().enumerate() {
                below += count;
                if below as f64 >= rank {
                    return value(at);
                }
            }
            value(STEPS - 1)
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn rate(&self, age: Duration) -> f64 {
        let total: u64 = self.counts(age).iter().sum();
        let into = Duration::from_secs(age.as_secs() % SLOT_SECONDS)
            + Duration::from_secs(SLOT_SECONDS * (SLOTS as u64 - 2));
        total as f64 / age.min(into).as_secs_f64().max(1.0)
    }
}

/// The step of a duration: logarithmic, eight to a doubling.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the table"
)]
fn step(took: Duration) -> usize {
    let micros = (took.as_secs_f64() * 1e6).max(1.0);
    ((micros.log2() * 8.0) as usize).min(STEPS - 1)
}

/// The middle of a step, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a table index")]
fn value(step: usize) -> f64 {
    ((step as f64 + 0.5) / 8.0).exp2() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_nine_percent_and_forget_after_a_minute() {
        let window = Window::default();
        for n in 1..=1000_u64 {
            window.record(Duration::from_micros(n * 100), Duration::from_secs(5));
        }
        let [half, most] = window.quantiles([0.5, 0.99], Duration::from_secs(6));
        assert!((half / 0.05 - 1.0).abs() < 0.09, "{half}");
        assert!((most / 0.099 - 1.0).abs() < 0.09, "{most}");
        assert!(window.quantiles([0.5], Duration::from_secs(80))[0].is_nan());
        window.record(Duration::from_millis(1), Duration::from_secs(75));
        let [after] = window.quantiles([0.5], Duration::from_secs(76));
        assert!(
            (after / 0.001 - 1.0).abs() < 0.09,
            "the slot was emptied: {after}"
        );
    }
}
