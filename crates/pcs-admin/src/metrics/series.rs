//! Who has series of its own, and counters by small sets of labels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_models::{DURATION_BOUNDS, Durations, ErrorLabel, ProxyId, Traffic};
use pcs_pool::Member;

/// Shares the series out among the proxies, whenever the page is read.
///
/// Proxies get series of their own first come, first served, and who found no room shares [`OTHER`] for as long as it
/// is there: a counter must not move from one label to another.
pub(super) struct Shares {
    max: AtomicUsize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Who has series of its own.
    own: HashSet<ProxyId>,
    /// Who found no room.
    others: HashSet<ProxyId>,
    /// The counters of those that found none, by serial, and of those that left but still move bytes.
    members: HashMap<u64, Arc<Member>>,
    /// What went through those that are gone.
    gone: Counts,
}

/// What is counted for one proxy, or for several, added up.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: [u64; ErrorLabel::ALL.len()],
    /// Up and down.
    pub(super) bytes: [u64; 2],
    pub(super) served: u64,
    pub(super) unserved: u64,
    pub(super) connects: Histogram,
}

impl Counts {
    pub(super) fn of(traffic: &Traffic) -> Self {
        let mut counts = Self::default();
        counts.add(traffic);
        counts
    }

    fn add(&mut self, traffic: &Traffic) {
        self.requests += traffic.requests();
        for label in ErrorLabel::ALL {
            self.errors[label as usize] += traffic.errors(label);
        }
        self.bytes[0] += traffic.bytes_up();
        self.bytes[1] += traffic.bytes_down();
        self.served += traffic.served();
        self.unserved += traffic.unserved();
        if let Some(durations) = traffic.connects() {
            self.connects.add(durations);
        }
    }
}

/// [`Durations`] at one moment, or of several ways added up.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Histogram {
    sum_micros: u64,
    buckets: [u64; DURATION_BOUNDS.len()],
}

impl Histogram {
    pub(super) fn of(durations: &Durations) -> Self {
        let mut histogram = Self::default();
        histogram.add(durations);
        histogram
    }

    fn add(&mut self, durations: &Durations) {
        self.sum_micros += durations.sum_micros();
        for (sum, count) in self.buckets.iter_mut().zip(durations.buckets()) {
            *sum += count;
        }
    }

    /// Sum in seconds, count, and the count of each bucket (not added up).
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(super) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let buckets = DURATION_BOUNDS.into_iter().zip(self.buckets).collect();
        (self.sum_micros as f64 / 1e6, self.buckets.iter().sum(), buckets)
    }
}

/// Where the proxies go that have no series of their own.
pub(super) const OTHER: &str = "_other";

impl Shares {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: AtomicUsize::new(max),
            held: Mutex::default(),
        }
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// Answers those of `members` that have series of their own, in order, and what went through the others: `None` as
    /// long as there were none.
    pub(super) fn share_out<'m>(&self, members: &'m [Arc<Member>]) -> (Vec<&'m Arc<Member>>, Option<Counts>) {
        let max = self.max.load(Relaxed);
        let mut held = self.held.lock();
        let Held {
            own,
            others,
            members: kept,
            gone,
        } = &mut *held;
        let known: HashSet<&ProxyId> = members.iter().map(|member| member.id()).collect();
        own.retain(|id| known.contains(id));
        others.retain(|id| known.contains(id));
        for member in members {
            let id = member.id();
            if !own.contains(id) && !others.contains(id) {
                let place = if own.len() < max { &mut *own } else { &mut *others };
                place.insert(id.clone());
            }
        }
        let (with, without): (Vec<_>, Vec<_>) = members.iter().partition(|member| own.contains(member.id()));
        let here: HashSet<u64> = without.iter().map(|member| member.serial()).collect();
        for member in without {
            kept.insert(member.serial(), Arc::clone(member));
        }
        kept.retain(|serial, member| {
            let stays = here.contains(serial) || member.traffic().active() > 0;
            if !stays {
                gone.add(member.traffic());
            }
            stays
        });
        let mut sum = gone.clone();
        kept.values().for_each(|member| sum.add(member.traffic()));
        let any = !kept.is_empty() || sum != Counts::default();
        (with, any.then_some(sum))
    }
}

/// Counters by a label of a small closed set.
#[derive(Debug, Default)]
pub(super) struct Labelled(ArcSwap<HashMap<Box<str>, Arc<AtomicU64>>>);

impl Labelled {
    pub(super) fn add(&self, label: &str) {
        if let Some(count) = self.0.load().get(label) {
            count.fetch_add(1, Relaxed);
            return;
        }
        self.show(label);
        if let Some(count) = self.0.load().get(label) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Has a counter of this label from now on.
    pub(super) fn show(&self, label: &str) {
        self.0.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.entry(label.into()).or_default();
            table
        });
    }

    pub(super) fn read(&self) -> Vec<(Box<str>, u64)> {
        let mut all: Vec<_> = self
            .0
            .load()
            .iter()
            .map(|(label, count)| (label.clone(), count.load(Relaxed)))
            .collect();
        all.sort();
        all
    }
}
