//! Pools through which nothing goes.

use std::sync::Arc;

use pcs_models::{Blame, FailureKind, Hop, PoolName, Protocol, ProxyId, Retry};
use pcs_pool::{MemberSpec, NoEvents, Overlay, PoolSettings, Pools, Settings};
use pcs_tunnel::{BoxFuture, Dial, DialError, DialRequest, Dialed, PreparedChain, WarmStream};

struct Still;

fn still<T>() -> Result<T, DialError> {
    Err(DialError::new(
        FailureKind::Local,
        Blame::Local,
        Retry::Never,
        "nothing is dialled here",
    ))
}

impl Dial for Still {
    fn dial<'a>(
        &'a self,
        _: &'a PreparedChain,
        _: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(async { still() })
    }

    fn warm<'a>(
        &'a self,
        _: &'a PreparedChain,
        _: tokio::time::Instant,
    ) -> BoxFuture<'a, Result<WarmStream, DialError>> {
        Box::pin(async { still() })
    }

    fn finish<'a>(
        &'a self,
        _: WarmStream,
        _: &'a PreparedChain,
        _: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(async { still() })
    }
}

/// A pool of members with these ids, and one without any.
pub(crate) fn pools(ids: &[&str]) -> Pools {
    let member = |id: &&str| {
        let hop = Hop::new(Protocol::Http, "proxy.example:3128".parse().expect("an endpoint"));
        MemberSpec::new(ProxyId::try_new(id).expect("an id"), hop)
    };
    let members = ids.iter().map(member).collect();
    let settings = Settings {
        pools: vec![
            PoolSettings::new(PoolName::default(), members),
            PoolSettings::new(PoolName::try_new("extra").expect("a name"), Vec::new()),
        ],
        ..Settings::default()
    };
    Pools::new(settings, Overlay::default(), Arc::new(Still), Arc::new(NoEvents)).expect("settings that fit")
}
