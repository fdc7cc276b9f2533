//! A front door, its clients, and what stands behind it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pcs_models::{Blame, FailureKind, HopIndex, HopName, PoolName, ProxyId, Retry};
use pcs_server::{
    Access, AccessRecord, Counted, Drained, Listeners, Rejection, RequestKind, Settings, Shared, Shutdown,
    Worker,
};
use pcs_tunnel::{
    Attempt, BoxFuture, ChainStream, Connect, ConnectRequest, Connected, DialError, Form, Io, Outcome,
    Purpose, Verdict, Via,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What the connector does with one request.
pub(crate) enum Step {
    Fail(DialError),
    Give(Gift),
    Hang,
}

/// A stream that is handed out.
#[derive(Clone)]
pub(crate) struct Gift {
    pub(crate) form: Form,
    pub(crate) via: Via,
    pub(crate) reused: bool,
    pub(crate) early: &'static [u8],
    /// What the outcome answers to a status or a failure.
    pub(crate) verdict: Verdict,
    pub(crate) patience: Option<Duration>,
}

impl Default for Gift {
    fn default() -> Self {
        Self {
            form: Form::Absolute { authorization: None },
            via: proxy("p1"),
            reused: false,
            early: b"",
            verdict: Verdict::Pass,
            patience: None,
        }
    }
}

impl Gift {
    pub(crate) fn origin() -> Self {
        Self {
            form: Form::Origin,
            ..Self::default()
        }
    }

    pub(crate) fn through(id: &str, verdict: Verdict) -> Self {
        Self {
            via: proxy(id),
            verdict,
            ..Self::default()
        }
    }
}

pub(crate) fn proxy(id: &str) -> Via {
    Via::Proxy {
        pool: PoolName::default(),
        id: ProxyId::try_new(id).unwrap(),
    }
}

pub(crate) fn failure(kind: FailureKind, hop: Option<&str>, status: Option<u16>) -> Step {
    let blame = if hop.is_some() {
        Blame::Hop(HopIndex(0))
    } else {
        Blame::Local
    };
    let mut error = DialError::new(kind, blame, Retry::Other, "what the hop said");
    if let Some(hop) = hop {
        let name = match hop {
            "corporate" => HopName::corporate(),
            "target" => HopName::target(),
            id => HopName::from(&ProxyId::try_new(id).unwrap()),
        };
        error = error.at(name);
    }
    if let Some(status) = status {
        error = error.with_status(status);
    }
    Step::Fail(error)
}

/// What was asked of the connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) purpose: Purpose,
    pub(crate) pool: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) replayable: bool,
}

/// What was told to an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Response(u16, bool),
    Failed(FailureKind, String),
    Moved(u64, u64),
    Parked,
    Dropped,
}

struct Guard {
    told: mpsc::UnboundedSender<Told>,
    gift: Gift,
    parked: bool,
}

impl Outcome for Guard {
    fn response(&mut self, status: u16, replayable: bool) -> Verdict {
        let _ = self.told.send(Told::Response(status, replayable));
        if status >= 500 && replayable {
            self.gift.verdict
        } else {
            Verdict::Pass
        }
    }

    fn failed(&mut self, error: &DialError) -> Verdict {
        let hop = error.hop().map(|hop| hop.to_string()).unwrap_or_default();
        let _ = self.told.send(Told::Failed(error.kind(), hop));
        self.gift.verdict
    }

    fn patience(&self) -> Option<tokio::time::Instant> {
        self.gift
            .patience
            .map(|patience| tokio::time::Instant::now() + patience)
    }

    fn moved(&mut self, up: u64, down: u64) {
        let _ = self.told.send(Told::Moved(up, down));
    }

    fn park(mut self: Box<Self>, _stream: ChainStream) {
        self.parked = true;
        let _ = self.told.send(Told::Parked);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.parked {
            let _ = self.told.send(Told::Dropped);
        }
    }
}

/// The other end of a stream that was handed out.
pub(crate) struct Upstream {
    pub(crate) io: DuplexStream,
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
}

/// A connector that does as it is told, and hands out in-memory streams where nothing was.
#[derive(Clone)]
pub(crate) struct Script {
    steps: Arc<Mutex<VecDeque<Step>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    upstreams: mpsc::UnboundedSender<Upstream>,
}

impl Connect for Script {
    fn connect<'a>(&'a self, request: &'a mut ConnectRequest) -> BoxFuture<'a, Result<Connected, DialError>> {
        Box::pin(async move {
            self.asked.lock().push(Asked {
                target: request.target.to_string(),
                purpose: request.purpose,
                pool: request.pool.as_ref().map(ToString::to_string),
                session: request.session.as_ref().map(ToString::to_string),
                replayable: request.replayable,
            });
            let step = self
                .steps
                .lock()
                .pop_front()
                .unwrap_or(Step::Give(Gift::default()));
            let gift = match step {
                Step::Hang => std::future::pending().await,
                Step::Fail(error) => {
                    let via = match error.hop() {
                        Some(hop) if hop.as_str() == HopName::CORPORATE => Via::Corporate,
                        Some(hop) if hop.as_str() != HopName::TARGET => Via::Proxy {
                            pool: error
                                .pool()
                                .or(request.pool.as_ref())
                                .cloned()
                                .unwrap_or_else(|| PoolName::try_new("default").unwrap()),
                            id: ProxyId::try_new(hop.as_str()).unwrap(),
                        },
                        _ => Via::Direct,
                    };
                    request.attempts.push(Attempt {
                        via,
                        traffic: Arc::default(),
                        failure: Some((error.kind(), error.blame())),
                    });
                    return Err(error);
                }
                Step::Give(gift) => gift,
            };
            request.attempts.push(Attempt {
                via: gift.via.clone(),
                traffic: Arc::default(),
                failure: None,
            });
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (told, heard) = mpsc::unbounded_channel();
            let _ = self.upstreams.send(Upstream { io: far, told: heard });
            let stream = ChainStream::new(Io::Other(Box::new(near))).rewound(gift.early.into());
            Ok(Connected {
                stream,
                form: gift.form.clone(),
                via: gift.via.clone(),
                traffic: Arc::default(),
                reused: gift.reused,
                timings: Vec::new(),
                outcome: Box::new(Guard {
                    told,
                    gift,
                    parked: false,
                }),
            })
        })
    }
}

/// An access record, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: RequestKind,
    pub(crate) method: String,
    pub(crate) target: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) proxy: String,
    pub(crate) attempts: u32,
    pub(crate) status: u16,
    pub(crate) duration: Duration,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) error: Option<String>,
    pub(crate) rejected: Option<Rejection>,
    pub(crate) counted: Counted,
}

struct Ear {
    records: mpsc::UnboundedSender<Record>,
    turned_away: Mutex<Vec<Rejection>>,
    open: Mutex<i64>,
}

impl Access for Ear {
    fn connection_opened(&self) {
        *self.open.lock() += 1;
    }

    fn connection_closed(&self) {
        *self.open.lock() -= 1;
    }

    fn finished(&self, record: &AccessRecord<'_>) {
        let _ = self.records.send(Record {
            kind: record.kind,
            method: record.method.to_owned(),
            target: record.target.map(|target| target.to_string()),
            pool: record.pool.map(str::to_owned),
            proxy: record.proxy.to_owned(),
            attempts: record.attempts,
            status: record.status,
            duration: record.duration,
            up: record.bytes_up,
            down: record.bytes_down,
            error: record.error.map(str::to_owned),
            rejected: record.rejected,
            counted: record.counted(),
        });
    }

    fn turned_away(&self, _client: SocketAddr, reason: Rejection) {
        self.turned_away.lock().push(reason);
    }
}

/// A running front door.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) shutdown: Shutdown,
    script: Script,
    upstreams: mpsc::UnboundedReceiver<Upstream>,
    records: mpsc::UnboundedReceiver<Record>,
    ear: Arc<Ear>,
    worker: JoinSet<std::io::Result<Drained>>,
}

impl World {
    pub(crate) fn start(settings: Settings) -> Self {
        let (to_upstreams, upstreams) = mpsc::unbounded_channel();
        let (to_records, records) = mpsc::unbounded_channel();
        let script = Script {
            steps: Arc::default(),
            asked: Arc::default(),
            upstreams: to_upstreams,
        };
        let ear = Arc::new(Ear {
            records: to_records,
            turned_away: Mutex::default(),
            open: Mutex::default(),
        });
        let shared = Shared::new(
            settings,
            Arc::new(script.clone()),
            Arc::clone(&ear) as Arc<dyn Access>,
        );
        let shutdown = Shutdown::new();
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = listeners.local_addr();
        let mut worker = JoinSet::new();
        for socket in listeners.into_sockets() {
            worker.spawn(Worker::new(socket, Arc::clone(&shared), shutdown.watch()).run());
        }
        Self {
            address,
            shared,
            shutdown,
            script,
            upstreams,
            records,
            ear,
            worker,
        }
    }

    pub(crate) fn new() -> Self {
        Self::start(Settings::default())
    }

    pub(crate) fn will(&self, step: Step) -> &Self {
        self.script.steps.lock().push_back(step);
        self
    }

    pub(crate) fn will_give(&self, gift: Gift) -> &Self {
        self.will(Step::Give(gift))
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().clone()
    }

    pub(crate) fn turned_away(&self) -> Vec<Rejection> {
        self.ear.turned_away.lock().clone()
    }

    pub(crate) fn open_connections(&self) -> i64 {
        *self.ear.open.lock()
    }

    /// The next stream that is handed out.
    pub(crate) async fn upstream(&mut self) -> Upstream {
        self.upstreams.recv().await.expect("the connector lives")
    }

    /// Whether a stream was handed out that nobody took.
    pub(crate) fn has_upstream(&mut self) -> bool {
        self.upstreams.try_recv().is_ok()
    }

    /// The next request that is over.
    pub(crate) async fn record(&mut self) -> Record {
        self.records.recv().await.expect("the ear lives")
    }

    pub(crate) async fn client(&self) -> Client {
        Client {
            io: TcpStream::connect(self.address).await.unwrap(),
            seen: Vec::new(),
        }
    }

    /// A client that has sent `bytes`.
    pub(crate) async fn client_with(&self, bytes: impl AsRef<[u8]>) -> Client {
        let mut client = self.client().await;
        client.send(bytes).await;
        client
    }

    pub(crate) async fn drained(&mut self) -> Drained {
        self.worker
            .join_next()
            .await
            .expect("a worker")
            .expect("no panic")
            .unwrap()
    }
}

/// A client's connection.
pub(crate) struct Client {
    pub(crate) io: TcpStream,
    seen: Vec<u8>,
}

/// An answer, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn more(&mut self) -> usize {
        self.io.read_buf(&mut self.seen).await.unwrap_or(0)
    }

    /// Exactly `count` bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            assert_ne!(
                self.more().await,
                0,
                "the connection ended after {:?}",
                String::from_utf8_lossy(&self.seen)
            );
        }
        self.seen.drain(..count).collect()
    }

    /// One head, with its empty line.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return String::from_utf8(self.take(at + 4).await).unwrap();
            }
            assert_ne!(
                self.more().await,
                0,
                "no head in {:?}",
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    /// One answer with a `Content-Length`.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let length = answer
            .field("content-length")
            .map_or(0, |length| length.parse().unwrap());
        answer.body = String::from_utf8(self.take(length).await).unwrap();
        answer
    }

    /// Everything until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.seen)
    }

    /// Fails unless the server ends the connection without another byte.
    pub(crate) async fn is_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().await), "");
    }
}

impl Upstream {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until `end` was seen.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(end.as_bytes()) {
            let byte = self.io.read_u8().await;
            seen.push(byte.unwrap_or_else(|_| panic!("ended after {:?}", String::from_utf8_lossy(&seen))));
        }
        String::from_utf8(seen).unwrap()
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    pub(crate) async fn told(&mut self) -> Told {
        self.told.recv().await.expect("an outcome")
    }

    /// What was told until the outcome was dropped or the stream parked, bytes left out.
    pub(crate) async fn told_all(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        while let Some(told) = self.told.recv().await {
            let last = matches!(told, Told::Dropped | Told::Parked);
            if !matches!(told, Told::Moved(..)) {
                all.push(told);
            }
            if last {
                break;
            }
        }
        all
    }
}
