//! What pools tell the outside world.

use std::sync::Arc;
use std::time::Duration;

use pcs_models::{Blame, FailureKind, PoolName, ProxyId};
use pcs_tunnel::HopTiming;

use crate::{Circuit, Member};

/// One finished attempt, for histograms and counters.
#[derive(Debug)]
pub struct AttemptReport<'a> {
    /// The member tried; none for direct and corporate-only ways.
    pub member: Option<&'a Arc<Member>>,
    /// Which try of its request it was, from 1.
    pub number: usize,
    /// From the pick to the stream or the failure.
    pub elapsed: Duration,
    /// Phase times, the nearest hop first.
    pub timings: &'a [HopTiming],
    /// How it failed, if it did.
    pub failure: Option<(FailureKind, Blame)>,
}

/// The listener for changes and attempts. Called on the request path: be quick, never block.
pub trait Events: Send + Sync {
    /// A member was found healthy or unhealthy.
    fn health_changed(&self, _pool: &PoolName, _proxy: &ProxyId, _healthy: bool) {}

    /// A member's breaker moved.
    fn circuit_changed(&self, _pool: &PoolName, _proxy: &ProxyId, _from: Circuit, _to: Circuit) {}

    /// A failure was laid at a member's door: worth a health check soon.
    fn charged(&self, _member: &Arc<Member>) {}

    /// An attempt came to its end: the stream stands or the dial failed.
    fn attempted(&self, _report: &AttemptReport<'_>) {}

    /// Another attempt follows a failure of this kind.
    fn retried(&self, _reason: FailureKind) {}
}

/// An [`Events`] that nobody listens to.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl Events for NoEvents {}
