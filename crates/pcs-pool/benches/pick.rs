//! What a pick costs as the pool does it (route, snapshot, strategy, the breaker's permit and its return), with
//! members down and members tried; what a flip of one member's health costs; what another membership costs.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use pcs_models::{Blame, FailureKind, Hop, PoolName, Protocol, ProxyId, Retry, SessionId};
use pcs_pool::{Health, Member, MemberSpec, NoEvents, Overlay, PoolSettings, Pools, Settings, Strategy};
use pcs_tunnel::{
    BoxFuture, ConnectRequest, Dial, DialError, DialRequest, Dialed, PreparedChain, WarmStream,
};
use tokio::time::Instant;

fn main() {
    divan::main();
}

/// Dials nobody: only picks are measured.
struct Nobody;

fn nobody<T: Send>() -> BoxFuture<'static, Result<T, DialError>> {
    Box::pin(async {
        Err(DialError::new(
            FailureKind::Refused,
            Blame::Target,
            Retry::Never,
            "nobody is dialled here",
        ))
    })
}

impl Dial for Nobody {
    fn dial<'a>(
        &'a self,
        _: &'a PreparedChain,
        _: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        nobody()
    }

    fn warm<'a>(&'a self, _: &'a PreparedChain, _: Instant) -> BoxFuture<'a, Result<WarmStream, DialError>> {
        nobody()
    }

    fn finish<'a>(
        &'a self,
        _: WarmStream,
        _: &'a PreparedChain,
        _: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        nobody()
    }
}

fn id(number: usize) -> ProxyId {
    ProxyId::try_new(&format!("proxy-{number}")).expect("a short name without spaces")
}

fn spec(number: usize) -> MemberSpec {
    let endpoint = format!("proxy-{number}.example:3128");
    let endpoint = endpoint.parse().expect("a name and a port");
    let mut spec = MemberSpec::new(id(number), Hop::new(Protocol::Http, endpoint));
    spec.weight = if number.is_multiple_of(7) { 10 } else { 1 };
    spec
}

/// A pool in which one in `down` members is unhealthy; 0: none.
fn pools(strategy: Strategy, len: usize, down: usize) -> Pools {
    let mut pool = PoolSettings::new(PoolName::default(), (0..len).map(spec).collect());
    pool.strategy = strategy;
    let settings = Settings {
        pools: vec![pool],
        ..Settings::default()
    };
    let pools = Pools::new(settings, Overlay::default(), Arc::new(Nobody), Arc::new(NoEvents))
        .expect("the settings are sound");
    if down > 0 {
        for number in (0..len).step_by(down) {
            pools.set_health(&id(number), Health::Unhealthy);
        }
    }
    pools
}

fn request(target: &str) -> ConnectRequest {
    let deadline = Instant::now() + Duration::from_secs(3600);
    ConnectRequest::tunnel(target.parse().expect("a host and a port"), deadline)
}

/// Many targets, so that `hash` has many keys.
fn requests() -> Vec<ConnectRequest> {
    (0..256)
        .map(|number| request(&format!("host-{number}.example:443")))
        .collect()
}

/// A pool and a request.
#[derive(Clone, Copy)]
struct Case {
    members: usize,
    /// One in so many is down; 0: none.
    down: usize,
    /// So many were tried already.
    tried: usize,
    strategy: Strategy,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            members,
            down,
            tried,
            strategy,
        } = self;
        write!(f, "{members} {strategy}")?;
        if *down > 0 {
            write!(f, ", 1 in {down} down")?;
        }
        if *tried > 0 {
            write!(f, ", {tried} tried")?;
        }
        Ok(())
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for members in [100, 100_000] {
        for (down, tried) in [(0, 0), (3, 0), (0, 3)] {
            cases.extend(Strategy::ALL.map(|strategy| Case {
                members,
                down,
                tried,
                strategy,
            }));
        }
    }
    cases
}

#[divan::bench(args = cases())]
fn pick(bencher: Bencher<'_, '_>, case: Case) {
    let pools = pools(case.strategy, case.members, case.down);
    let requests = requests();
    let mut tried: Vec<Arc<Member>> = Vec::new();
    for _ in 0..case.tried {
        tried.extend(pools.rehearse(&requests[0], &tried));
    }
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % requests.len();
        pools.rehearse(black_box(&requests[turn]), &tried)
    });
}

/// By a session that no table knows: the rendezvous hash, under every strategy.
#[divan::bench(args = [100, 100_000])]
fn session(bencher: Bencher<'_, '_>, len: usize) {
    let pools = pools(Strategy::RoundRobin, len, 0);
    let mut requests = requests();
    for (number, request) in requests.iter_mut().enumerate() {
        request.session = SessionId::try_new(&format!("session-{number}")).ok();
    }
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % requests.len();
        pools.rehearse(black_box(&requests[turn]), &[])
    });
}

/// A verdict that changes a member's health, until the next pick sees it; two of them, there and back, count once
/// each.
#[divan::bench(args = [100, 100_000])]
fn flip(bencher: Bencher<'_, '_>, len: usize) {
    let pools = pools(Strategy::RoundRobin, len, 0);
    let ids: Vec<ProxyId> = (0..len).map(id).collect();
    let mut at = 0;
    let mut down = true;
    bencher.bench_local(|| {
        if down {
            at = (at + 7919) % len;
        }
        let health = if down { Health::Unhealthy } else { Health::Healthy };
        down = !down;
        pools.set_health(black_box(&ids[at]), health);
    });
}

/// One member more, and gone again: the snapshot is rebuilt twice.
#[divan::bench(args = [100, 100_000], sample_count = 20)]
fn add_and_remove(bencher: Bencher<'_, '_>, len: usize) {
    let pools = pools(Strategy::RoundRobin, len, 0);
    bencher.bench_local(|| {
        pools.add(PoolName::default(), spec(len)).expect("its id is free");
        pools.remove(&id(len)).expect("it was added");
    });
}
