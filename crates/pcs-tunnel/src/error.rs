//! Why a chain could not be built.

use std::error::Error as StdError;
use std::fmt;

use pcs_models::{Blame, FailureKind, HopIndex, HopName, PoolName, Retry};

use crate::HopTiming;

/// Why a dial failed: answers what, where, whose fault, and whether to try again.
///
/// The text names the hop and what it said, never a secret.
pub struct DialError(Box<Inner>);

struct Inner {
    kind: FailureKind,
    blame: Blame,
    retry: Retry,
    hop: Option<HopName>,
    pool: Option<PoolName>,
    status: Option<u16>,
    message: String,
    timings: Vec<HopTiming>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl DialError {
    /// A failure with the message that a person reads: lower case, no full stop, no secret.
    #[must_use]
    pub fn new(kind: FailureKind, blame: Blame, retry: Retry, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            blame,
            retry,
            hop: None,
            pool: None,
            status: None,
            message: message.into(),
            timings: Vec::new(),
            source: None,
        }))
    }

    /// The same failure, at this hop.
    #[must_use]
    pub fn at(mut self, hop: HopName) -> Self {
        self.0.hop = Some(hop);
        self
    }

    /// The same failure, met on a way out of this pool.
    #[must_use]
    pub fn in_pool(mut self, pool: PoolName) -> Self {
        self.0.pool = Some(pool);
        self
    }

    /// The same failure, with the HTTP status the hop answered (502 for a SOCKS reply has none).
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// The same failure, with what was measured until then.
    #[must_use]
    pub fn with_timings(mut self, timings: Vec<HopTiming>) -> Self {
        self.0.timings = timings;
        self
    }

    /// The same failure, with its cause.
    #[must_use]
    pub fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The same failure, blamed otherwise by somebody who knows more.
    #[must_use]
    pub fn blamed(mut self, blame: Blame, retry: Retry) -> Self {
        self.0.blame = blame;
        self.0.retry = retry;
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// Whose fault it is.
    #[must_use]
    pub fn blame(&self) -> Blame {
        self.0.blame
    }

    /// Whether trying again makes sense.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// The place of the hop that is blamed, if one is.
    #[must_use]
    pub fn hop_index(&self) -> Option<HopIndex> {
        match self.0.blame {
            Blame::Hop(index) => Some(index),
            Blame::Client | Blame::Target | Blame::Local => None,
        }
    }

    /// The name of the hop where it failed: `corporate`, a proxy's id, `target`, or none.
    #[must_use]
    pub fn hop(&self) -> Option<&HopName> {
        self.0.hop.as_ref()
    }

    /// The pool whose proxy was tried last, or that had none left; none where no pool was asked.
    #[must_use]
    pub fn pool(&self) -> Option<&PoolName> {
        self.0.pool.as_ref()
    }

    /// The HTTP status that a hop answered, if it did.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// What was measured until the failure, the nearest hop first.
    #[must_use]
    pub fn timings(&self) -> &[HopTiming] {
        &self.0.timings
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialError")
            .field("kind", &self.0.kind)
            .field("blame", &self.0.blame)
            .field("retry", &self.0.retry)
            .field("hop", &self.0.hop)
            .field("status", &self.0.status)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
