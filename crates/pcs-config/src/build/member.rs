//! One rotating proxy.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use pcs_models::{Hop, HopName, ProxyId};

use super::hop::protocol;
use super::{Bad, Builder, Read, View};
use crate::api::MemberPatch;
use crate::config::MemberConfig;
use crate::error::{ErrorKind, Place};
use crate::fill::{Filled, Value};
use crate::identity::derive_id;
use crate::proxy_url::{MemberParts, parse_proxy_url};

impl Builder<'_> {
    /// A map or a bare URL.
    pub(crate) fn member(&mut self, filled: &Filled, path: &str) -> Read<MemberConfig> {
        match &filled.value {
            Value::Url(url) => {
                let hop = self.url(url.expose(), &filled.place, path)?.into_hop();
                self.warn_of_socks4_password(&filled.place, path, &hop);
                Ok(with_derived_id(hop, filled.place.line()))
            }
            Value::Section(..) => {
                let view = View::of(filled, path).ok_or(Bad)?;
                self.member_map(&view)
            }
            _ => Err(Bad),
        }
    }

    fn url(&mut self, url: &str, place: &Place, path: &str) -> Read<MemberParts> {
        parse_proxy_url(url).map_err(|error| {
            let message =
                format!("expected the URL of a proxy, `[scheme://][user:password@]host[:port]`: {error}");
            self.refuse(place, path, ErrorKind::Value, message)
        })
    }

    fn member_map(&mut self, view: &View<'_>) -> Read<MemberConfig> {
        let id = self.member_id(view);
        let hop = self.member_hop(view);
        let tags = self.tags(view);
        let weight = view
            .whole::<u16>("weight")
            .and_then(|weight| NonZeroU16::new(weight).ok_or(Bad));
        let (enabled, reuse) = (view.flag("enabled"), view.flag("reuse"));
        let mut member = with_derived_id(hop?, view.place.line());
        if let Some(id) = id? {
            member.hop.name = HopName::from(&id);
            member.id = id;
            member.id_given = true;
        }
        member.weight = weight?;
        member.enabled = enabled?;
        member.reuse = reuse?;
        member.tags = tags?;
        Ok(member)
    }

    fn member_id(&mut self, view: &View<'_>) -> Read<Option<ProxyId>> {
        let Some(text) = view.text_opt("id")? else {
            return Ok(None);
        };
        ProxyId::try_new(text).map(Some).map_err(|error| {
            self.refuse(
                &view.at("id").place,
                &view.key("id"),
                ErrorKind::Value,
                error.to_string(),
            )
        })
    }

    fn member_hop(&mut self, view: &View<'_>) -> Read<Hop> {
        let mut hop = match view.secret_opt("url")? {
            Some(url) => {
                for name in ["host", "port", "protocol"] {
                    if view.is_set(name) {
                        let (place, key) = (&view.at(name).place, view.key(name));
                        self.findings
                            .error(place, &key, ErrorKind::Conflict, "`url` says it already");
                    }
                }
                let parts = self.url(url.expose(), &view.at("url").place, &view.key("url"))?;
                let credentials = self.credentials(view, parts.credentials.as_ref())?;
                MemberParts { credentials, ..parts }.into_hop()
            }
            None => self.member_by_host(view)?,
        };
        hop.tls = self.tls(view, hop.protocol)?;
        self.warn_of_socks4_password(view.place, &view.path, &hop);
        Ok(hop)
    }

    fn member_by_host(&mut self, view: &View<'_>) -> Read<Hop> {
        let mut whole = true;
        for name in ["host", "port"] {
            if !view.is_set(name) {
                whole = false;
                let message = if name == "host" {
                    "required: host name or IP address (or give `url`)"
                } else {
                    "required: whole number from 1 to 65535"
                };
                self.findings
                    .error(view.place, &view.key(name), ErrorKind::Missing, message);
            }
        }
        let credentials = self.credentials(view, None);
        if !whole {
            return Err(Bad);
        }
        let endpoint = self.endpoint(view);
        let (endpoint, credentials) = (endpoint?, credentials?);
        Ok(MemberParts {
            protocol: protocol(view)?,
            endpoint,
            credentials,
        }
        .into_hop())
    }

    fn tags(&mut self, view: &View<'_>) -> Read<BTreeMap<String, String>> {
        let mut tags = BTreeMap::new();
        for (name, filled) in view.named("tags")? {
            let Value::Text(text) = &filled.value else {
                return Err(Bad);
            };
            if name.is_empty() || name.len() > 128 || text.len() > 1024 {
                let message = "a tag's name may have 1 to 128 bytes, its value 1024";
                return Err(self.refuse(&filled.place, &view.key("tags"), ErrorKind::Value, message));
            }
            tags.insert(name.clone(), text.clone());
        }
        if tags.len() > 64 {
            let place = &view.at("tags").place;
            return Err(self.refuse(
                place,
                &view.key("tags"),
                ErrorKind::Value,
                "a proxy may have 64 tags at most",
            ));
        }
        Ok(tags)
    }
}

fn with_derived_id(hop: Hop, line: Option<u32>) -> MemberConfig {
    let id = derive_id(&hop);
    MemberConfig {
        hop: hop.named(HopName::from(&id)),
        id,
        id_given: false,
        weight: NonZeroU16::MIN,
        enabled: true,
        tags: BTreeMap::new(),
        reuse: true,
        line,
    }
}

impl Builder<'_> {
    /// The changeable ones of the `given` keys.
    pub(crate) fn patch(&mut self, filled: &Filled, given: &[String]) -> Read<MemberPatch> {
        let view = View::of(filled, "").ok_or(Bad)?;
        let has = |name: &str| given.iter().any(|given| given == name);
        let mut patch = MemberPatch::default();
        if has("enabled") {
            patch.enabled = view.flag_opt("enabled")?;
        }
        if has("weight") {
            patch.weight = view.whole_opt::<u16>("weight")?.and_then(NonZeroU16::new);
        }
        if has("tags") {
            patch.tags = Some(self.tags(&view)?);
        }
        Ok(patch)
    }
}
