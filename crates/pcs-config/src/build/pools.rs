//! Pools: members, unique ids, fallbacks that end somewhere.

use std::collections::BTreeMap;

use pcs_models::{HopName, PoolName};

use super::{Bad, Builder, Named, Read, View};
use crate::config::{
    HealthCheckConfig, HealthMethod, MemberConfig, PoolConfig, Route, RouteTo, StickyConfig, Strategy,
    WhenExhausted,
};
use crate::error::{ErrorKind, Place};
use crate::fill::{Filled, Filler, Value, join};
use crate::identity::qualify;
use crate::keys::POOL;

/// A member and where it was written.
struct Written {
    pool: PoolName,
    key: String,
    place: Place,
}

impl Builder<'_> {
    /// All pools, `default` first. `with_default` makes it exist even where nothing describes it: a chain that was
    /// named and has no members answers 503, it is no reason to go straight to the target.
    pub(super) fn pools(
        &mut self,
        root: &View<'_>,
        named: Named,
        base: &HealthCheckConfig,
        with_default: bool,
    ) -> Read<Vec<PoolConfig>> {
        let entries = root.named("pools")?;
        let mut described: Vec<(PoolName, &Filled, String)> = Vec::new();
        let mut all_well = true;
        let own_default = entries.iter().any(|(name, _)| name == PoolName::DEFAULT);
        if with_default && (named.rotation || !own_default) {
            described.push((PoolName::default(), root.at("rotation"), "rotation".to_owned()));
        }
        for (name, filled) in entries {
            let key = join("pools", name);
            if name == PoolName::DEFAULT && named.rotation {
                let message = "the pool `default` is described by `rotation` already";
                self.findings
                    .error(&filled.place, &key, ErrorKind::Conflict, message);
            }
            match PoolName::try_new(name) {
                Ok(pool) if name == PoolName::DEFAULT => described.insert(0, (pool, filled, key)),
                Ok(pool) => described.push((pool, filled, key)),
                Err(error) => {
                    self.findings
                        .error(&filled.place, &key, ErrorKind::Value, error.to_string());
                    all_well = false;
                }
            }
        }
        let mut pools = Vec::with_capacity(described.len());
        let mut seen = BTreeMap::new();
        for (name, filled, key) in &described {
            match self.pool(name, filled, key, base, &mut seen) {
                Ok(pool) => pools.push(pool),
                Err(Bad) => all_well = false,
            }
        }
        self.fallbacks(&described);
        if all_well { Ok(pools) } else { Err(Bad) }
    }

    fn pool(
        &mut self,
        name: &PoolName,
        filled: &Filled,
        key: &str,
        base: &HealthCheckConfig,
        seen: &mut BTreeMap<String, Written>,
    ) -> Read<PoolConfig> {
        // A pool of one, written as its proxy's URL: everything else is as the table has it.
        let single = matches!(filled.value, Value::Url(_));
        let defaults;
        let view = if single {
            defaults = Filler::new(&|_| None, self.findings).section(&POOL, None, key, &filled.place, true);
            View::of(&defaults, key).ok_or(Bad)?
        } else {
            View::of(filled, key).ok_or(Bad)?
        };
        let members = if single {
            self.members(&[(key.to_owned(), filled)], name, seen)
        } else {
            let entries = view.list("proxies");
            let named = |(index, filled)| (format!("{}[{index}]", view.key("proxies")), filled);
            entries.and_then(|entries| {
                let entries: Vec<_> = entries.iter().enumerate().map(named).collect();
                self.members(&entries, name, seen)
            })
        };
        let health = view
            .section("health_check")
            .and_then(|own| self.health(&own, Some(base)));
        let fallback = match view.text_opt("fallback")? {
            Some(text) => Some(PoolName::try_new(text).map_err(|error| {
                self.refuse(
                    &view.at("fallback").place,
                    &view.key("fallback"),
                    ErrorKind::Value,
                    error.to_string(),
                )
            })?),
            None => None,
        };
        let sticky = view.section("sticky")?;
        Ok(PoolConfig {
            name: name.clone(),
            strategy: view.choice("strategy", Strategy::from_name)?,
            when_exhausted: view.choice("when_exhausted", WhenExhausted::from_name)?,
            members: members?,
            sticky: StickyConfig {
                ttl: sticky.seconds("ttl_seconds")?,
                max_sessions: sticky.whole("max_sessions")?,
            },
            fallback,
            health: health?,
        })
    }

    fn members(
        &mut self,
        entries: &[(String, &Filled)],
        pool: &PoolName,
        seen: &mut BTreeMap<String, Written>,
    ) -> Read<Vec<MemberConfig>> {
        let mut members = Vec::with_capacity(entries.len());
        let mut all_well = true;
        for (key, filled) in entries {
            let written = Written {
                pool: pool.clone(),
                key: key.clone(),
                place: filled.place.clone(),
            };
            match self.member(filled, key) {
                Ok(member) => members.push((member, written)),
                Err(Bad) => all_well = false,
            }
        }
        let members = self.unique(members, pool, seen)?;
        if all_well { Ok(members) } else { Err(Bad) }
    }

    /// Gives every member an id of its own, or says which two share one.
    ///
    /// The same proxy may stand in several pools; where its id is derived, the later ones get `@POOL` behind it.
    /// Twice in one pool without an id it is a mistake.
    fn unique(
        &mut self,
        members: Vec<(MemberConfig, Written)>,
        pool: &PoolName,
        seen: &mut BTreeMap<String, Written>,
    ) -> Read<Vec<MemberConfig>> {
        let mut all_well = true;
        let mut unique = Vec::with_capacity(members.len());
        for (mut member, written) in members {
            let taken_elsewhere = seen
                .get(member.id.as_str())
                .is_some_and(|other| other.pool != *pool);
            if taken_elsewhere
                && !member.id_given
                && let Some(id) = qualify(&member.id, pool)
            {
                member.hop.name = HopName::from(&id);
                member.id = id;
            }
            if let Some(other) = seen.get(member.id.as_str()) {
                let at = match other.place.line() {
                    Some(line) => format!("`{}` in line {line}", other.key),
                    None => format!("`{}`", other.key),
                };
                let message = if member.id_given {
                    format!("the id `{}` is that of {at} already", member.id)
                } else {
                    format!("the same protocol, host, port and user name as {at}; give each an `id`")
                };
                self.findings
                    .error(&written.place, &written.key, ErrorKind::Conflict, message);
                all_well = false;
                continue;
            }
            seen.insert(member.id.as_str().to_owned(), written);
            unique.push(member);
        }
        if all_well { Ok(unique) } else { Err(Bad) }
    }

    /// Every fallback is a pool, and following them comes to an end; whatever else is wrong with the pools.
    fn fallbacks(&mut self, described: &[(PoolName, &Filled, String)]) {
        let read = |filled, key: &str| {
            let text = View::of(filled, key)?.text_opt("fallback").ok()??;
            PoolName::try_new(text).ok()
        };
        let mut next: BTreeMap<&PoolName, Option<PoolName>> = BTreeMap::new();
        for (name, filled, key) in described {
            next.entry(name).or_insert_with(|| read(filled, key));
        }
        for (name, filled, key) in described {
            let (Some(view), Some(fallback)) = (View::of(filled, key), read(filled, key)) else {
                continue;
            };
            let place = &view.at("fallback").place;
            if !next.contains_key(&fallback) {
                let mut names: Vec<_> = described.iter().map(|(name, ..)| format!("`{name}`")).collect();
                names.dedup();
                let message = format!("there is no pool `{fallback}` (pools: {})", names.join(", "));
                self.findings
                    .error(place, &view.key("fallback"), ErrorKind::Value, message);
                continue;
            }
            let mut at = Some(fallback);
            let mut steps = 0;
            while let Some(reached) = at.filter(|_| steps <= described.len()) {
                if reached == *name {
                    let message = format!("leads back to `{name}` itself");
                    self.findings
                        .error(place, &view.key("fallback"), ErrorKind::Conflict, message);
                    break;
                }
                at = next.get(&reached).cloned().flatten();
                steps += 1;
            }
        }
    }

    /// ICMP reaches a member only if nothing stands before it.
    pub(super) fn ping_needs_first_hop(
        &mut self,
        root: &View<'_>,
        pools: &[PoolConfig],
        has_corporate: bool,
    ) {
        if !has_corporate {
            return;
        }
        let mut blame = |view: &View<'_>| {
            let message = "`ping` reaches a proxy only where it is the first hop; behind `corporate_proxy` use \
                           `http`, `connect` or `tcp`";
            self.findings.error(
                &view.at("method").place,
                &view.key("method"),
                ErrorKind::Conflict,
                message,
            );
        };
        let is_ping = |view: &View<'_>| matches!(view.at("method").value, Value::Choice("ping"));
        if let Ok(view) = root.section("health_check")
            && is_ping(&view)
            && pools.iter().any(|pool| pool.health.method == HealthMethod::Ping)
        {
            blame(&view);
        }
        let entries = root.named("pools").unwrap_or_default();
        let all = entries.iter().map(|(name, filled)| (join("pools", name), filled));
        for (key, filled) in all.chain([("rotation".to_owned(), root.at("rotation"))]) {
            let own = View::of(filled, &key).and_then(|view| view.section("health_check").ok());
            if let Some(view) = own.filter(is_ping) {
                blame(&view);
            }
        }
    }

    /// Says where requests would end in 503 whatever happens.
    pub(super) fn warn_of_dead_ends(&mut self, pools: &[PoolConfig], routes: &[Route], has_state: bool) {
        let Some(default) = pools
            .first()
            .filter(|pool| pool.members.is_empty() && pool.fallback.is_none())
        else {
            return;
        };
        let catches_all = |route: &Route| {
            matches!(route.to, RouteTo::Pool(_))
                && route
                    .hosts
                    .iter()
                    .any(|host| matches!(host, crate::HostPattern::Glob(glob) if &**glob == "*"))
        };
        if !has_state && !routes.iter().any(catches_all) {
            let message = format!(
                "the pool `{}` has no proxies: requests that no route matches and that ask for no other pool are answered 503",
                default.name
            );
            self.findings.warn(&Place::Default, "rotation.proxies", message);
        }
    }
}
