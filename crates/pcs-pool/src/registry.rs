//! All pools at one moment, and which way a request goes.

use std::collections::HashMap;
use std::sync::Arc;

use pcs_models::{
    AuthScheme, Blame, ChainError, ChainSpec, FailureKind, Hop, HopName, PoolName, Retry, Traffic,
};
use pcs_tunnel::{ConnectRequest, DialError, Via};

use crate::lane::Lane;
use crate::pool::Pool;
use crate::route::RouteTable;
use crate::{MemberSpec, Mode, RetrySettings, RouteAction, TunnelSettings};

/// Pools sorted by name, routes, and what holds for all of them. Replaced as a whole by a reload.
pub(crate) struct Registry {
    pub(crate) pools: HashMap<PoolName, Arc<Pool>>,
    pub(crate) routes: RouteTable,
    pub(crate) retry: RetrySettings,
    pub(crate) tunnel: TunnelSettings,
    pub(crate) mode: Mode,
    /// The one chain without hops in the process: for `via: direct` and plain mode.
    pub(crate) direct: Way,
    pub(crate) corporate: Option<Way>,
}

/// A way without a rotating proxy.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) lane: Arc<Lane>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) via: Via,
}

/// Where a request goes.
pub(crate) enum Steered {
    Pool(Arc<Pool>),
    Fixed(Way),
}

impl Registry {
    /// The way of a request: a rejecting route first, then what the client asked for, then the route, then the
    /// default. Whatever is named but not there fails; nothing falls through to a shorter chain.
    pub(crate) fn steer(&self, request: &ConnectRequest) -> Result<Steered, DialError> {
        let action = self.routes.action(&request.target);
        if action == Some(&RouteAction::Reject) {
            return Err(refusal(FailureKind::Denied, "a route rejects this target"));
        }
        if let Some(name) = &request.pool {
            let unknown = || refusal(FailureKind::UnknownPool, "there is no pool of this name");
            return self
                .pools
                .get(name)
                .cloned()
                .map(Steered::Pool)
                .ok_or_else(unknown);
        }
        match action {
            Some(RouteAction::Pool(name)) => {
                let gone = || exhausted("the pool of this route is gone");
                self.pools.get(name).cloned().map(Steered::Pool).ok_or_else(gone)
            }
            Some(RouteAction::Direct) => Ok(Steered::Fixed(self.direct.clone())),
            Some(RouteAction::Corporate) => {
                let none = || exhausted("the route asks for the corporate proxy, but there is none");
                self.corporate.clone().map(Steered::Fixed).ok_or_else(none)
            }
            Some(RouteAction::Reject) | None => self.unrouted(),
        }
    }

    /// Where a request goes that nothing steers.
    fn unrouted(&self) -> Result<Steered, DialError> {
        if let Some(pool) = self.pools.get(PoolName::DEFAULT) {
            return Ok(Steered::Pool(Arc::clone(pool)));
        }
        match (&self.corporate, self.mode) {
            _ if !self.pools.is_empty() => Err(exhausted(
                "no route matches this target, and there is no pool `default`",
            )),
            (Some(corporate), _) => Ok(Steered::Fixed(corporate.clone())),
            (None, Mode::Plain) => Ok(Steered::Fixed(self.direct.clone())),
            (None, Mode::Chain) => Err(exhausted("no proxy is configured")),
        }
    }

    /// The pool a pool falls back on.
    pub(crate) fn fallback(&self, pool: &Pool) -> Option<&Arc<Pool>> {
        let name = pool.snapshot().shape().fallback.clone()?;
        self.pools.get(&name)
    }
}

/// The chain through a member: the corporate proxy first, where there is one.
pub(crate) fn member_chain(corporate: Option<&Hop>, spec: &MemberSpec) -> Result<ChainSpec, ChainError> {
    let corporate = corporate.map(|hop| hop.clone().named(HopName::corporate()));
    let mut member = spec.hop.clone().named(HopName::from(&spec.id));
    if member.auth == AuthScheme::Auto && member.domain.is_none() {
        // Rotating proxies speak Basic, and being asked for it first would cost each dial a round trip.
        member.auth = AuthScheme::Basic;
    }
    ChainSpec::try_new(corporate.into_iter().chain([member]).collect())
}

/// The chain of the corporate proxy alone.
pub(crate) fn corporate_chain(corporate: &Hop) -> ChainSpec {
    let hop = corporate.clone().named(HopName::corporate());
    ChainSpec::try_new(vec![hop]).expect("one hop is a chain")
}

fn refusal(kind: FailureKind, message: &str) -> DialError {
    DialError::new(kind, Blame::Client, Retry::Never, message)
}

pub(crate) fn exhausted(message: &str) -> DialError {
    DialError::new(FailureKind::Exhausted, Blame::Local, Retry::Never, message)
}
