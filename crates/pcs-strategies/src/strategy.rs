//! The names of the strategies.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How the next member is chosen among the eligible ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// One after the other. The turns of members that are out go evenly to all others.
    #[default]
    RoundRobin,
    /// Any, with equal chances.
    Random,
    /// At random, by static weight × success ratio × speed relative to the fastest.
    Weighted,
    /// The one with the fewest attempts so far; a sample is compared above 1,024 members.
    LeastUsed,
    /// The one with the fewest tunnels and requests under way; a sample is compared above 1,024 members.
    LeastConnections,
    /// 70 % from the fastest half, 30 % from all, so that the slow ones are measured again.
    Fastest,
    /// Of two at random, the one with the lower latency × (load + 1) ÷ success ratio.
    PeakEwma,
    /// By rendezvous hash of the session id or target host. Weights play no part.
    Hash,
    /// The first that is eligible, in the order of the configuration.
    Failover,
}

impl Strategy {
    /// All of them, in the order they are documented.
    pub const ALL: [Self; 9] = [
        Self::RoundRobin,
        Self::Random,
        Self::Weighted,
        Self::LeastUsed,
        Self::LeastConnections,
        Self::Fastest,
        Self::PeakEwma,
        Self::Hash,
        Self::Failover,
    ];

    /// The name used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::Weighted => "weighted",
            Self::LeastUsed => "least_used",
            Self::LeastConnections => "least_connections",
            Self::Fastest => "fastest",
            Self::PeakEwma => "peak_ewma",
            Self::Hash => "hash",
            Self::Failover => "failover",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "unknown strategy (allowed: round_robin, random, weighted, least_used, least_connections, fastest, peak_ewma, \
     hash, failover)"
)]
pub struct UnknownStrategy;

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.as_str() == text)
            .ok_or(UnknownStrategy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_all_in_the_message() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
            assert!(
                UnknownStrategy.to_string().contains(strategy.as_str()),
                "{strategy}"
            );
        }
        assert_eq!("roundrobin".parse::<Strategy>(), Err(UnknownStrategy));
    }
}
