//! A world of proxies that do as they are told, without a socket.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pcs_models::{
    Blame, Credentials, Endpoint, FailureKind, Hop, HopIndex, HopName, PoolName, Protocol, ProxyId, Retry,
    Secret, SessionId,
};
use pcs_pool::{Circuit, Events, Health, MemberSpec, Overlay, PoolSettings, Pools, Settings};
use pcs_tunnel::{
    BoxFuture, ChainStream, Connect, ConnectRequest, Connected, Dial, DialError, DialRequest, Dialed, Form,
    Io, PreparedChain, Purpose, WarmStream,
};
use tokio::io::DuplexStream;
use tokio::time::Instant;

/// What the way to the first hop and back takes. Tokio's clock ticks in milliseconds.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// How one proxy behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Builds the chain, after a while.
    Well(Duration),
    /// Its port is closed.
    Refuses,
    /// Accepts, then says nothing.
    Hangs,
    /// Breaks off after CONNECT.
    Resets,
    /// Cannot be shown the session.
    Unfit,
    /// Answers CONNECT with a status.
    Says(u16),
    /// Answers CONNECT with a status for one target, and builds the chain to others.
    SaysFor(&'static str, u16),
    /// The corporate proxy answers CONNECT to this member with a status.
    CorporateSays(u16),
    /// The corporate proxy gives no answer to CONNECT to this member.
    Lost,
}

/// How long silence is put up with (`tunnel.read_timeout_seconds`).
const SILENCE: Duration = Duration::from_secs(1);

/// How the corporate proxy behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corporate {
    Well,
    Refuses,
    /// 502 to every CONNECT.
    CannotReach,
    /// Takes every CONNECT, and says nothing.
    Silent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) proxy: Option<String>,
    pub(crate) target: String,
    pub(crate) hops: usize,
    pub(crate) user: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) deadline: Instant,
}

pub(crate) struct World {
    manners: Mutex<HashMap<String, Manner>>,
    corporate: Mutex<Corporate>,
    dead_targets: Mutex<HashSet<String>>,
    pub(crate) calls: Mutex<Vec<Call>>,
    far_ends: Mutex<Vec<DuplexStream>>,
    pub(crate) warm_builds: Mutex<usize>,
    /// Whether warm chains die the moment they are used.
    pub(crate) warm_die: Mutex<bool>,
    pub(crate) circuits: Mutex<Vec<(String, Circuit, Circuit)>>,
    pub(crate) healths: Mutex<Vec<(String, bool)>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            manners: Mutex::default(),
            corporate: Mutex::new(Corporate::Well),
            dead_targets: Mutex::default(),
            calls: Mutex::default(),
            far_ends: Mutex::default(),
            warm_builds: Mutex::default(),
            warm_die: Mutex::default(),
            circuits: Mutex::default(),
            healths: Mutex::default(),
        })
    }

    pub(crate) fn set(&self, proxy: &str, manner: Manner) {
        self.manners.lock().insert(proxy.to_owned(), manner);
    }

    pub(crate) fn set_corporate(&self, manner: Corporate) {
        *self.corporate.lock() = manner;
    }

    pub(crate) fn revive_target(&self, target: &str) {
        self.dead_targets.lock().remove(target);
    }

    pub(crate) fn kill_target(&self, target: &str) {
        self.dead_targets.lock().insert(target.to_owned());
    }

    pub(crate) fn pools(self: &Arc<Self>, settings: Settings) -> Pools {
        Pools::new(
            settings,
            Overlay::default(),
            Arc::clone(self) as _,
            Arc::clone(self) as _,
        )
        .unwrap()
    }

    /// The proxies dialled so far, the target where there was none.
    pub(crate) fn dialled(&self) -> Vec<String> {
        let name = |call: &Call| call.proxy.clone().unwrap_or_else(|| "-".to_owned());
        self.calls.lock().iter().map(name).collect()
    }

    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock())
    }

    /// Closes the far ends of all streams.
    pub(crate) fn hang_up(&self) {
        self.far_ends.lock().clear();
    }

    fn note(&self, chain: &PreparedChain, request: &DialRequest<'_>) {
        let hops = chain.spec().hops();
        let member = hops.last().filter(|hop| hop.name.as_str() != HopName::CORPORATE);
        self.calls.lock().push(Call {
            proxy: member.map(|hop| hop.name.as_str().to_owned()),
            target: request.target.to_string(),
            hops: hops.len(),
            user: member
                .and_then(|hop| hop.credentials.as_ref())
                .map(|c| c.username().to_owned()),
            session: request.session.map(|session| session.as_str().to_owned()),
            deadline: request.deadline,
        });
    }

    async fn answer(&self, chain: &PreparedChain, request: DialRequest<'_>) -> Result<Dialed, DialError> {
        let hops = chain.spec().hops();
        let corporate = hops
            .first()
            .is_some_and(|hop| hop.name.as_str() == HopName::CORPORATE);
        let member = hops.last().filter(|hop| hop.name.as_str() != HopName::CORPORATE);
        let proxy = member.map(|hop| hop.name.as_str().to_owned());
        let target = request.target.to_string();
        self.note(chain, &request);
        let at = HopIndex(u8::try_from(hops.len()).unwrap().saturating_sub(1));
        let last = hops.last().map_or_else(HopName::target, |hop| hop.name.clone());
        let fail =
            |kind, blame, hop: HopName| Err(DialError::new(kind, blame, Retry::Other, "scripted").at(hop));
        tokio::time::sleep(LATENCY).await;
        if corporate && *self.corporate.lock() == Corporate::Refuses {
            return fail(
                FailureKind::Refused,
                Blame::Hop(HopIndex(0)),
                HopName::corporate(),
            );
        }
        if corporate && member.is_some() && *self.corporate.lock() == Corporate::CannotReach {
            return fail(FailureKind::Status, Blame::Hop(at), last).map_err(|error| error.with_status(502));
        }
        let manner = proxy
            .as_ref()
            .and_then(|proxy| self.manners.lock().get(proxy).cloned());
        let silent = corporate && *self.corporate.lock() == Corporate::Silent;
        if silent || manner == Some(Manner::Lost) {
            tokio::time::sleep_until(request.deadline.min(Instant::now() + SILENCE)).await;
            return fail(FailureKind::Timeout, Blame::Hop(at), last);
        }
        match manner.unwrap_or(Manner::Well(Duration::ZERO)) {
            Manner::Unfit => return fail(FailureKind::BadSession, Blame::Client, last),
            Manner::Refuses => return fail(FailureKind::Refused, Blame::Hop(at), last),
            Manner::Hangs => {
                tokio::time::sleep_until(request.deadline).await;
                return fail(FailureKind::Timeout, Blame::Target, last);
            }
            Manner::Resets => return fail(FailureKind::Reset, Blame::Target, last),
            Manner::Says(status) => {
                return fail(FailureKind::Status, Blame::Target, last).map_err(|e| e.with_status(status));
            }
            Manner::SaysFor(only, status) if only == target => {
                return fail(FailureKind::Status, Blame::Target, last).map_err(|e| e.with_status(status));
            }
            Manner::CorporateSays(status) => {
                let blamed = if matches!(status, 502..=504) {
                    at
                } else {
                    HopIndex(0)
                };
                let error = fail(FailureKind::Status, Blame::Hop(blamed), HopName::corporate());
                return error.map_err(|error| error.with_status(status));
            }
            Manner::SaysFor(..) | Manner::Lost => {}
            Manner::Well(pause) => tokio::time::sleep(pause).await,
        }
        if self.dead_targets.lock().contains(&target) {
            return fail(FailureKind::Status, Blame::Target, last).map_err(|error| error.with_status(502));
        }
        let (near, far) = tokio::io::duplex(1024);
        self.far_ends.lock().push(far);
        let absolute =
            request.purpose == Purpose::Forward && hops.last().is_some_and(|hop| hop.protocol.is_http());
        let form = if absolute {
            Form::Absolute { authorization: None }
        } else {
            Form::Origin
        };
        Ok(Dialed {
            stream: ChainStream::new(Io::Other(Box::new(near))),
            form,
            timings: Vec::new(),
        })
    }
}

impl World {
    /// Two hops of the way to a warm chain.
    async fn build(&self, chain: &PreparedChain) -> Result<WarmStream, DialError> {
        *self.warm_builds.lock() += 1;
        tokio::time::sleep(LATENCY * 2).await;
        let member = chain
            .spec()
            .last()
            .map(|hop| hop.name.as_str().to_owned())
            .unwrap_or_default();
        if self.manners.lock().get(&member) == Some(&Manner::Refuses) {
            return Err(DialError::new(
                FailureKind::Refused,
                Blame::Hop(HopIndex(0)),
                Retry::Other,
                "scripted",
            ));
        }
        let (near, far) = tokio::io::duplex(1024);
        self.far_ends.lock().push(far);
        Ok(WarmStream::new(
            ChainStream::new(Io::Other(Box::new(near))),
            Vec::new(),
        ))
    }

    /// The last of it.
    async fn complete(&self, warm: WarmStream) -> Result<Dialed, DialError> {
        tokio::time::sleep(LATENCY).await;
        if *self.warm_die.lock() {
            return Err(DialError::new(
                FailureKind::Reset,
                Blame::Target,
                Retry::Same,
                "scripted",
            ));
        }
        Ok(Dialed {
            stream: warm.into_parts().0,
            form: Form::Origin,
            timings: Vec::new(),
        })
    }
}

impl Dial for World {
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(self.answer(chain, request))
    }

    fn warm<'a>(
        &'a self,
        chain: &'a PreparedChain,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<WarmStream, DialError>> {
        Box::pin(self.build(chain))
    }

    fn finish<'a>(
        &'a self,
        warm: WarmStream,
        _chain: &'a PreparedChain,
        _request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(self.complete(warm))
    }
}

impl Events for World {
    fn health_changed(&self, _pool: &PoolName, proxy: &ProxyId, healthy: bool) {
        self.healths.lock().push((proxy.to_string(), healthy));
    }

    fn circuit_changed(&self, _pool: &PoolName, proxy: &ProxyId, from: Circuit, to: Circuit) {
        self.circuits.lock().push((proxy.to_string(), from, to));
    }
}

pub(crate) fn id(text: &str) -> ProxyId {
    ProxyId::try_new(text).unwrap()
}

pub(crate) fn name(text: &str) -> PoolName {
    PoolName::try_new(text).unwrap()
}

pub(crate) fn member(text: &str) -> MemberSpec {
    let endpoint: Endpoint = format!("{text}.proxies.example:3128").parse().unwrap();
    MemberSpec::new(id(text), Hop::new(Protocol::Http, endpoint))
}

pub(crate) fn with_user(text: &str, user: &str) -> MemberSpec {
    let mut spec = member(text);
    spec.hop = spec
        .hop
        .with_credentials(Credentials::try_new(user, Secret::new("secret".into())).unwrap());
    spec
}

pub(crate) fn corporate() -> Hop {
    Hop::new(Protocol::Http, "proxy.corp.example:8080".parse().unwrap())
}

pub(crate) fn pool(pool: &str, members: &[&str]) -> PoolSettings {
    PoolSettings::new(name(pool), members.iter().map(|id| member(id)).collect())
}

pub(crate) fn settings(members: &[&str]) -> Settings {
    Settings {
        pools: vec![pool("default", members)],
        ..Settings::default()
    }
}

/// `p0`, `p1` and so on.
pub(crate) fn many(count: usize) -> Settings {
    let ids: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
    settings(&ids.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn request(target: &str) -> ConnectRequest {
    ConnectRequest::tunnel(target.parse().unwrap(), Instant::now() + Duration::from_secs(30))
}

pub(crate) fn forward(target: &str) -> ConnectRequest {
    ConnectRequest {
        purpose: Purpose::Forward,
        ..request(target)
    }
}

pub(crate) fn session(mut request: ConnectRequest, id: &str) -> ConnectRequest {
    request.session = Some(SessionId::try_new(id).unwrap());
    request
}

/// One tunnel, closed at once; the id of the proxy it went through.
pub(crate) async fn tunnel(pools: &Pools, target: &str) -> Result<String, DialError> {
    let mut request = request(target);
    pools
        .connect(&mut request)
        .await
        .map(|connected| connected.via.label().to_owned())
}

pub(crate) async fn connect(pools: &Pools, request: &mut ConnectRequest) -> Result<Connected, DialError> {
    pools.connect(request).await
}

pub(crate) fn circuit(pools: &Pools, proxy: &str) -> Circuit {
    pools.get(&id(proxy)).unwrap().circuit
}

pub(crate) fn all_closed(pools: &Pools) -> bool {
    pools
        .members()
        .iter()
        .all(|member| member.circuit() == Circuit::Closed)
}

pub(crate) fn set_health(pools: &Pools, proxy: &str, healthy: bool) {
    pools.set_health(
        &id(proxy),
        if healthy {
            Health::Healthy
        } else {
            Health::Unhealthy
        },
    );
}
