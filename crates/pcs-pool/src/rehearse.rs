//! Picks without an attempt behind them, for benches: what a pick costs as the pool does it.

use std::sync::Arc;

use pcs_tunnel::ConnectRequest;
use tokio::time::Instant;

use crate::inner::rng;
use crate::registry::Steered;
use crate::snapshot::{Tier, Wish};
use crate::{Member, Pools};

impl Pools {
    /// Picks for a request as its attempt would: route, snapshot, strategy or session, the breaker's permit, which
    /// is given back at once. `None` where no fit member is left beside those in `tried`.
    #[doc(hidden)]
    #[must_use]
    pub fn rehearse(&self, request: &ConnectRequest, tried: &[Arc<Member>]) -> Option<Arc<Member>> {
        let Ok(Steered::Pool(pool)) = self.inner.registry.load().steer(request) else {
            return None;
        };
        let wish = Wish {
            target: &request.target,
            session: request.session.as_ref(),
            now: Instant::now(),
        };
        let mut rng = rng();
        let picked = pool
            .pick(Tier::Calm, &wish, tried, &mut rng)
            .or_else(|| pool.pick(Tier::Fit, &wish, tried, &mut rng))?;
        Some(Arc::clone(picked.leave.member()))
    }
}
