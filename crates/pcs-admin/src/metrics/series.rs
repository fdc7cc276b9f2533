//! Series by label, found without a lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::histogram::Histogram;

/// What is counted for one proxy.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) connects: Histogram,
}

/// The series of all proxies. A proxy's first request replaces the table; all others read it.
pub(super) struct SeriesTable {
    table: ArcSwap<HashMap<Box<str>, Arc<Series>>>,
    other: Arc<Series>,
    max: AtomicUsize,
}

/// Where the proxies go that have no series of their own.
pub(super) const OTHER: &str = "_other";

impl SeriesTable {
    pub(super) fn new(max: usize) -> Self {
        Self {
            table: ArcSwap::default(),
            other: Arc::default(),
            max: AtomicUsize::new(max),
        }
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    pub(super) fn max(&self) -> usize {
        self.max.load(Relaxed)
    }

    pub(super) fn get(&self, proxy: &str) -> Arc<Series> {
        let table = self.table.load();
        if let Some(series) = table.get(proxy) {
            return Arc::clone(series);
        }
        if table.len() >= self.max.load(Relaxed) && !proxy.starts_with('_') {
            return Arc::clone(&self.other);
        }
        drop(table);
        let fresh = Arc::new(Series::default());
        self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.entry(proxy.into()).or_insert_with(|| Arc::clone(&fresh));
            table
        });
        self.table.load().get(proxy).map_or(fresh, Arc::clone)
    }

    /// Every series, by name.
    pub(super) fn all(&self) -> Vec<(Box<str>, Arc<Series>)> {
        let mut all: Vec<_> = self
            .table
            .load()
            .iter()
            .map(|(name, series)| (name.clone(), Arc::clone(series)))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        if self.other.succeeded.load(Relaxed) + self.other.failed.load(Relaxed) > 0 {
            all.push((OTHER.into(), Arc::clone(&self.other)));
        }
        all
    }

    /// Forgets proxies that are gone.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        if self.table.load().keys().all(|name| keep(name)) {
            return;
        }
        self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.retain(|name, _| keep(name));
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
    }
}
