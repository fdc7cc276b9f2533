//! Names to addresses: a bounded cache over any [`Resolve`].
//!
//! Callers of one name share one lookup, whoever began it: the lookup belongs to the cache, so a caller that gives
//! up takes nothing from the others.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Shared;
use parking_lot::Mutex;
use pcs_models::Host;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{NetError, NetworkSettings};
use crate::BoxFuture;

/// Turns a name into addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of `name`, the preferred one first (RFC 6724).
    ///
    /// # Errors
    ///
    /// Whatever the resolver says. An empty list counts as "not found".
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the lookup up.
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver: `getaddrinfo` on tokio's blocking threads, a bounded number at once.
///
/// A hung name server holds a thread for as long as `getaddrinfo` likes to wait; the bound keeps it from taking them
/// all. Further lookups wait in line until their callers' deadlines.
pub struct SystemResolver {
    turns: Arc<Semaphore>,
}

impl SystemResolver {
    /// A resolver that runs at most `concurrency` lookups at once (at least one).
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS))),
        }
    }
}

impl Default for SystemResolver {
    /// Sixty-four at once.
    fn default() -> Self {
        Self::new(64)
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turns = Arc::clone(&self.turns);
        let name = name.to_owned();
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            let ask = move || {
                // Held by the thread itself: an abandoned lookup still counts until getaddrinfo returns.
                let _turn = turn;
                Ok((name.as_str(), 0)
                    .to_socket_addrs()?
                    .map(|address| address.ip())
                    .collect())
            };
            tokio::task::spawn_blocking(ask)
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)))
        })
    }
}

impl fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemResolver")
            .field("free", &self.turns.available_permits())
            .finish()
    }
}

type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;
type Lookup = Shared<BoxFuture<'static, Answer>>;

enum Entry {
    /// Somebody asks, or has asked and went away.
    Asking { lookup: Lookup, since: Instant },
    /// An answer, good or bad.
    Known { answer: Answer, until: Instant },
}

impl Entry {
    /// When nobody should rely on the entry any more.
    fn ends(&self) -> Instant {
        match self {
            Self::Asking { since, .. } => *since + ABANDONED,
            Self::Known { until, .. } => *until,
        }
    }
}

/// The bounded cache in front of a resolver.
pub(super) struct Cache {
    resolver: Arc<dyn Resolve>,
    names: Mutex<HashMap<Arc<str>, Entry>>,
    ttl: Duration,
    negative_ttl: Duration,
    capacity: usize,
}

impl Cache {
    pub(super) fn new(settings: &NetworkSettings, resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver,
            names: Mutex::new(HashMap::new()),
            ttl: settings.dns_cache_ttl,
            negative_ttl: settings.dns_negative_ttl.min(NetworkSettings::MAX_NEGATIVE_TTL),
            capacity: settings.max_cached_names.max(1),
        }
    }

    pub(super) fn clear(&self) {
        self.names.lock().clear();
    }

    /// The addresses of a name, at least one and each once, and when they were known. An answer from the cache
    /// costs no clock read.
    pub(super) async fn lookup(
        &self,
        name: &Arc<str>,
        now: Instant,
    ) -> Result<(Arc<[IpAddr]>, Instant), NetError> {
        let (answer, at) = match self.known_or_asking(name, now) {
            Ok(answer) => (answer, now),
            Err(lookup) => {
                let answer = lookup.clone().await;
                let at = Instant::now();
                self.settle(name, &lookup, &answer, at);
                (answer, at)
            }
        };
        match answer {
            Ok(addresses) => Ok((addresses, at)),
            Err(source) => Err(NetError::Resolve {
                name: Host::Name(Arc::clone(name)),
                source,
            }),
        }
    }

    fn known_or_asking(&self, name: &Arc<str>, now: Instant) -> Result<Answer, Lookup> {
        let mut names = self.names.lock();
        match names.get(name) {
            Some(entry) if entry.ends() <= now => {}
            Some(Entry::Known { answer, .. }) => return Ok(answer.clone()),
            Some(Entry::Asking { lookup, .. }) => return Err(lookup.clone()),
            None => self.make_room(&mut names, now),
        }
        let question = self.resolver.resolve(name);
        let lookup: Lookup = async move { tidy(question.await) }.boxed().shared();
        names.insert(
            Arc::clone(name),
            Entry::Asking {
                lookup: lookup.clone(),
                since: now,
            },
        );
        Err(lookup)
    }

    /// Writes an answer down, once: whoever comes first of those who waited for the same lookup.
    fn settle(&self, name: &Arc<str>, lookup: &Lookup, answer: &Answer, now: Instant) {
        let mut names = self.names.lock();
        let Some(entry) = names.get_mut(name) else { return };
        if !matches!(entry, Entry::Asking { lookup: asking, .. } if asking.ptr_eq(lookup)) {
            return;
        }
        let ttl = if answer.is_ok() {
            self.ttl
        } else {
            self.negative_ttl
        };
        if ttl.is_zero() {
            names.remove(name);
        } else {
            *entry = Entry::Known {
                answer: answer.clone(),
                until: now + ttl,
            };
        }
    }

    /// Keeps the table within its bound. The victim is the one of a few that ends first: cheap, and near enough.
    fn make_room(&self, names: &mut HashMap<Arc<str>, Entry>, now: Instant) {
        if names.len() < self.capacity {
            return;
        }
        names.retain(|_, entry| entry.ends() > now);
        while names.len() >= self.capacity {
            let victim = names
                .iter()
                .take(8)
                .min_by_key(|(_, entry)| entry.ends())
                .map(|(name, _)| Arc::clone(name));
            if let Some(name) = victim {
                names.remove(&name);
            }
        }
    }
}

/// Each address once, IPv4 in its own form, at least one and not more than anybody would try.
fn tidy(answer: io::Result<Vec<IpAddr>>) -> Answer {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for ip in answer.map_err(Arc::new)? {
        let ip = ip.to_canonical();
        if !addresses.contains(&ip) && addresses.len() < MAX_ADDRESSES {
            addresses.push(ip);
        }
    }
    if addresses.is_empty() {
        return Err(Arc::new(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        )));
    }
    Ok(addresses.into())
}

/// A lookup this old is begun anew: its answer may have lain about unread since its callers gave up.
const ABANDONED: Duration = Duration::from_secs(30);

/// The most addresses of one name that are kept and tried.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests;
