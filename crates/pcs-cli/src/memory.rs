//! Giving memory back after a burst, and after much traffic.
//!
//! The C library keeps what is freed for later. After thousands of tunnels at once that is most of what the process
//! holds, after a million one by one it is a little, and nothing of it comes back by itself. So once the tide has gone
//! out, the library is asked to return it.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::core::Core;

/// How often the tide is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Connections at once that make a burst: fewer leave nothing worth a call.
const BURST: usize = 256;
/// Requests after which the heap has holes, however few there were at once.
const MUCH: u64 = 50_000;

/// High water of the connections, and the requests, since memory was last given back.
#[derive(Debug, Default)]
struct Tide {
    high: usize,
    served: u64,
}

impl Tide {
    /// Takes the connections of now and the requests so far; says whether there is something to give back, and a lull
    /// to do it in.
    fn has_gone_out(&mut self, now: usize, served: u64) -> bool {
        self.high = self.high.max(now);
        let worth = self.high >= BURST || served.saturating_sub(self.served) >= MUCH;
        let over = worth && now <= self.high / 4;
        if over {
            (self.high, self.served) = (now, served);
        }
        over
    }
}

/// Gives memory back in each lull after a burst or much traffic, for ever.
pub(crate) async fn watch(core: &Core) {
    let mut tide = Tide::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (succeeded, failed) = core.metrics.totals();
        if tide.has_gone_out(core.shared.active_connections(), succeeded + failed) {
            // It takes milliseconds and a lock of the allocator at a time: not on a thread that others wait for.
            let done = tokio::task::spawn_blocking(give_back).await;
            tracing::debug!(event = "memory_given_back", ok = done.is_ok());
        }
    }
}

/// Asks the allocator to return the pages that hold nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "the C library's own call, and the one place that makes it"
)]
fn give_back() {
    // SAFETY: `malloc_trim` takes no pointer, may be called by any thread at any time (it locks each arena itself), and
    // touches only pages that hold no live block.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_burst_counts_and_each_once() {
        let mut tide = Tide::default();
        let over: Vec<bool> = [0, 255, 3, 256, 65, 64, 64, 0, 5000, 1251, 1250, 0, 300, 10]
            .into_iter()
            .map(|now| tide.has_gone_out(now, 0))
            .collect();
        let expected = [
            false, false, false, false, false, true, false, false, false, false, true, true, false, true,
        ];
        assert_eq!(over, expected);
    }

    #[test]
    fn much_traffic_counts_in_its_first_lull() {
        let mut tide = Tide::default();
        let over: Vec<bool> = [
            (32, 49_999),
            (8, 49_999),
            (9, 50_000),
            (8, 50_000),
            (0, 60_000),
            (0, 100_000),
        ]
        .into_iter()
        .map(|(now, served)| tide.has_gone_out(now, served))
        .collect();
        assert_eq!(over, [false, false, false, true, false, true]);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn freed_pages_go_back_and_what_lives_is_untouched() {
        let resident = || {
            let text = std::fs::read_to_string("/proc/self/statm").unwrap();
            let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
            pages * 4096
        };
        // Every hundredth block lives on, so that the heap cannot simply shrink.
        let mark = |number: usize| number.to_le_bytes()[0];
        let blocks: Vec<Vec<u8>> = (0..64_000).map(|number| vec![mark(number); 1000]).collect();
        let kept: Vec<Vec<u8>> = blocks.into_iter().step_by(100).collect();
        let before = resident();
        give_back();
        let after = resident();
        assert!(after + (16 << 20) < before, "{before} to {after}");
        for (at, block) in kept.iter().enumerate() {
            assert!(block.iter().all(|byte| *byte == mark(at * 100)), "{at}");
        }
    }
}
