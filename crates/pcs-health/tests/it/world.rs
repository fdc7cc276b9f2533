//! Members that fail by script, and a record of what the checker makes of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pcs_health::checker::{
    CheckFailure, CheckReport, CheckSpec, Checker, Fault, Method, PoolSubjects, Probe, Seen, Subject,
    TestUrl, Verdicts,
};
use pcs_health::flip::{Health, Thresholds};
use pcs_models::{FailureKind, PoolName, ProxyId};
use pcs_tunnel::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// What becomes of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Well,
    Fails(Fault),
    Panics,
}

/// The scripted outside, and the record.
#[derive(Default)]
pub(crate) struct World {
    fates: Mutex<HashMap<String, Fate>>,
    pub(crate) corporate_down: AtomicBool,
    pub(crate) corporate_asked: AtomicUsize,
    pub(crate) poisoned: AtomicBool,
    checks: Mutex<Vec<(Instant, String)>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    healths: Mutex<HashMap<String, Health>>,
    verdicts: Mutex<Vec<(String, Health)>>,
    reports: Mutex<Vec<CheckReport>>,
    running: Mutex<Vec<bool>>,
    pub(crate) traffic: Mutex<HashMap<String, Seen>>,
}

/// How long a scripted check takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(50);

impl Probe for World {
    type Way = String;

    fn check<'a>(
        &'a self,
        way: &'a String,
        _spec: &'a CheckSpec,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Duration, CheckFailure>> {
        Box::pin(async move {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(now, Ordering::SeqCst);
            self.checks.lock().push((Instant::now(), way.clone()));
            sleep(LATENCY).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            let fate = self.fates.lock().get(way).copied().unwrap_or(Fate::Well);
            match fate {
                Fate::Well => Ok(LATENCY),
                Fate::Fails(fault) => Err(CheckFailure::new(FailureKind::Refused, fault, "refused")),
                #[expect(clippy::panic, reason = "the script says so")]
                Fate::Panics => panic!("as scripted"),
            }
        })
    }

    fn corporate_works<'a>(&'a self, _way: &'a String, _deadline: Instant) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            self.corporate_asked.fetch_add(1, Ordering::SeqCst);
            sleep(LATENCY).await;
            !self.corporate_down.load(Ordering::SeqCst)
        })
    }
}

impl Verdicts for World {
    fn verdict(&self, id: &ProxyId, health: Health) {
        self.healths.lock().insert(id.to_string(), health);
        self.verdicts.lock().push((id.to_string(), health));
    }

    fn checked(&self, report: &CheckReport) {
        self.reports.lock().push(report.clone());
        assert!(!self.poisoned.swap(false, Ordering::SeqCst), "as scripted");
    }

    fn running(&self, running: bool) {
        self.running.lock().push(running);
    }

    fn traffic(&self, id: &ProxyId) -> Option<Seen> {
        self.traffic.lock().get(id.as_str()).copied()
    }
}

impl World {
    pub(crate) fn set(&self, ids: impl IntoIterator<Item = String>, fate: Fate) {
        let mut fates = self.fates.lock();
        ids.into_iter().for_each(|id| _ = fates.insert(id, fate));
    }

    pub(crate) fn health(&self, id: &str) -> Health {
        self.healths.lock().get(id).copied().unwrap_or(Health::Unknown)
    }

    /// Who is held unhealthy, in order.
    pub(crate) fn unhealthy(&self) -> Vec<String> {
        let healths = self.healths.lock();
        let mut ids: Vec<_> = healths
            .iter()
            .filter(|(_, health)| **health == Health::Unhealthy)
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort();
        ids
    }

    pub(crate) fn was_ever_unhealthy(&self) -> bool {
        self.verdicts
            .lock()
            .iter()
            .any(|(_, health)| *health == Health::Unhealthy)
    }

    pub(crate) fn verdicts(&self) -> Vec<(String, Health)> {
        self.verdicts.lock().clone()
    }

    pub(crate) fn reports(&self) -> Vec<CheckReport> {
        self.reports.lock().clone()
    }

    pub(crate) fn running(&self) -> Vec<bool> {
        self.running.lock().clone()
    }

    /// When checks of this member began.
    pub(crate) fn times(&self, id: &str) -> Vec<Instant> {
        self.checks
            .lock()
            .iter()
            .filter(|(_, way)| way == id)
            .map(|(at, _)| *at)
            .collect()
    }

    pub(crate) fn checks(&self) -> usize {
        self.checks.lock().len()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }
}

/// A checker that runs over a world.
pub(crate) struct Running {
    pub(crate) world: Arc<World>,
    pub(crate) checker: Arc<Checker<String>>,
    pub(crate) tasks: JoinSet<()>,
    pub(crate) shutdown: CancellationToken,
}

impl Running {
    pub(crate) fn start() -> Self {
        let world = Arc::new(World::default());
        let verdicts: Arc<dyn Verdicts> = world.clone();
        let (checker, driver) = Checker::new(Arc::clone(&world), verdicts, 7);
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(driver.run(shutdown.clone().cancelled_owned()));
        Self {
            world,
            checker: Arc::new(checker),
            tasks,
            shutdown,
        }
    }

    /// The checker of one pool `p` with members `p0`, `p1`, …
    pub(crate) fn with(spec: CheckSpec, count: usize) -> Self {
        let running = Self::start();
        running.checker.update(vec![pool("p", spec, count)]);
        running
    }
}

pub(crate) fn names(pool: &str, range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(move |at| format!("{pool}{at}"))
}

pub(crate) fn id(text: &str) -> ProxyId {
    text.parse().expect("a good name")
}

pub(crate) fn spec() -> CheckSpec {
    CheckSpec {
        enabled: true,
        method: Method::Http,
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(10),
        test_url: TestUrl {
            tls: true,
            target: "test:443".parse().expect("a good target"),
            path: "/".into(),
        },
        expect_status: vec![200],
        expect_body: None,
        thresholds: Thresholds::default(),
        concurrency: 64,
    }
}

pub(crate) fn pool(name: &str, spec: CheckSpec, count: usize) -> PoolSubjects<String> {
    let subject = |(serial, way): (u64, String)| Subject {
        id: id(&way),
        serial,
        enabled: true,
        behind_corporate: false,
        way,
    };
    PoolSubjects {
        pool: PoolName::try_new(name).expect("a good name"),
        spec: Arc::new(spec),
        subjects: (0..).zip(names(name, 0..count)).map(subject).collect(),
    }
}

pub(crate) fn behind_corporate(mut pool: PoolSubjects<String>) -> PoolSubjects<String> {
    pool.subjects
        .iter_mut()
        .for_each(|subject| subject.behind_corporate = true);
    pool
}

/// Lets time pass, in steps that no timer of the checker falls through.
pub(crate) async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}
