//! What is checked and how, and what comes of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pcs_models::{FailureKind, PoolName, ProxyId, Target};
use pcs_tunnel::BoxFuture;
use thiserror::Error;

use crate::flip::{Health, Thresholds};

/// How a member is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Fetch the test URL through the whole chain.
    Http,
    /// Build the whole chain to the test URL's host and port.
    Connect,
    /// Reach the member's port.
    Tcp,
    /// ICMP echo to the member, which has to be the first hop.
    Ping,
}

impl Method {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Connect => "connect",
            Self::Tcp => "tcp",
            Self::Ping => "ping",
        }
    }

    /// Whether a check talks with the test URL's host, so that this may be at fault.
    #[must_use]
    pub const fn reaches_target(self) -> bool {
        matches!(self, Self::Http | Self::Connect)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What `http` fetches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestUrl {
    /// Whether the target speaks TLS.
    pub tls: bool,
    /// Host and port.
    pub target: Target,
    /// Path and query, beginning with `/`.
    pub path: Arc<str>,
}

/// How the members of one pool are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSpec {
    /// Off: members are checked on demand only, and nobody's verdict changes.
    pub enabled: bool,
    /// How.
    pub method: Method,
    /// Time between two checks of a member, before it is stretched (at most doubled) or shrunk (to a quarter).
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// What `http` fetches, and whose host and port `connect` asks for.
    pub test_url: TestUrl,
    /// Statuses that mean well (`http`).
    pub expect_status: Vec<u16>,
    /// A text the body must contain (`http`).
    pub expect_body: Option<String>,
    /// Results in a row that change a verdict.
    pub thresholds: Thresholds,
    /// Checks of this pool at once; 0 counts as 1.
    pub concurrency: usize,
}

/// One member to be checked.
#[derive(Debug, Clone)]
pub struct Subject<W> {
    /// Its id, unique in the process.
    pub id: ProxyId,
    /// Another number for another proxy under the same id: its history starts anew.
    pub serial: u64,
    /// Off: checked on demand only.
    pub enabled: bool,
    /// Whether the corporate proxy stands before it.
    pub behind_corporate: bool,
    /// The way to it, for the [`Probe`].
    pub way: W,
}

/// The members of one pool.
#[derive(Debug, Clone)]
pub struct PoolSubjects<W> {
    /// The pool.
    pub pool: PoolName,
    /// How they are checked.
    pub spec: Arc<CheckSpec>,
    /// The members.
    pub subjects: Vec<Subject<W>>,
}

/// Whose fault a failed check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Ours: descriptors ran out, say. Never counts.
    Ours,
    /// The corporate proxy's own. Never counts.
    Corporate,
    /// The member's: proven on it, or told by the corporate proxy.
    Member,
    /// The member's or the test URL's: it failed beyond the member.
    Target,
}

/// Why a check failed. The text names hops and what they said, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct CheckFailure {
    /// What went wrong.
    pub kind: FailureKind,
    /// Whose fault it is.
    pub fault: Fault,
    /// For people: lower case, no full stop.
    pub message: Arc<str>,
}

impl CheckFailure {
    /// Puts the three together.
    pub fn new(kind: FailureKind, fault: Fault, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            fault,
            message: message.into(),
        }
    }
}

/// One finished check.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The member.
    pub id: ProxyId,
    /// Its pool.
    pub pool: PoolName,
    /// When the check ended.
    pub at: Instant,
    /// How long it took, or why it failed.
    pub result: Result<Duration, CheckFailure>,
    /// The verdict after it; unknown where health checks are off.
    pub health: Health,
    /// Failures in a row that count, after it.
    pub consecutive_failures: u32,
    /// Successes in a row, after it.
    pub consecutive_successes: u32,
}

/// What traffic saw of a member since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Requests and tunnels that went well.
    pub successes: u64,
    /// Failures charged to the member.
    pub failures: u64,
}

/// Makes single checks. A port: the production one is [`ChainProbe`](crate::ChainProbe).
pub trait Probe: Send + Sync + 'static {
    /// What it has to know of a member.
    type Way: Clone + Send + Sync + 'static;

    /// Checks one member and says how long it took. Ends by `deadline`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the check and closes its sockets.
    fn check<'a>(
        &'a self,
        way: &'a Self::Way,
        spec: &'a CheckSpec,
        deadline: tokio::time::Instant,
    ) -> BoxFuture<'a, Result<Duration, CheckFailure>>;

    /// Asks the corporate proxy for this member, and says whether the corporate proxy itself did its work: it
    /// could be reached and let us in, whatever it then said of the member. Ends by `deadline`.
    ///
    /// # Cancel safety
    ///
    /// As [`Probe::check`].
    fn corporate_works<'a>(
        &'a self,
        way: &'a Self::Way,
        deadline: tokio::time::Instant,
    ) -> BoxFuture<'a, bool>;
}

/// Takes results, at once and from one task. A port: the pools stand behind it.
pub trait Verdicts: Send + Sync {
    /// The verdict over a member changed. What is done here should take microseconds.
    fn verdict(&self, id: &ProxyId, health: Health);

    /// A check ended. Comes after the verdict that it led to.
    fn checked(&self, report: &CheckReport);

    /// Checks run from now on, or died: while they do not run, no verdict may keep anybody out of selection.
    fn running(&self, running: bool);

    /// What traffic saw of a member; `None` where that is not known.
    fn traffic(&self, _id: &ProxyId) -> Option<Seen> {
        None
    }
}
