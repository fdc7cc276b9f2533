//! From settings to a registry, and from one registry to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pcs_models::{ChainSpec, PoolName, ProxyId};
use pcs_tunnel::Via;
use tokio::time::Instant;

use crate::inner::{Departed, Inner};
use crate::lane::Lane;
use crate::member::Member;
use crate::overlay::Overlay;
use crate::pool::Pool;
use crate::registry::{Registry, Way, corporate_chain, member_chain};
use crate::route::RouteTable;
use crate::snapshot::{Entry, Shape, Snapshot};
use crate::{MemberSpec, PoolSettings, RouteAction, Settings, SettingsError};

/// What the next registry is made from. Lives behind the lock that serialises changes.
pub(crate) struct Changes {
    /// The settings as they were handed in.
    pub(crate) base: Settings,
    pub(crate) overlay: Overlay,
    pub(crate) serial: u64,
    /// Whether there ever was a chain: from then on there always has to be one.
    pub(crate) chained: bool,
}

/// What a reload changed, by proxy id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// New ones.
    pub added: Vec<ProxyId>,
    /// Those that are gone. Streams through them live on.
    pub removed: Vec<ProxyId>,
    /// Those that are still there, but not as they were.
    pub changed: Vec<ProxyId>,
}

impl Changes {
    pub(crate) fn new(overlay: Overlay) -> Self {
        Self {
            base: Settings::default(),
            overlay,
            serial: 0,
            chained: false,
        }
    }

    /// Puts settings in place of those before, or changes nothing.
    pub(crate) fn apply(&mut self, inner: &Inner, mut settings: Settings) -> Result<Applied, SettingsError> {
        if settings.corporate == self.base.corporate {
            // The same hop, but what it was found to want is known of the one that is there.
            settings.corporate.clone_from(&self.base.corporate);
        }
        let mut overlay = self.overlay.clone();
        let mut pools = settings.pools.clone();
        overlay.lay_over(&mut pools);
        let before = inner.registry.load_full();
        check(&settings, &pools, &before)?;
        let chained = settings.corporate.is_some() || !pools.is_empty();
        if self.chained && !chained {
            return Err(SettingsError::NoChainLeft);
        }
        let chains = chains(&settings, &pools)?;

        let mut build = Build::new(&before);
        let mut next = HashMap::new();
        for (pool, chains) in pools.iter().zip(chains) {
            let old = before.pools.get(&pool.name);
            let entries = build.entries(pool, chains, &mut self.serial);
            let old_snapshot = old.map(|old| arc_swap::Guard::into_inner(old.snapshot()));
            let snapshot = Snapshot::new(
                entries,
                Shape::from(pool),
                settings.breaker,
                old_snapshot.as_deref(),
            );
            next.insert(pool.name.clone(), (old.cloned(), snapshot));
        }
        for (name, pool) in &before.pools {
            // A pool once named stays one: empty, it fails requests instead of sending them another way.
            next.entry(name.clone()).or_insert_with(|| {
                let old = arc_swap::Guard::into_inner(pool.snapshot());
                let snapshot = Snapshot::new(Vec::new(), old.shape().clone(), settings.breaker, Some(&old));
                (Some(Arc::clone(pool)), snapshot)
            });
        }
        let pools = next.into_iter().map(|(name, (old, snapshot))| {
            let pool = match old {
                Some(pool) => {
                    pool.replace(snapshot);
                    pool
                }
                None => inner.new_pool(name.clone(), snapshot),
            };
            (name, pool)
        });
        let registry = inner.registry_of(&settings, pools.collect(), &before);
        if self.base.corporate != settings.corporate {
            inner.outage.reset(settings.corporate.is_some());
            for pool in before.pools.values() {
                let snapshot = pool.snapshot();
                snapshot
                    .entries()
                    .iter()
                    .for_each(|entry| entry.member.accused.clear());
            }
        }
        inner.registry.store(Arc::new(registry));
        let applied = build.finish(&inner.departed);
        if applied != Applied::default() || self.base.corporate != settings.corporate {
            // What was said of members that are gone, or by another, is not to cast doubt on the rest.
            inner.hearsay.forget();
        }
        self.base = settings;
        self.overlay = overlay;
        self.chained |= chained;
        Ok(applied)
    }

    /// The entry of the configuration with this id, as it stands there.
    pub(crate) fn base_spec(&self, id: &ProxyId) -> Option<&MemberSpec> {
        self.base
            .pools
            .iter()
            .flat_map(|pool| &pool.members)
            .find(|spec| spec.id == *id)
    }
}

impl Inner {
    pub(crate) fn new_pool(&self, name: PoolName, snapshot: Snapshot) -> Arc<Pool> {
        let (events, outage) = (Arc::clone(&self.events), Arc::clone(&self.outage));
        let pool = Pool::new(name, self.epoch, events, outage);
        pool.replace(snapshot);
        Arc::new(pool)
    }

    /// The registry for these settings and pools; lanes that still serve are kept with their streams.
    pub(crate) fn registry_of(
        &self,
        settings: &Settings,
        pools: HashMap<PoolName, Arc<Pool>>,
        before: &Registry,
    ) -> Registry {
        let corporate = settings.corporate.as_ref().map(|hop| {
            let chain = corporate_chain(hop);
            let lane = match &before.corporate {
                Some(way) if way.lane.serves(&chain, true) => Arc::clone(&way.lane),
                _ => Arc::new(Lane::new(chain, true, None)),
            };
            Way {
                lane,
                traffic: Arc::clone(&self.corporate_traffic),
                via: Via::Corporate,
            }
        });
        if let Some(way) = &before.corporate
            && corporate
                .as_ref()
                .is_none_or(|new| !Arc::ptr_eq(&new.lane, &way.lane))
        {
            way.lane.close();
        }
        Registry {
            pools,
            routes: RouteTable::new(settings.routes.clone()),
            retry: settings.retry.clone(),
            tunnel: settings.tunnel,
            mode: settings.mode,
            direct: before.direct.clone(),
            corporate,
        }
    }
}

/// Keeps what survives from one registry to the next, and notes what did not.
struct Build {
    old: HashMap<ProxyId, (PoolName, Entry)>,
    added: Vec<ProxyId>,
    changed: Vec<ProxyId>,
    retired: Vec<Arc<Lane>>,
    left: Vec<Arc<Member>>,
}

impl Build {
    fn new(before: &Registry) -> Self {
        let mut old = HashMap::new();
        for (name, pool) in &before.pools {
            for entry in pool.snapshot().entries() {
                old.insert(entry.member.id().clone(), (name.clone(), entry.clone()));
            }
        }
        Self {
            old,
            added: Vec::new(),
            changed: Vec::new(),
            retired: Vec::new(),
            left: Vec::new(),
        }
    }

    fn entries(&mut self, pool: &PoolSettings, chains: Vec<ChainSpec>, serial: &mut u64) -> Vec<Entry> {
        let specs = pool.members.iter().zip(chains);
        specs
            .map(|(spec, chain)| self.entry(&pool.name, spec, chain, serial))
            .collect()
    }

    fn entry(&mut self, pool: &PoolName, spec: &MemberSpec, chain: ChainSpec, serial: &mut u64) -> Entry {
        let Some((old_pool, old)) = self.old.remove(&spec.id) else {
            self.added.push(spec.id.clone());
            return new_entry(pool, spec, chain, serial);
        };
        if old.spec() != *spec || old_pool != *pool {
            self.changed.push(spec.id.clone());
        }
        if !old.hop.is_same_proxy(&spec.hop) || old_pool != *pool {
            // The same id for another proxy: nothing that was learnt or counted is true of it.
            self.retired.push(old.lane);
            self.left.push(old.member);
            return new_entry(pool, spec, chain, serial);
        }
        old.member.update(spec);
        let lane = if old.lane.serves(&chain, spec.reuse) {
            old.lane
        } else {
            self.retired.push(old.lane);
            Arc::new(Lane::new(chain, spec.reuse, Some(Arc::clone(&old.member))))
        };
        Entry {
            member: old.member,
            lane,
            hop: Arc::new(spec.hop.clone()),
            origin: spec.origin,
        }
    }

    /// Closes kept streams of what is gone, and keeps its sums.
    fn finish(self, departed: &Departed) -> Applied {
        self.left.iter().for_each(|member| departed.take(member));
        self.old
            .values()
            .for_each(|(_, entry)| departed.take(&entry.member));
        self.retired.iter().for_each(|lane| lane.close());
        self.old.values().for_each(|(_, entry)| entry.lane.close());
        let mut removed: Vec<ProxyId> = self.old.into_keys().collect();
        removed.sort();
        Applied {
            added: self.added,
            removed,
            changed: self.changed,
        }
    }
}

/// A member nobody knew before.
pub(crate) fn new_entry(pool: &PoolName, spec: &MemberSpec, chain: ChainSpec, serial: &mut u64) -> Entry {
    *serial += 1;
    let member = Arc::new(Member::new(pool.clone(), spec, *serial, Instant::now()));
    Entry {
        lane: Arc::new(Lane::new(chain, spec.reuse, Some(Arc::clone(&member)))),
        member,
        hop: Arc::new(spec.hop.clone()),
        origin: spec.origin,
    }
}

fn chains(settings: &Settings, pools: &[PoolSettings]) -> Result<Vec<Vec<ChainSpec>>, SettingsError> {
    let corporate = settings.corporate.as_ref();
    let chain = |spec: &MemberSpec| {
        member_chain(corporate, spec).map_err(|error| SettingsError::Chain(spec.id.clone(), error))
    };
    pools
        .iter()
        .map(|pool| pool.members.iter().map(chain).collect())
        .collect()
}

/// Whether names fit together.
fn check(settings: &Settings, pools: &[PoolSettings], before: &Registry) -> Result<(), SettingsError> {
    let mut names = HashMap::new();
    let mut ids = HashSet::new();
    for pool in pools {
        if names.insert(&pool.name, pool.fallback.as_ref()).is_some() {
            return Err(SettingsError::DuplicatePool(pool.name.clone()));
        }
        for spec in &pool.members {
            if !ids.insert(&spec.id) {
                return Err(SettingsError::DuplicateId(spec.id.clone()));
            }
        }
    }
    let known = |name: &PoolName| names.contains_key(name) || before.pools.contains_key(name);
    let fallbacks = pools.iter().filter_map(|pool| pool.fallback.as_ref());
    let routed = settings.routes.iter().filter_map(|route| match &route.action {
        RouteAction::Pool(name) => Some(name),
        RouteAction::Direct | RouteAction::Corporate | RouteAction::Reject => None,
    });
    if let Some(name) = fallbacks.chain(routed).find(|name| !known(name)) {
        return Err(SettingsError::UnknownPool(name.clone()));
    }
    for pool in pools {
        let line = std::iter::successors(pool.fallback.as_ref(), |name| names.get(*name).copied().flatten());
        if line.take(pools.len() + 1).any(|name| *name == pool.name) {
            return Err(SettingsError::FallbackCycle(pool.name.clone()));
        }
    }
    Ok(())
}
