//! What a request reads to choose: one pool at one moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pcs_models::{Host, PoolName, ProxyId, SessionId, Target};
use pcs_strategies::{Bits, Members, Pick, Selector, Strategy, stable_hash};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::lane::Lane;
use crate::member::Member;
use crate::sticky::StickyTable;
use crate::{BreakerSettings, Health, Origin, PoolSettings, StickySettings, WhenExhausted};

/// Members in order, their bits, and the selector built for them. Rebuilt when membership changes; everything
/// that changes more often is an atomic in a member, or one of the bits.
pub(crate) struct Snapshot {
    entries: Box<[Entry]>,
    index: HashMap<ProxyId, usize>,
    id_hashes: Box<[u64]>,
    /// Enabled, not unhealthy, and the breaker would admit it.
    open: Bits,
    /// Enabled.
    enabled: Bits,
    selector: Selector,
    sticky: Arc<StickyTable>,
    shape: Shape,
    breaker: BreakerSettings,
}

/// A pool's settings without its members.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) strategy: Strategy,
    pub(crate) when_exhausted: WhenExhausted,
    pub(crate) sticky: StickySettings,
    pub(crate) fallback: Option<PoolName>,
}

impl From<&PoolSettings> for Shape {
    fn from(settings: &PoolSettings) -> Self {
        Self {
            strategy: settings.strategy,
            when_exhausted: settings.when_exhausted,
            sticky: settings.sticky,
            fallback: settings.fallback.clone(),
        }
    }
}

/// One member's place in a snapshot.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) member: Arc<Member>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) hop: Arc<pcs_models::Hop>,
    pub(crate) origin: Origin,
}

/// Who may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Those that are fit, but none that just failed and is being dialled by as many as its breaker needs to open.
    Calm,
    /// Those that are fit.
    Fit,
    /// All that are enabled.
    Any,
}

/// What a request wishes for.
pub(crate) struct Wish<'a> {
    pub(crate) target: &'a Target,
    pub(crate) session: Option<&'a SessionId>,
    pub(crate) now: Instant,
}

impl Snapshot {
    /// A snapshot whose bits are all clear until [`Snapshot::refresh_all`]. Cursor and sessions are taken over
    /// from the snapshot before it.
    pub(crate) fn new(
        entries: Vec<Entry>,
        shape: Shape,
        breaker: BreakerSettings,
        before: Option<&Self>,
    ) -> Self {
        let entries: Box<[Entry]> = entries.into();
        let index = entries
            .iter()
            .enumerate()
            .map(|(at, entry)| (entry.member.id().clone(), at))
            .collect();
        let id_hashes: Box<[u64]> = entries
            .iter()
            .map(|entry| stable_hash(entry.member.id().as_str().as_bytes()))
            .collect();
        let (open, enabled) = (Bits::new(entries.len()), Bits::new(entries.len()));
        let cursor = before.map_or_else(Arc::<AtomicUsize>::default, |before| before.selector.cursor());
        let view = View {
            entries: &entries,
            id_hashes: &id_hashes,
            bits: &open,
            peaks_at: None,
        };
        let selector = Selector::with_cursor(shape.strategy, &view, cursor);
        let sticky = before
            .filter(|before| before.shape.sticky.max_sessions == shape.sticky.max_sessions)
            .map_or_else(
                || Arc::new(StickyTable::new(shape.sticky.max_sessions)),
                |b| Arc::clone(&b.sticky),
            );
        Self {
            entries,
            index,
            id_hashes,
            open,
            enabled,
            selector,
            sticky,
            shape,
            breaker,
        }
    }

    /// No member and everything by default.
    pub(crate) fn empty() -> Self {
        let shape = Shape::from(&PoolSettings::new(PoolName::default(), Vec::new()));
        Self::new(Vec::new(), shape, BreakerSettings::default(), None)
    }

    /// The same pool with other members.
    pub(crate) fn rebuilt(&self, entries: Vec<Entry>) -> Self {
        Self::new(entries, self.shape.clone(), self.breaker, Some(self))
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those that are fit, in order.
    pub(crate) fn open_entries(&self) -> impl Iterator<Item = &Entry> {
        let next = |at: &usize| self.open.next(at + 1);
        std::iter::successors(self.open.next(0), next).filter_map(|at| self.entries.get(at))
    }

    pub(crate) fn entry(&self, at: usize) -> Option<&Entry> {
        self.entries.get(at)
    }

    pub(crate) fn find(&self, id: &ProxyId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// Where exactly this member stands: not another one that has its id by now.
    pub(crate) fn position(&self, member: &Member) -> Option<usize> {
        let at = self.find(member.id())?;
        self.entries
            .get(at)
            .filter(|entry| std::ptr::eq(&raw const *entry.member, member))
            .map(|_| at)
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(crate) fn breaker(&self) -> &BreakerSettings {
        &self.breaker
    }

    pub(crate) fn sticky(&self) -> &StickyTable {
        &self.sticky
    }

    /// How many members are fit.
    pub(crate) fn open(&self) -> usize {
        self.open.ones()
    }

    pub(crate) fn is_open(&self, at: usize) -> bool {
        self.open.get(at)
    }

    pub(crate) fn is_enabled(&self, at: usize) -> bool {
        self.enabled.get(at)
    }

    /// How many members an attempt could be made through.
    pub(crate) fn company(&self) -> usize {
        match self.shape.when_exhausted {
            WhenExhausted::Any => self.enabled.ones(),
            WhenExhausted::Fail => self.open.ones(),
        }
    }

    /// Whether another member could be picked beside the one just picked and those tried before.
    pub(crate) fn others(&self, tried: &[Arc<Member>], picked: usize) -> bool {
        let any = self.shape.when_exhausted == WhenExhausted::Any;
        let (count, is_left): (usize, &dyn Fn(usize) -> bool) = if any {
            (self.enabled.ones(), &|at| self.enabled.get(at))
        } else {
            (self.open.ones(), &|at| self.open.get(at))
        };
        let positions = tried.iter().filter_map(|member| self.position(member));
        let used =
            positions.filter(|at| *at != picked && is_left(*at)).count() + usize::from(is_left(picked));
        count > used
    }

    /// Reads the bits of one member from its state.
    pub(crate) fn refresh(&self, at: usize, health_counts: bool, now: Instant) {
        let Some(entry) = self.entries.get(at) else { return };
        let member = &entry.member;
        let enabled = member.enabled();
        let healthy = !health_counts || member.health() != Health::Unhealthy;
        self.enabled.set(at, enabled);
        let admitted = !self.breaker.enabled || member.breaker().is_admissible(now.into_std());
        self.open.set(at, enabled && healthy && admitted);
    }

    /// Reads all bits.
    pub(crate) fn refresh_all(&self, health_counts: bool, now: Instant) {
        for at in 0..self.entries.len() {
            self.refresh(at, health_counts, now);
        }
    }

    /// The member a session is pinned to that is none of this pool's: it was found in a fallback pool.
    pub(crate) fn strayed(&self, wish: &Wish<'_>) -> Option<ProxyId> {
        let pinned = self
            .sticky
            .lookup(wish.session?, wish.now, self.shape.sticky.ttl)?;
        self.find(&pinned).is_none().then_some(pinned)
    }

    /// Picks by session where there is one, else by the pool's strategy.
    pub(crate) fn select(
        &self,
        tier: Tier,
        wish: &Wish<'_>,
        excluded: &[usize],
        rng: &mut impl Rng,
    ) -> Option<usize> {
        // A strategy may draw dozens of times: from a source that costs a nanosecond, seeded by the given one.
        let rng = &mut SmallRng::seed_from_u64(rng.next_u64());
        let bits = if tier == Tier::Any {
            &self.enabled
        } else {
            &self.open
        };
        let view = View {
            entries: &self.entries,
            id_hashes: &self.id_hashes,
            bits,
            peaks_at: (self.shape.strategy == Strategy::PeakEwma).then_some(wish.now),
        };
        if let Some(session) = wish.session {
            let pinned = self.sticky.lookup(session, wish.now, self.shape.sticky.ttl);
            let pinned = pinned.and_then(|id| self.find(&id));
            return pinned
                .filter(|at| bits.get(*at) && !excluded.contains(at))
                .or_else(|| {
                    let key = stable_hash(session.as_str().as_bytes());
                    self.selector.rendezvous().pick(&view, key, excluded)
                });
        }
        let key = (self.shape.strategy == Strategy::Hash).then(|| host_hash(&wish.target.host));
        self.selector.pick(&view, Pick { key, excluded }, rng)
    }
}

fn host_hash(host: &Host) -> u64 {
    match host {
        Host::Name(name) => stable_hash(name.as_bytes()),
        Host::Ip(ip) => stable_hash(ip.to_string().as_bytes()),
    }
}

/// The members as strategies see them.
struct View<'a> {
    entries: &'a [Entry],
    id_hashes: &'a [u64],
    bits: &'a Bits,
    /// Latencies are told as peaks, as they are now.
    peaks_at: Option<Instant>,
}

impl View<'_> {
    fn read<T>(&self, at: usize, read: impl FnOnce(&Member) -> T) -> Option<T> {
        self.entries.get(at).map(|entry| read(&entry.member))
    }
}

impl Members for View<'_> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_eligible(&self, at: usize) -> bool {
        self.bits.get(at)
    }

    fn eligible_count(&self) -> usize {
        self.bits.ones()
    }

    fn next_eligible(&self, from: usize) -> Option<usize> {
        self.bits.next(from)
    }

    fn eligible_word(&self, number: usize) -> Option<u64> {
        self.bits.word(number)
    }

    fn nth_eligible(&self, rank: usize) -> Option<usize> {
        self.bits.nth(rank)
    }

    fn weight(&self, at: usize) -> u16 {
        self.read(at, Member::weight).unwrap_or(0)
    }

    fn active(&self, at: usize) -> u32 {
        self.read(at, |member| {
            u32::try_from(member.traffic().active()).unwrap_or(u32::MAX)
        })
        .unwrap_or(0)
    }

    fn total(&self, at: usize) -> u64 {
        self.read(at, |member| member.traffic().requests()).unwrap_or(0)
    }

    fn latency_us(&self, at: usize) -> u32 {
        let latency = |member: &Member| match self.peaks_at {
            Some(now) => member.peak_latency_us(now),
            None => member.latency_us(),
        };
        self.read(at, latency).unwrap_or(0)
    }

    fn success_permille(&self, at: usize) -> u16 {
        self.read(at, Member::success_permille).unwrap_or(1000)
    }

    fn id_hash(&self, at: usize) -> u64 {
        self.id_hashes.get(at).copied().unwrap_or(0)
    }
}
