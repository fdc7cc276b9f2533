//! The load: one epoll loop, as cheap as the hop, so that the proxy in between is what is measured.

pub(crate) mod relay;
pub(crate) mod requests;
pub(crate) mod tunnels;

use std::time::Duration;

use super::hop::CREDENTIALS;

/// After so long without any progress a job gives up; what is missing counts as failed.
const STALL: Duration = Duration::from_secs(10);

/// The answer to a job of many equal operations.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Outcome {
    fn new(mut latencies: Vec<Duration>, total: usize, took: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            done: latencies.len(),
            failed: total.saturating_sub(latencies.len()),
            seconds: took.as_secs_f64(),
            p50_us: quantile(&latencies, 50),
            p99_us: quantile(&latencies, 99),
        }
    }

    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.seconds.max(1e-9)
    }
}

/// The latency, in microseconds, that so many of a hundred do not exceed.
fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
}

/// Whether the client itself sends the hop's credentials: for proxies that add none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credentials {
    Sent,
    LeftToProxy,
}

impl Credentials {
    fn header(self) -> String {
        match self {
            Self::Sent => format!("Proxy-Authorization: Basic {CREDENTIALS}\r\n"),
            Self::LeftToProxy => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stay_inside() {
        let millis: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert!((quantile(&millis, 50) - 101_000.0).abs() < 1.0);
        assert!((quantile(&millis, 99) - 199_000.0).abs() < 1.0);
        assert!(quantile(&[], 99).abs() < f64::EPSILON);
        assert_eq!(Outcome::new(millis, 210, Duration::from_secs(1)).failed, 10);
    }
}
