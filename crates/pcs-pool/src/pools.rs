//! The handle to all pools: what the rest of the process holds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_models::{ChainSpec, FailureKind, PoolName, ProxyId, Traffic};
use pcs_tunnel::{Dial, Via};
use tokio::time::Instant;

use crate::changes::{Applied, Changes, new_entry};
use crate::hearsay::Hearsay;
use crate::inner::{Departed, Inner, RetryCounters};
use crate::lane::Lane;
use crate::member::{CheckRecord, Member};
use crate::outage::Outage;
use crate::overlay::{Overlay, Patch};
use crate::pool::Pool;
use crate::registry::{Registry, Way, member_chain};
use crate::route::RouteTable;
use crate::snapshot::{Entry, Snapshot};
use crate::view::{Filter, ProxyView, Totals};
use crate::{
    ChangeError, Circuit, Events, Health, MemberSpec, Mode, Origin, PoolSettings, RetrySettings, Settings,
    SettingsError, TunnelSettings,
};

/// How often kept streams and sessions are looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// All pools of a process: a [`pcs_tunnel::Connect`] that picks, admits, dials, observes and tries again.
///
/// A handle: clones share everything.
#[derive(Clone)]
pub struct Pools {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools")
            .field("pools", &self.pool_names())
            .finish_non_exhaustive()
    }
}

impl Pools {
    /// Pools made from settings, with the changes of an earlier life laid over them.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] says what does not fit together.
    pub fn new(
        settings: Settings,
        overlay: Overlay,
        dial: Arc<dyn Dial>,
        events: Arc<dyn Events>,
    ) -> Result<Self, SettingsError> {
        let direct_traffic = Arc::<Traffic>::default();
        let direct = Way {
            // The only chain without hops: reached by `via: direct` and plain mode alone.
            lane: Arc::new(Lane::new(ChainSpec::direct(), true, None)),
            traffic: Arc::clone(&direct_traffic),
            via: Via::Direct,
        };
        let nothing = Registry {
            pools: HashMap::new(),
            routes: RouteTable::default(),
            retry: RetrySettings::default(),
            tunnel: TunnelSettings::default(),
            mode: Mode::Chain,
            direct,
            corporate: None,
        };
        let epoch = Instant::now();
        let inner = Arc::new(Inner {
            registry: ArcSwap::from_pointee(nothing),
            changes: Mutex::new(Changes::new(overlay)),
            dial,
            events,
            outage: Arc::new(Outage::new(epoch)),
            hearsay: Hearsay::default(),
            epoch,
            direct_traffic,
            corporate_traffic: Arc::default(),
            retries: RetryCounters::default(),
            departed: Departed::default(),
            warmth: Arc::default(),
        });
        inner.changes.lock().apply(&inner, settings)?;
        Ok(Self { inner })
    }

    /// Puts other settings in place, changes made while running laid over them. Members that are still the same
    /// proxy keep their counters, their state and their streams; streams in use live on whatever happens.
    ///
    /// # Errors
    ///
    /// [`SettingsError`]; nothing was changed then.
    pub fn apply(&self, settings: Settings) -> Result<Applied, SettingsError> {
        self.inner.changes.lock().apply(&self.inner, settings)
    }

    /// The changes made while running, to be kept for the next life.
    #[must_use]
    pub fn overlay(&self) -> Overlay {
        self.inner.changes.lock().overlay.clone()
    }

    /// Adds a member to a pool, which is made where it is not there yet.
    ///
    /// # Errors
    ///
    /// [`ChangeError::DuplicateId`], or hops that make no chain.
    pub fn add(&self, pool: PoolName, spec: MemberSpec) -> Result<ProxyView, ChangeError> {
        let spec = MemberSpec {
            origin: Origin::Admin,
            ..spec
        };
        let mut changes = self.inner.changes.lock();
        let registry = self.inner.registry.load_full();
        if find(&registry, &spec.id).is_some() {
            return Err(ChangeError::DuplicateId(spec.id));
        }
        let chain = member_chain(changes.base.corporate.as_ref(), &spec)
            .map_err(|error| SettingsError::Chain(spec.id.clone(), error))?;
        let entry = new_entry(&pool, &spec, chain, &mut changes.serial);
        if let Some(existing) = registry.pools.get(&pool) {
            let before = existing.snapshot();
            let entries = before.entries().iter().cloned().chain([entry.clone()]).collect();
            existing.replace(before.rebuilt(entries));
        } else {
            let shape = (&PoolSettings::new(pool.clone(), Vec::new())).into();
            let snapshot = Snapshot::new(vec![entry.clone()], shape, changes.base.breaker, None);
            let mut pools = registry.pools.clone();
            pools.insert(pool.clone(), self.inner.new_pool(pool.clone(), snapshot));
            let next = self.inner.registry_of(&changes.base, pools, &registry);
            self.inner.registry.store(Arc::new(next));
        }
        let base = changes.base_spec(&spec.id).cloned();
        changes.overlay.add(pool, spec, base.as_ref());
        changes.chained = true;
        Ok(ProxyView::of(&entry))
    }

    /// Changes a member in place.
    ///
    /// # Errors
    ///
    /// [`ChangeError::UnknownProxy`].
    pub fn patch(&self, id: &ProxyId, patch: &Patch) -> Result<ProxyView, ChangeError> {
        let mut changes = self.inner.changes.lock();
        let (pool, entry) = self.find(id)?;
        let mut spec = entry.spec();
        let weight_before = spec.weight;
        patch.apply(&mut spec);
        entry.member.update(&spec);
        if !spec.enabled {
            self.inner.hearsay.forget_about(&entry.member);
        }
        if spec.weight == weight_before {
            pool.refresh(&entry.member, Instant::now());
        } else {
            // Weights are built into the selector.
            let before = pool.snapshot();
            pool.replace(before.rebuilt(before.entries().to_vec()));
        }
        let base = changes.base_spec(id).cloned();
        changes.overlay.patch(id, patch, base.as_ref());
        Ok(ProxyView::of(&entry))
    }

    /// Removes a member. Streams through it live on; its pool stays, be it empty.
    ///
    /// # Errors
    ///
    /// [`ChangeError::UnknownProxy`].
    pub fn remove(&self, id: &ProxyId) -> Result<(), ChangeError> {
        let mut changes = self.inner.changes.lock();
        let (pool, entry) = self.find(id)?;
        let before = pool.snapshot();
        let entries = before
            .entries()
            .iter()
            .filter(|entry| entry.member.id() != id)
            .cloned()
            .collect();
        pool.replace(before.rebuilt(entries));
        entry.lane.close();
        self.inner.departed.take(&entry.member);
        self.inner.hearsay.forget_about(&entry.member);
        let base = changes.base_spec(id).cloned();
        changes.overlay.remove(id, base.as_ref());
        Ok(())
    }

    /// One member as it is now.
    #[must_use]
    pub fn get(&self, id: &ProxyId) -> Option<ProxyView> {
        self.find(id).ok().map(|(_, entry)| ProxyView::of(&entry))
    }

    /// Members as they are now: pools by name, in each the order of the configuration.
    #[must_use]
    pub fn list(&self, filter: &Filter) -> Vec<ProxyView> {
        let mut views = Vec::new();
        for pool in self.sorted(filter.pool.as_ref()) {
            let snapshot = pool.snapshot();
            let entries = snapshot
                .entries()
                .iter()
                .filter(|entry| filter.takes(&entry.member));
            views.extend(entries.map(ProxyView::of));
        }
        views
    }

    /// Handles to all members, for whoever reads their counters: pools by name, in each the order of the
    /// configuration.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Member>> {
        let mut members = Vec::new();
        for pool in self.sorted(None) {
            members.extend(
                pool.snapshot()
                    .entries()
                    .iter()
                    .map(|entry| Arc::clone(&entry.member)),
            );
        }
        members
    }

    /// A handle to one member.
    #[must_use]
    pub fn member(&self, id: &ProxyId) -> Option<Arc<Member>> {
        self.find(id).ok().map(|(_, entry)| entry.member)
    }

    /// The chain through a member, for health checks and probes.
    #[must_use]
    pub fn chain(&self, id: &ProxyId) -> Option<ChainSpec> {
        self.find(id).ok().map(|(_, entry)| entry.lane.spec().clone())
    }

    /// Names of all pools, sorted.
    #[must_use]
    pub fn pool_names(&self) -> Vec<PoolName> {
        self.sorted(None).iter().map(|pool| pool.name().clone()).collect()
    }

    /// Enabled members that would be picked now, and those that would not: health checks found them unhealthy, or
    /// their circuit is open and rests still.
    #[must_use]
    pub fn readiness(&self) -> (usize, usize) {
        let now = Instant::now();
        let (mut ready, mut down) = (0, 0);
        for pool in self.inner.registry.load_full().pools.values() {
            let snapshot = pool.snapshot();
            let breaks = snapshot.breaker().enabled;
            let members = snapshot.entries().iter().map(|entry| &entry.member);
            for member in members.filter(|member| member.enabled()) {
                let rests = breaks
                    && member.circuit() == Circuit::Open
                    && !member.breaker().is_admissible(now.into_std());
                if member.health().is_usable() && !rests {
                    ready += 1;
                } else {
                    down += 1;
                }
            }
        }
        (ready, down)
    }

    /// Sums over all pools and the ways without one.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (bytes_up, bytes_down) = self.inner.departed.bytes();
        let mut totals = Totals {
            bytes_up,
            bytes_down,
            ..Totals::default()
        };
        let registry = self.inner.registry.load_full();
        let mut add = |traffic: &Traffic, idle: usize| {
            totals.active += traffic.active();
            totals.bytes_up += traffic.bytes_up();
            totals.bytes_down += traffic.bytes_down();
            totals.idle += idle;
        };
        add(&self.inner.direct_traffic, registry.direct.lane.idle.len());
        let corporate_idle = registry.corporate.as_ref().map_or(0, |way| way.lane.idle.len());
        add(&self.inner.corporate_traffic, corporate_idle);
        for pool in registry.pools.values() {
            pool.snapshot()
                .entries()
                .iter()
                .for_each(|entry| add(entry.member.traffic(), entry.lane.idle.len()));
        }
        for pool in registry.pools.values() {
            let snapshot = pool.snapshot();
            totals.sessions += snapshot.sticky().len();
            for entry in snapshot.entries() {
                totals.warm += entry.lane.warm.len();
                match (entry.member.enabled(), entry.member.health().is_usable()) {
                    (false, _) => totals.disabled += 1,
                    (true, true) => totals.healthy += 1,
                    (true, false) => totals.unhealthy += 1,
                }
            }
        }
        totals
    }

    /// What went straight to targets.
    #[must_use]
    pub fn direct_traffic(&self) -> &Traffic {
        &self.inner.direct_traffic
    }

    /// What went through the corporate proxy alone, and its own failures.
    #[must_use]
    pub fn corporate_traffic(&self) -> &Traffic {
        &self.inner.corporate_traffic
    }

    /// Retries so far, by the kind of the failure before them.
    #[must_use]
    pub fn retries(&self) -> Vec<(FailureKind, u64)> {
        self.inner.retries.read().collect()
    }

    /// Whether the corporate proxy itself failed lately, and nothing went through it since.
    #[must_use]
    pub fn corporate_is_down(&self) -> bool {
        self.inner.outage.is_on()
    }

    /// Notes what health checks hold of a member. Constant time, however many there are; selection follows at once.
    pub fn set_health(&self, id: &ProxyId, health: Health) {
        if let Ok((pool, entry)) = self.find(id) {
            pool.set_health(&entry.member, health);
        }
    }

    /// Notes one health check, for display.
    pub fn note_check(&self, id: &ProxyId, record: CheckRecord) {
        if let Ok((_, entry)) = self.find(id) {
            entry.member.note_check(record);
        }
    }

    /// Leaves health out of selection, or takes it in again: a checker that died must not keep members out.
    pub fn lift_health(&self, lifted: bool) {
        let changed = self
            .sorted(None)
            .iter()
            .filter(|pool| pool.lift_health(lifted))
            .count();
        if changed > 0 && lifted {
            tracing::error!("Health checks ended, all enabled proxies count as healthy");
        }
    }

    /// Looks after what is kept: closes streams and forgets sessions that grew old. Never ends; one task of the
    /// process should run it. Without it requests still see no stale stream, but old ones stay open.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn maintain(&self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    /// Closes all kept streams and warm chains, for the end of the process.
    pub fn close_idle(&self) {
        self.inner.each_lane(|lane| {
            lane.idle.clear();
            lane.warm.clear();
        });
    }

    /// How many requests a warm chain has served, and how many warm chains were dead when they were needed.
    #[must_use]
    pub fn warm_counts(&self) -> (u64, u64) {
        self.inner.warmth.counts()
    }

    fn sweep(&self) {
        let now = Instant::now();
        let registry = self.inner.registry.load_full();
        self.inner
            .each_lane(|lane| lane.idle.sweep(now, registry.tunnel.idle_for));
        for pool in registry.pools.values() {
            let snapshot = pool.snapshot();
            snapshot.sticky().sweep(now, snapshot.shape().sticky.ttl);
        }
    }

    fn find(&self, id: &ProxyId) -> Result<(Arc<Pool>, Entry), ChangeError> {
        find(&self.inner.registry.load(), id).ok_or_else(|| ChangeError::UnknownProxy(id.clone()))
    }

    fn sorted(&self, name: Option<&PoolName>) -> Vec<Arc<Pool>> {
        let registry = self.inner.registry.load();
        let mut pools: Vec<_> = registry
            .pools
            .values()
            .filter(|pool| name.is_none_or(|name| pool.name() == name))
            .cloned()
            .collect();
        pools.sort_by(|a, b| a.name().cmp(b.name()));
        pools
    }
}

fn find(registry: &Registry, id: &ProxyId) -> Option<(Arc<Pool>, Entry)> {
    registry.pools.values().find_map(|pool| {
        let snapshot = pool.snapshot();
        let entry = snapshot.find(id).and_then(|at| snapshot.entry(at))?;
        Some((Arc::clone(pool), entry.clone()))
    })
}
