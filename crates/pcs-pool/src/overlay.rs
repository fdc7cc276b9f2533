//! Changes made while running, laid over the configuration.

use std::collections::BTreeMap;

use pcs_models::{AuthScheme, PoolName, ProxyId};

use crate::{MemberSpec, Origin, PoolSettings};

/// The changes of the admin API by proxy id: applied again over every configuration that is loaded.
///
/// An entry of the configuration that was edited since drops its change: whoever edits the file means it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overlay {
    /// One change a proxy.
    pub changes: BTreeMap<ProxyId, Change>,
}

/// What was done to one proxy.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is not in the configuration, or not as it is there.
    Added {
        /// The pool it was added to.
        pool: PoolName,
        /// The proxy, later patches included.
        spec: Box<MemberSpec>,
        /// [`fingerprint`] of the entry of the configuration that was removed before, if one was.
        base: Option<u64>,
    },
    /// It is in the configuration, but some of it was changed.
    Patched {
        /// What was changed.
        patch: Patch,
        /// [`fingerprint`] of the entry that was changed.
        base: u64,
    },
    /// It is in the configuration, but was removed.
    Removed {
        /// [`fingerprint`] of the entry that was removed.
        base: u64,
    },
}

/// What may be changed about a member in place; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Whether it may be used.
    pub enabled: Option<bool>,
    /// Its share of traffic.
    pub weight: Option<u16>,
    /// All of its tags.
    pub tags: Option<BTreeMap<String, String>>,
}

impl Patch {
    /// Changes `spec` accordingly.
    pub fn apply(&self, spec: &mut MemberSpec) {
        if let Some(enabled) = self.enabled {
            spec.enabled = enabled;
        }
        if let Some(weight) = self.weight {
            spec.weight = weight;
        }
        if let Some(tags) = &self.tags {
            spec.tags.clone_from(tags);
        }
    }

    /// This patch, then `later` on top.
    #[must_use]
    pub fn then(self, later: &Self) -> Self {
        Self {
            enabled: later.enabled.or(self.enabled),
            weight: later.weight.or(self.weight),
            tags: later.tags.clone().or(self.tags),
        }
    }
}

impl Overlay {
    /// Lays the changes over the configured pools, and forgets those that have lost their ground.
    pub(crate) fn lay_over(&mut self, pools: &mut Vec<PoolSettings>) {
        let mut grounded = std::collections::BTreeSet::new();
        for pool in &mut *pools {
            pool.members.retain_mut(|spec| match self.changes.get(&spec.id) {
                Some(Change::Patched { patch, base }) if *base == fingerprint(spec) => {
                    grounded.insert(spec.id.clone());
                    patch.apply(spec);
                    true
                }
                Some(Change::Removed { base } | Change::Added { base: Some(base), .. })
                    if *base == fingerprint(spec) =>
                {
                    grounded.insert(spec.id.clone());
                    false
                }
                Some(_) => {
                    // Edited since, or now in the file by itself: the file counts.
                    self.changes.remove(&spec.id);
                    true
                }
                None => true,
            });
        }
        self.changes
            .retain(|id, change| matches!(change, Change::Added { .. }) || grounded.contains(id));
        for change in self.changes.values() {
            let Change::Added { pool, spec, .. } = change else {
                continue;
            };
            let spec = MemberSpec {
                origin: Origin::Admin,
                ..MemberSpec::clone(spec)
            };
            match pools.iter_mut().find(|candidate| candidate.name == *pool) {
                Some(settings) => settings.members.push(spec),
                None => pools.push(PoolSettings::new(pool.clone(), vec![spec])),
            }
        }
    }

    /// Notes an addition, in place of the configured entry `base` where one was removed before.
    pub(crate) fn add(&mut self, pool: PoolName, spec: MemberSpec, base: Option<&MemberSpec>) {
        let (id, spec) = (spec.id.clone(), Box::new(spec));
        self.changes.insert(
            id,
            Change::Added {
                pool,
                spec,
                base: base.map(fingerprint),
            },
        );
    }

    /// Notes a patch of a member whose configured entry, before any change, is `base`.
    pub(crate) fn patch(&mut self, id: &ProxyId, patch: &Patch, base: Option<&MemberSpec>) {
        match self.changes.get_mut(id) {
            Some(Change::Added { spec, .. }) => patch.apply(spec),
            Some(Change::Patched { patch: earlier, .. }) => *earlier = std::mem::take(earlier).then(patch),
            Some(Change::Removed { .. }) | None => {
                if let Some(base) = base {
                    let change = Change::Patched {
                        patch: patch.clone(),
                        base: fingerprint(base),
                    };
                    self.changes.insert(id.clone(), change);
                }
            }
        }
    }

    /// Notes the removal of a member whose configured entry is `base`.
    pub(crate) fn remove(&mut self, id: &ProxyId, base: Option<&MemberSpec>) {
        match base {
            Some(base) => self.changes.insert(
                id.clone(),
                Change::Removed {
                    base: fingerprint(base),
                },
            ),
            None => self.changes.remove(id),
        };
    }
}

/// A number that changes when somebody edits a proxy's entry.
///
/// The password plays no part: the number is kept in files from which it should not be guessable. Stable across
/// restarts, machines and versions: FNV-1a, 64 bits.
#[must_use]
pub fn fingerprint(spec: &MemberSpec) -> u64 {
    let mut text = format!("{}|{}|{}|", spec.hop.protocol, spec.hop.endpoint, spec.weight);
    let user = spec
        .hop
        .credentials
        .as_ref()
        .map_or("", |credentials| credentials.username());
    let domain = spec.hop.domain.as_deref().unwrap_or_default();
    let tls = &spec.hop.tls;
    let auth = match spec.hop.auth {
        AuthScheme::Auto => "auto",
        AuthScheme::Basic => "basic",
        AuthScheme::Ntlm => "ntlm",
    };
    for part in [
        user,
        domain,
        auth,
        tls.server_name.as_deref().unwrap_or_default(),
        &tls.ca_file
            .as_deref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        if spec.enabled { "on" } else { "off" },
        if spec.reuse { "reuse" } else { "fresh" },
        if tls.insecure_skip_verify {
            "insecure"
        } else {
            "proven"
        },
    ] {
        text.push_str(part);
        // A byte that no part holds: parts cannot run into one another.
        text.push('\0');
    }
    for (key, value) in &spec.tags {
        text.extend([key.as_str(), "\0", value.as_str(), "\0"]);
    }
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcs_models::{Credentials, Hop, Protocol, Secret};

    fn spec(id: &str, port: u16) -> MemberSpec {
        let hop = Hop::new(Protocol::Http, format!("proxy.example:{port}").parse().unwrap());
        MemberSpec::new(ProxyId::try_new(id).unwrap(), hop)
    }

    fn pools(members: &[MemberSpec]) -> Vec<PoolSettings> {
        vec![PoolSettings::new(PoolName::default(), members.to_vec())]
    }

    fn ids(pools: &[PoolSettings]) -> Vec<&str> {
        pools
            .iter()
            .flat_map(|pool| &pool.members)
            .map(|member| member.id.as_str())
            .collect()
    }

    #[test]
    fn changes_live_on_over_an_unedited_file() {
        let file = [spec("a", 1), spec("b", 2), spec("c", 3)];
        let mut overlay = Overlay::default();
        overlay.remove(&file[0].id, Some(&file[0]));
        let off = Patch {
            enabled: Some(false),
            ..Patch::default()
        };
        overlay.patch(&file[1].id, &off, Some(&file[1]));
        overlay.patch(
            &file[1].id,
            &Patch {
                weight: Some(7),
                ..Patch::default()
            },
            Some(&file[1]),
        );
        overlay.add(PoolName::try_new("extra").unwrap(), spec("d", 4), None);
        overlay.patch(&spec("d", 4).id, &off, None);
        for _ in 0..2 {
            let mut pools = pools(&file);
            overlay.lay_over(&mut pools);
            assert_eq!(ids(&pools), ["b", "c", "d"]);
            assert!(!pools[0].members[0].enabled && pools[0].members[0].weight == 7);
            assert_eq!(pools[1].members[0].origin, Origin::Admin);
            assert!(!pools[1].members[0].enabled);
        }
    }

    #[test]
    fn an_edited_entry_drops_its_change() {
        let mut overlay = Overlay::default();
        overlay.remove(&spec("a", 1).id, Some(&spec("a", 1)));
        overlay.add(PoolName::default(), spec("b", 2), None);
        let mut edited = pools(&[spec("a", 9), spec("b", 8)]);
        overlay.lay_over(&mut edited);
        assert_eq!(ids(&edited), ["a", "b"]);
        assert!(
            edited[0]
                .members
                .iter()
                .all(|member| member.origin == Origin::Config)
        );
        assert_eq!(overlay, Overlay::default());
    }

    #[test]
    fn removing_what_was_added_leaves_no_trace() {
        let mut overlay = Overlay::default();
        overlay.add(PoolName::default(), spec("a", 1), None);
        overlay.remove(&spec("a", 1).id, None);
        assert_eq!(overlay, Overlay::default());
    }

    #[test]
    fn the_fingerprint_sees_edits_but_not_the_password() {
        let base = spec("a", 1);
        let with = |password: &str| {
            let mut spec = base.clone();
            spec.hop.credentials = Some(Credentials::try_new("u", Secret::new(password.into())).unwrap());
            spec
        };
        assert_eq!(fingerprint(&with("x")), fingerprint(&with("y")));
        assert_ne!(fingerprint(&with("x")), fingerprint(&base));
        let mut tagged = base.clone();
        tagged.tags.insert("k".into(), "v".into());
        assert_ne!(fingerprint(&tagged), fingerprint(&base));
        assert_eq!(
            fingerprint(&base),
            0x08a6_4bf6_751e_368b,
            "stored in state files: must never change"
        );
    }
}
