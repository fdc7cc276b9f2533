//! The account of one request: made when its head was read, told when it is over, however it ends.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use pcs_models::{HopName, PoolName, Target, Traffic};
use pcs_tunnel::{ConnectRequest, Connected, DialError, HopTiming, Via};
use tokio::time::Instant;

use crate::access::{AccessRecord, CLIENT_GONE, Rejection, RequestKind, Subject};
use crate::answer::Answer;
use crate::{RequestId, Shared};

/// What a request is about, kept until its end.
#[derive(Debug, Default)]
pub(crate) enum Matter {
    /// No head could be read.
    #[default]
    Unknown,
    Tunnel(Target),
    Resource {
        authority: String,
        path: String,
    },
    Local(String),
}

/// One request on its way. Dropped without an end (its task was cut) it tells itself as such.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    pub(crate) id: RequestId,
    client: SocketAddr,
    kind: RequestKind,
    method: Cow<'static, str>,
    matter: Matter,
    begun: Instant,
    connect: Option<std::time::Duration>,
    pool: Option<PoolName>,
    /// Which way it went last, and the counters of that.
    way: Option<(Via, Arc<Traffic>)>,
    pub(crate) attempts: u32,
    status: u16,
    pub(crate) up: u64,
    pub(crate) down: u64,
    error: Option<&'static str>,
    rejected: Option<Rejection>,
    timings: Vec<HopTiming>,
    told: bool,
}

impl Ticket {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        client: SocketAddr,
        kind: RequestKind,
        method: Cow<'static, str>,
        matter: Matter,
    ) -> Self {
        shared.access.started();
        Self {
            shared: Arc::clone(shared),
            id: shared.ids.next(),
            client,
            kind,
            method,
            matter,
            begun: Instant::now(),
            connect: None,
            pool: None,
            way: None,
            attempts: 0,
            status: 0,
            up: 0,
            down: 0,
            error: None,
            rejected: None,
            timings: Vec::new(),
            told: false,
        }
    }

    /// The request began before its account was opened.
    pub(crate) fn began(&mut self, at: Instant) {
        self.begun = at;
    }

    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    pub(crate) fn asked_for(&mut self, pool: Option<&PoolName>) {
        self.pool = pool.cloned();
    }

    /// What `Proxy-Status` calls the next hop: the last proxy used.
    pub(crate) fn next_hop(&self) -> Option<&str> {
        match &self.way.as_ref()?.0 {
            Via::Direct => None,
            Via::Corporate => Some(HopName::CORPORATE),
            Via::Proxy { id, .. } => Some(id.as_str()),
        }
    }

    /// A stream was handed over.
    pub(crate) fn connected(&mut self, request: &ConnectRequest, connected: &mut Connected) {
        self.took(request);
        // A stream that was kept for us needs no entry among the attempts.
        self.attempts = self.attempts.max(1);
        self.went(&connected.via, &connected.traffic);
        self.timings = std::mem::take(&mut connected.timings);
    }

    /// The dial failed for good.
    pub(crate) fn failed(&mut self, request: &ConnectRequest, error: &DialError) {
        self.took(request);
        if let Some(last) = request.attempts.last() {
            self.went(&last.via, &last.traffic);
        }
        if let Some(pool) = error.pool() {
            self.pool = Some(pool.clone());
        }
        self.timings = error.timings().to_vec();
    }

    fn went(&mut self, via: &Via, traffic: &Arc<Traffic>) {
        if let Via::Proxy { pool, .. } = via {
            self.pool = Some(pool.clone());
        }
        self.way = Some((via.clone(), Arc::clone(traffic)));
    }

    fn took(&mut self, request: &ConnectRequest) {
        self.attempts = u32::try_from(request.attempts.len()).unwrap_or(u32::MAX);
    }

    /// The client was given the answer that came through the chain.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
        let now = Instant::now();
        self.connect = Some(now.saturating_duration_since(self.begun));
        self.shared.access.answered(&self.record(now));
        self.timings = Vec::new();
    }

    /// The client was given an answer of ours.
    pub(crate) fn answered_by_us(&mut self, answer: &Answer) {
        self.status = answer.status;
        self.error = (answer.status >= 400).then_some(answer.error);
        self.rejected = answer.rejected;
        self.shared.access.answered(&self.record(Instant::now()));
        self.timings = Vec::new();
    }

    /// Something went wrong that the client cannot be told any more.
    pub(crate) fn broke(&mut self, error: &'static str) {
        self.error = Some(error);
        if self.status == 0 {
            self.status = CLIENT_GONE;
        }
    }

    /// The request is over: told once, whoever says so first.
    pub(crate) fn finish(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.shared.access.finished(&self.record(Instant::now()));
        }
    }

    fn record(&self, now: Instant) -> AccessRecord<'_> {
        AccessRecord {
            request_id: self.id,
            client: self.client,
            kind: self.kind,
            method: &self.method,
            target: match &self.matter {
                Matter::Unknown => None,
                Matter::Tunnel(target) => Some(Subject::Tunnel(target)),
                Matter::Resource { authority, path } => Some(Subject::Resource { authority, path }),
                Matter::Local(path) => Some(Subject::Local(path)),
            },
            pool: self.pool.as_ref().map(PoolName::as_str),
            proxy: self.way.as_ref().map_or("_none", |(via, _)| via.label()),
            traffic: self.way.as_ref().map(|(_, traffic)| &**traffic),
            attempts: self.attempts,
            status: self.status,
            connect: self.connect,
            at: now,
            duration: now.saturating_duration_since(self.begun),
            bytes_up: self.up,
            bytes_down: self.down,
            error: self.error,
            rejected: self.rejected,
            timings: &self.timings,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.told {
            if self.error.is_none() {
                self.broke("cut");
            }
            self.finish();
        }
    }
}
