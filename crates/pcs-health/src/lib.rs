//! Whether a proxy can be believed in: breaker, thresholds, moving averages, and the checks that feed them.
//!
//! What for: [`breaker`] gives a failing member a rest on the evidence of traffic alone; [`flip`] turns single
//! results into a verdict with hysteresis; [`ewma`] keeps latency and success as one number each; [`checker`]
//! tests members through their own chain on a schedule and doubts a mass failure before it believes it.
//!
//! What not: no knowledge of pools, strategies or configuration. Members are named by [`pcs_models::ProxyId`];
//! results go out through a port. All but [`checker`] and its [`ChainProbe`] is pure: time comes in as an argument.
//!
//! Start with [`breaker::Breaker`]:
//!
//! ```
//! use pcs_health::breaker::{Breaker, Outcome, Settings, State};
//! use std::time::{Duration, Instant};
//!
//! # #[allow(clippy::disallowed_methods, reason = "an example is an edge")]
//! # let now = Instant::now();
//! let settings = Settings { failure_threshold: 1, ..Settings::default() };
//! let breaker = Breaker::new(now);
//! let admitted = breaker.admit(&settings, now).expect("closed");
//! let moved = breaker.record(admitted.permit, Outcome::Failure, &settings, now).expect("opens");
//! assert_eq!(moved.to, State::Open);
//! assert!(!breaker.is_admissible(now + Duration::from_secs(29)));
//! assert!(breaker.is_admissible(now + Duration::from_secs(30)));
//! ```

pub mod breaker;
pub mod checker;
pub mod ewma;
pub mod flip;
mod probe;

pub use probe::{ChainProbe, Way};
