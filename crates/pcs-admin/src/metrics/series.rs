//! Series by label, found without a lock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_pool::{ErrorLabel, Member, Traffic};

use super::histogram::Histogram;

/// What is counted for one proxy.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) connects: Histogram,
}

/// The series of all proxies. A proxy's first request replaces the table; all others read it.
///
/// Proxies get series of their own first come, first served, and who found no room shares [`OTHER`] for as long as it
/// is there: a counter must not move from one label to another.
pub(super) struct SeriesTable {
    table: ArcSwap<Table>,
    other: Arc<Series>,
    max: AtomicUsize,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default, Clone)]
struct Table {
    series: HashMap<Box<str>, Arc<Series>>,
    /// How many of them are proxies' own.
    own: usize,
}

/// Who found no room. Written when the page is read.
#[derive(Debug, Default)]
struct Shared {
    names: HashSet<Box<str>>,
    /// Those that were there at the last look, by serial, and those that left but still move bytes.
    members: HashMap<u64, Arc<Member>>,
    /// What went through those that are gone.
    gone: Counts,
}

/// What is counted for a proxy by itself, added up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: [u64; ErrorLabel::ALL.len()],
    /// Up and down.
    pub(super) bytes: [u64; 2],
}

impl Counts {
    pub(super) fn add(&mut self, traffic: &Traffic) {
        self.requests += traffic.requests();
        for label in ErrorLabel::ALL {
            self.errors[label as usize] += traffic.errors(label);
        }
        self.bytes[0] += traffic.bytes_up();
        self.bytes[1] += traffic.bytes_down();
    }
}

/// Where the proxies go that have no series of their own.
pub(super) const OTHER: &str = "_other";

fn is_way(name: &str) -> bool {
    name.starts_with('_')
}

impl SeriesTable {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: ArcSwap::default(),
            other: Arc::default(),
            max: AtomicUsize::new(max),
            shared: Mutex::default(),
        }
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    pub(super) fn get(&self, proxy: &str) -> Arc<Series> {
        let table = self.table.load();
        if let Some(series) = table.series.get(proxy) {
            return Arc::clone(series);
        }
        let full = table.own >= self.max.load(Relaxed);
        drop(table);
        if !is_way(proxy) && (full || self.shared.lock().names.contains(proxy)) {
            return Arc::clone(&self.other);
        }
        self.admit(&[proxy]);
        let table = self.table.load();
        table
            .series
            .get(proxy)
            .map_or_else(|| Arc::clone(&self.other), Arc::clone)
    }

    /// Gives series to those among these that have none, while there is room.
    fn admit(&self, names: &[&str]) {
        let max = self.max.load(Relaxed);
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            for name in names {
                let room = is_way(name) || table.own < max;
                if room && !table.series.contains_key(*name) {
                    table.series.insert((*name).into(), Arc::default());
                    table.own += usize::from(!is_way(name));
                }
            }
            table
        });
    }

    /// Shares the series out among the members there are, and forgets those that are gone. Answers those that have
    /// their own, in order, and what went through the others: `None` as long as there were none.
    pub(super) fn share_out<'m>(&self, members: &'m [Arc<Member>]) -> (Vec<&'m Arc<Member>>, Option<Counts>) {
        let mut shared = self.shared.lock();
        let table = self.table.load_full();
        let name = |member: &'m Arc<Member>| member.id().as_str();
        let fresh: Vec<&str> = members
            .iter()
            .map(name)
            .filter(|name| !table.series.contains_key(*name) && !shared.names.contains(*name))
            .collect();
        if !fresh.is_empty() && table.own < self.max.load(Relaxed) {
            self.admit(&fresh);
        }
        let table = self.table.load_full();
        let (own, others): (Vec<_>, Vec<_>) = members
            .iter()
            .partition(|member| table.series.contains_key(member.id().as_str()));
        let known: HashSet<&str> = members.iter().map(name).collect();
        self.retain(|name| is_way(name) || known.contains(name));
        shared.names = others.iter().map(|member| member.id().as_str().into()).collect();
        let here: HashSet<u64> = others.iter().map(|member| member.serial()).collect();
        let Shared { members, gone, .. } = &mut *shared;
        for member in others {
            members.insert(member.serial(), Arc::clone(member));
        }
        members.retain(|serial, member| {
            let stays = here.contains(serial) || member.traffic().active() > 0;
            if !stays {
                gone.add(member.traffic());
            }
            stays
        });
        let mut sum = *gone;
        members.values().for_each(|member| sum.add(member.traffic()));
        let any = !members.is_empty() || sum != Counts::default();
        (own, any.then_some(sum))
    }

    /// Every series, by name.
    pub(super) fn all(&self) -> Vec<(Box<str>, Arc<Series>)> {
        let mut all: Vec<_> = self
            .table
            .load()
            .series
            .iter()
            .map(|(name, series)| (name.clone(), Arc::clone(series)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        if self.other.succeeded.load(Relaxed) + self.other.failed.load(Relaxed) > 0 {
            all.push((OTHER.into(), Arc::clone(&self.other)));
        }
        all
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) {
        if self.table.load().series.keys().all(|name| keep(name)) {
            return;
        }
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.series.retain(|name, _| keep(name));
            table.own = table.series.keys().filter(|name| !is_way(name)).count();
            table
        });
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
        self.0.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.entry(label.into()).or_default();
            table
        });
        if let Some(count) = self.0.load().get(label) {
            count.fetch_add(1, Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_bound_proxies_share_one_series() {
        let table = SeriesTable::new(2);
        for name in ["a", "b", "c", "d", "_direct"] {
            table.get(name).succeeded.fetch_add(1, Relaxed);
        }
        let all: Vec<_> = table
            .all()
            .into_iter()
            .map(|(name, series)| (name, series.succeeded.load(Relaxed)))
            .collect();
        assert_eq!(
            all,
            [
                ("_direct".into(), 1),
                ("a".into(), 1),
                ("b".into(), 1),
                (OTHER.into(), 2)
            ]
        );
        table.retain(|name| name != "a");
        assert_eq!(table.all().len(), 3);
        table.get("e").succeeded.fetch_add(1, Relaxed);
        assert!(
            table.all().iter().any(|(name, _)| **name == *"e"),
            "its place is free"
        );
    }
}
