//! Bounds on clients: connections at once, requests a second.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::RateLimit;

/// Counts client connections.
#[derive(Debug, Default)]
pub(crate) struct Connections(Arc<AtomicUsize>);

/// One place among the connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Connections {
    /// A place, if fewer than `max` are taken.
    pub(crate) fn enter(&self, max: usize) -> Option<Place> {
        // Relaxed: a count, it orders nothing.
        self.0
            .fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1))
            .ok()?;
        Some(Place(Arc::clone(&self.0)))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The clock of tokio, which tests can stop.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Counts requests by client address.
pub(crate) struct RequestRate {
    limit: RateLimit,
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, TokioClock, NoOpMiddleware<Instant>>,
    checks: AtomicU64,
}

impl RequestRate {
    pub(crate) fn new(limit: RateLimit) -> Option<Self> {
        let period = Duration::try_from_secs_f64(limit.requests_per_second.recip()).ok()?;
        let quota = Quota::with_period(period)?.allow_burst(limit.burst);
        Some(Self {
            limit,
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), TokioClock),
            checks: AtomicU64::new(0),
        })
    }

    pub(crate) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Counts a request of `client`.
    ///
    /// # Errors
    ///
    /// How long it has to wait.
    pub(crate) fn check(&self, client: IpAddr) -> Result<(), Duration> {
        // Addresses that have been silent long enough to have their whole burst again are forgotten now and then:
        // the table holds no more than the active ones and some thousands.
        if self.checks.fetch_add(1, Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter
            .check_key(&subscriber(client))
            .map_err(|until| until.wait_time_from(TokioClock.now()))
    }
}

impl fmt::Debug for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRate")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What is counted as one client: one host has a whole /64 of IPv6 to itself.
fn subscriber(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Checks between two sweeps of the table.
const SWEEP_EVERY: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rate(requests_per_second: f64, burst: u32) -> RequestRate {
        RequestRate::new(RateLimit {
            requests_per_second,
            burst: NonZeroU32::new(burst).unwrap(),
        })
        .unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_gets_its_burst_and_then_its_rate() {
        let rate = rate(2.0, 3);
        let client: IpAddr = "192.0.2.1".parse().unwrap();
        assert!((0..3).all(|_| rate.check(client).is_ok()));
        assert_eq!(rate.check(client), Err(Duration::from_millis(500)));
        assert!(
            rate.check("192.0.2.2".parse().unwrap()).is_ok(),
            "others are not touched"
        );
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(rate.check(client).is_ok());
        assert!(rate.check(client).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_ipv6_client_is_its_whole_network() {
        let rate = rate(1.0, 1);
        assert!(rate.check("2001:db8::1".parse().unwrap()).is_ok());
        assert!(rate.check("2001:db8::2".parse().unwrap()).is_err());
        assert!(rate.check("2001:db8:0:1::1".parse().unwrap()).is_ok());
        assert!(rate.check("::ffff:192.0.2.1".parse().unwrap()).is_ok());
        assert!(
            rate.check("192.0.2.1".parse().unwrap()).is_err(),
            "a mapped address is the IPv4 one"
        );
    }

    #[test]
    fn places_are_given_back() {
        let connections = Connections::default();
        let place = connections.enter(1).unwrap();
        assert!(connections.enter(1).is_none());
        drop(place);
        assert_eq!(connections.count(), 0);
        assert!(connections.enter(0).is_none());
    }
}
