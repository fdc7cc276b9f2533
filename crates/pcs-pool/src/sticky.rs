//! Sticky sessions: which member a session was given, for as long as it is used.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use pcs_models::{ProxyId, SessionId};
use tokio::time::Instant;

/// Entries one shard should hold before the table is worth splitting: small tables stay exact in their bound.
const SHARD_ENTRIES: usize = 1024;
const MAX_SHARDS: usize = 16;
const NONE: u32 = u32::MAX;

/// Sessions and the members they are pinned to, bounded by number and by age since the last use.
///
/// When the table is full the session that was unused for longest makes room: it would pick by rendezvous again
/// and find the same member while membership did not change.
#[derive(Debug)]
pub(crate) struct StickyTable {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
}

impl StickyTable {
    pub(crate) fn new(max_sessions: usize) -> Self {
        let shards = (max_sessions / SHARD_ENTRIES).clamp(1, MAX_SHARDS);
        let cap = (max_sessions / shards).max(1);
        let shards = (0..shards).map(|_| Mutex::new(Shard::new(cap))).collect();
        Self {
            shards,
            hasher: RandomState::new(),
        }
    }

    /// The member a session is pinned to; counts as a use.
    pub(crate) fn lookup(&self, session: &SessionId, now: Instant, ttl: Duration) -> Option<ProxyId> {
        self.shard(session).lock().lookup(session, now, ttl)
    }

    /// Pins a session to a member, in place of any other.
    #[cfg(test)]
    pub(crate) fn pin(&self, session: &SessionId, proxy: &ProxyId, now: Instant) {
        self.shard(session).lock().pin(session, proxy, now);
    }

    /// Counts a use through a member, and pins the session to it unless `stays` says of the member it is pinned to
    /// that it stays there.
    pub(crate) fn settle(
        &self,
        session: &SessionId,
        proxy: &ProxyId,
        now: Instant,
        stays: impl FnOnce(&ProxyId) -> bool,
    ) {
        let mut shard = self.shard(session).lock();
        match shard.pinned(session) {
            Some(pinned) if pinned != proxy && stays(pinned) => {
                let pinned = pinned.clone();
                shard.touch(session, &pinned, now);
            }
            _ => shard.pin(session, proxy, now),
        }
    }

    /// Counts a use, if the session is still pinned to this member.
    pub(crate) fn touch(&self, session: &SessionId, proxy: &ProxyId, now: Instant) {
        self.shard(session).lock().touch(session, proxy, now);
    }

    /// Forgets sessions unused for `ttl`.
    pub(crate) fn sweep(&self, now: Instant, ttl: Duration) {
        for shard in &self.shards {
            shard.lock().expire(now, ttl);
        }
    }

    /// Sessions in the table.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().index.len()).sum()
    }

    fn shard(&self, session: &SessionId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(session);
        let index = usize::try_from(hash % self.shards.len() as u64).unwrap_or_default();
        &self.shards[index]
    }
}

/// A least-recently-used list over a slab: the head was used last, the tail is the first to go.
#[derive(Debug)]
struct Shard {
    cap: usize,
    index: HashMap<SessionId, u32>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    head: u32,
    tail: u32,
}

#[derive(Debug)]
struct Node {
    session: SessionId,
    proxy: ProxyId,
    used: Instant,
    before: u32,
    after: u32,
}

impl Shard {
    fn new(cap: usize) -> Self {
        Self {
            cap,
            index: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            head: NONE,
            tail: NONE,
        }
    }

    fn lookup(&mut self, session: &SessionId, now: Instant, ttl: Duration) -> Option<ProxyId> {
        self.expire(now, ttl);
        let at = *self.index.get(session)?;
        self.refresh(at, now);
        self.node(at).map(|node| node.proxy.clone())
    }

    fn pinned(&self, session: &SessionId) -> Option<&ProxyId> {
        let node = self.node(*self.index.get(session)?)?;
        Some(&node.proxy)
    }

    fn pin(&mut self, session: &SessionId, proxy: &ProxyId, now: Instant) {
        if let Some(&at) = self.index.get(session) {
            self.refresh(at, now);
            if let Some(node) = self.nodes.get_mut(at as usize) {
                node.proxy.clone_from(proxy);
            }
            return;
        }
        if self.index.len() >= self.cap {
            self.remove(self.tail);
        }
        let node = Node {
            session: session.clone(),
            proxy: proxy.clone(),
            used: now,
            before: NONE,
            after: NONE,
        };
        let at = if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            at
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        };
        self.index.insert(session.clone(), at);
        self.link_first(at);
    }

    fn touch(&mut self, session: &SessionId, proxy: &ProxyId, now: Instant) {
        if let Some(&at) = self.index.get(session)
            && self.node(at).is_some_and(|node| node.proxy == *proxy)
        {
            self.refresh(at, now);
        }
    }

    fn expire(&mut self, now: Instant, ttl: Duration) {
        while self
            .node(self.tail)
            .is_some_and(|node| now.saturating_duration_since(node.used) >= ttl)
        {
            self.remove(self.tail);
        }
    }

    fn refresh(&mut self, at: u32, now: Instant) {
        self.unlink(at);
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.used = node.used.max(now);
        }
        self.link_first(at);
    }

    fn remove(&mut self, at: u32) {
        let Some(session) = self.node(at).map(|node| node.session.clone()) else {
            return;
        };
        self.unlink(at);
        self.index.remove(&session);
        self.free.push(at);
        if self.index.is_empty() {
            // A burst of sessions must not hold its memory for ever.
            *self = Self::new(self.cap);
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some((before, after)) = self.node(at).map(|node| (node.before, node.after)) else {
            return;
        };
        match self.nodes.get_mut(before as usize) {
            Some(node) => node.after = after,
            None => self.head = after,
        }
        match self.nodes.get_mut(after as usize) {
            Some(node) => node.before = before,
            None => self.tail = before,
        }
    }

    fn link_first(&mut self, at: u32) {
        let head = self.head;
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.before = NONE;
            node.after = head;
        }
        match self.nodes.get_mut(head as usize) {
            Some(node) => node.before = at,
            None => self.tail = at,
        }
        self.head = at;
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TTL: Duration = Duration::from_secs(600);

    fn session(number: u32) -> SessionId {
        SessionId::try_new(&format!("s{number}")).unwrap()
    }

    fn proxy(number: u32) -> ProxyId {
        ProxyId::try_new(&format!("p{number}")).unwrap()
    }

    #[test]
    fn a_pin_lasts_from_its_last_use() {
        let table = StickyTable::new(10);
        let start = Instant::now();
        table.pin(&session(1), &proxy(1), start);
        let later = start + TTL.mul_f64(0.9);
        assert_eq!(table.lookup(&session(1), later, TTL), Some(proxy(1)));
        let much_later = later + TTL.mul_f64(0.9);
        table.touch(&session(1), &proxy(1), much_later);
        assert_eq!(
            table.lookup(&session(1), much_later + TTL.mul_f64(0.9), TTL),
            Some(proxy(1))
        );
        assert_eq!(table.lookup(&session(1), much_later + TTL * 3, TTL), None);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_touch_for_a_former_member_counts_for_nothing() {
        let table = StickyTable::new(10);
        let start = Instant::now();
        table.pin(&session(1), &proxy(2), start);
        table.touch(&session(1), &proxy(1), start + TTL.mul_f64(0.9));
        assert_eq!(table.lookup(&session(1), start + TTL, TTL), None);
    }

    #[test]
    fn a_full_table_forgets_the_session_unused_for_longest() {
        let table = StickyTable::new(2);
        let start = Instant::now();
        table.pin(&session(1), &proxy(1), start);
        table.pin(&session(2), &proxy(2), start);
        assert!(table.lookup(&session(1), start, TTL).is_some());
        table.pin(&session(3), &proxy(3), start);
        assert_eq!(table.lookup(&session(2), start, TTL), None);
        assert_eq!(table.lookup(&session(1), start, TTL), Some(proxy(1)));
        assert_eq!(table.len(), 2);
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_plain_list(
            steps in proptest::collection::vec((0u8..3, 0u32..6, 0u32..3, 0u64..200), 0..200),
            cap in 1usize..5,
        ) {
            let table = StickyTable::new(cap);
            let mut now = Instant::now();
            // The most recently used first.
            let mut model: Vec<(u32, u32, Instant)> = Vec::new();
            for (action, key, value, pause) in steps {
                now += Duration::from_secs(pause);
                let fresh = |entry: &(u32, u32, Instant)| now - entry.2 < TTL;
                match action {
                    0 => {
                        let known = model.iter().any(|entry| entry.0 == key);
                        model.retain(|entry| entry.0 != key);
                        if !known && model.len() >= cap {
                            model.pop();
                        }
                        model.insert(0, (key, value, now));
                        table.pin(&session(key), &proxy(value), now);
                    }
                    1 => {
                        model.retain(fresh);
                        let found = model.iter().position(|entry| entry.0 == key).map(|at| model.remove(at));
                        if let Some((_, value, _)) = found {
                            model.insert(0, (key, value, now));
                        }
                        let expected = found.map(|entry| proxy(entry.1));
                        prop_assert_eq!(table.lookup(&session(key), now, TTL), expected);
                    }
                    _ => {
                        model.retain(fresh);
                        table.sweep(now, TTL);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.len() <= cap);
            }
        }
    }
}
