//! Moving averages that any thread may feed: latency, success, and latency that remembers peaks.
//!
//! All are one atomic word, updated by compare-and-swap. Accesses are relaxed: each word stands for itself.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A duration in whole microseconds: at least 1, since 0 means unknown, at most 2³² − 1 (71 minutes).
fn micros(sample: Duration) -> u32 {
    u32::try_from(sample.as_micros()).unwrap_or(u32::MAX).max(1)
}

/// Latency in microseconds: each sample counts for an eighth.
#[derive(Debug, Default)]
pub struct Latency(AtomicU32);

impl Latency {
    /// Adds a sample. The first is taken as it is.
    pub fn observe(&self, sample: Duration) {
        let sample = micros(sample);
        let next = |average: u32| match average {
            0 => sample,
            // Rounded towards the sample, so that the average reaches it.
            _ if sample > average => average + (sample - average).div_ceil(8),
            _ => average - (average - sample).div_ceil(8),
        };
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The average in microseconds; 0 while unknown.
    #[must_use]
    pub fn micros(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// The average; `None` while unknown.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        Some(self.micros())
            .filter(|micros| *micros != 0)
            .map(|micros| Duration::from_micros(micros.into()))
    }
}

/// The ratio of successes: each result counts for a sixteenth. 1 until something is known.
#[derive(Debug)]
pub struct Success(AtomicU32);

impl Success {
    const ONE: u32 = 1 << 24;

    /// Adds a result.
    pub fn observe(&self, success: bool) {
        let next = |ratio: u32| {
            if success {
                ratio + (Self::ONE - ratio).div_ceil(16)
            } else {
                ratio - ratio.div_ceil(16)
            }
        };
        // A long row of successes stores nothing, so the cache line stays shared.
        if !(success && self.0.load(Ordering::Relaxed) == Self::ONE) {
            self.0.update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
    }

    /// The ratio in thousandths.
    #[must_use]
    pub fn permille(&self) -> u16 {
        let ratio = u64::from(self.0.load(Ordering::Relaxed));
        u16::try_from(ratio * 1000 / u64::from(Self::ONE)).unwrap_or(1000)
    }
}

impl Default for Success {
    fn default() -> Self {
        Self(AtomicU32::new(Self::ONE))
    }
}

/// Latency that jumps to a peak at once and comes down with time, not with samples (Finagle's `peakEwma`).
///
/// A slow answer is believed at once; how fast it is forgotten depends on the clock alone, so a member that is not
/// picked because of it gets another chance. After more than 76 hours without a sample the time since then is
/// taken modulo those 76 hours.
#[derive(Debug)]
pub struct PeakLatency {
    epoch: Instant,
    /// Microseconds above, the time of the last sample in [`PeakLatency::TICK`]s below.
    word: AtomicU64,
}

impl PeakLatency {
    /// What is left of a peak after this time: 1 ÷ e.
    pub const DECAY: Duration = Duration::from_secs(10);
    const TICK: Duration = Duration::from_micros(64);

    /// Nothing is known yet. `now` is no later than any time it will be told.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            word: AtomicU64::new(0),
        }
    }

    /// Adds a sample: a higher one replaces the value, a lower one draws it down by the time that has passed.
    pub fn observe(&self, sample: Duration, now: Instant) {
        let (sample, tick) = (micros(sample), self.tick(now));
        let next = |word: u64| {
            let (value, last) = unpack(word);
            let value = if sample >= value {
                sample
            } else {
                let left = decay(tick.wrapping_sub(last));
                to_micros(f64::from(sample) + f64::from(value - sample) * left)
            };
            u64::from(value.max(1)) << 32 | u64::from(tick)
        };
        self.word.update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The value in microseconds after what time took off it; 0 while unknown, never 0 once known.
    #[must_use]
    pub fn micros(&self, now: Instant) -> u32 {
        let (value, last) = unpack(self.word.load(Ordering::Relaxed));
        match value {
            0 => 0,
            _ => to_micros(f64::from(value) * decay(self.tick(now).wrapping_sub(last))).max(1),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "ticks are counted modulo 2³²")]
    fn tick(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.epoch).as_micros() / Self::TICK.as_micros()) as u32
    }
}

/// The part of a value that is left after this many ticks.
fn decay(ticks: u32) -> f64 {
    let passed = f64::from(ticks) * PeakLatency::TICK.as_secs_f64();
    (-passed / PeakLatency::DECAY.as_secs_f64()).exp()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between two values that fit"
)]
fn to_micros(value: f64) -> u32 {
    value.round() as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves are meant")]
fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests;
