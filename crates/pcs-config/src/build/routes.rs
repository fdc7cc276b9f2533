//! Routes by host.

use pcs_models::{Host, PoolName};

use super::listeners::{collect_all, parse_network};
use super::{Bad, Builder, Named, Read, View};
use crate::config::{HostPattern, Route, RouteTo};
use crate::error::ErrorKind;
use crate::fill::{Filled, Value};

impl Builder<'_> {
    /// All routes. `known` are the names of the pools; where these are bad, every name that could be
    /// one counts.
    pub(super) fn routes(
        &mut self,
        root: &View<'_>,
        named: Named,
        has_corporate: bool,
        known: Option<Vec<&str>>,
    ) -> Read<Vec<Route>> {
        let pool_names = known.unwrap_or_else(|| {
            let entries = root.named("pools").unwrap_or_default();
            let others = entries
                .iter()
                .map(|(name, _)| name.as_str())
                .filter(|name| *name != PoolName::DEFAULT && PoolName::try_new(name).is_ok());
            [PoolName::DEFAULT].into_iter().chain(others).collect()
        });
        let items = root.list("routes")?;
        let read = |(index, filled): (usize, &Filled)| {
            let key = format!("routes[{index}]");
            let view = View::of(filled, &key).ok_or(Bad)?;
            let hosts = self.patterns(&view);
            let to = self.route_to(&view, &pool_names, named, has_corporate);
            Ok(Route {
                hosts: hosts?,
                to: to?,
            })
        };
        collect_all(items.iter().enumerate().map(read))
    }

    fn route_to(
        &mut self,
        view: &View<'_>,
        pools: &[&str],
        named: Named,
        has_corporate: bool,
    ) -> Read<RouteTo> {
        let (pool, via) = (
            view.text_opt("pool")?,
            view.choice_opt("via", |via| Some(via.to_owned()))?,
        );
        match (pool, via.as_deref()) {
            (Some(_), Some(_)) => {
                let (place, key) = (&view.at("via").place, view.key("via"));
                Err(self.refuse(place, &key, ErrorKind::Conflict, "cannot stand beside `pool`"))
            }
            (None, None) => {
                let message = "required: `pool` or `via` (`direct`, `corporate`, `reject`)";
                Err(self.refuse(view.place, &view.path, ErrorKind::Missing, message))
            }
            (Some(name), None) => {
                let refuse = |builder: &mut Self, message| {
                    builder.refuse(
                        &view.at("pool").place,
                        &view.key("pool"),
                        ErrorKind::Value,
                        message,
                    )
                };
                if !pools.contains(&name) {
                    let names: Vec<_> = pools.iter().map(|name| format!("`{name}`")).collect();
                    let names = if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    };
                    return Err(refuse(self, format!("there is no such pool (pools: {names})")));
                }
                PoolName::try_new(name)
                    .map(RouteTo::Pool)
                    .map_err(|error| refuse(self, error.to_string()))
            }
            (None, Some("direct")) => Ok(RouteTo::Direct),
            (None, Some("corporate")) => {
                let (place, key) = (&view.at("via").place, view.key("via"));
                if !named.corporate {
                    let message = "`corporate` needs `corporate_proxy`";
                    return Err(self.refuse(place, &key, ErrorKind::Conflict, message));
                }
                if !has_corporate {
                    self.findings.warn(
                        place,
                        &key,
                        "the corporate proxy is off: these requests will fail",
                    );
                }
                Ok(RouteTo::Corporate)
            }
            (None, Some(_)) => Ok(RouteTo::Reject),
        }
    }

    fn patterns(&mut self, view: &View<'_>) -> Read<Vec<HostPattern>> {
        let items = view.list("hosts")?;
        if items.is_empty() {
            let place = &view.at("hosts").place;
            return Err(self.refuse(
                place,
                &view.key("hosts"),
                ErrorKind::Value,
                "expected at least one host",
            ));
        }
        let read = |(index, item): (usize, &Filled)| {
            let Value::Text(text) = &item.value else {
                return Err(Bad);
            };
            parse_pattern(text).ok_or_else(|| {
                let message = format!("expected a {}", crate::table::Form::HostPattern.allowed());
                self.refuse(
                    &item.place,
                    &format!("{}[{index}]", view.key("hosts")),
                    ErrorKind::Value,
                    message,
                )
            })
        };
        collect_all(items.iter().enumerate().map(read))
    }
}

fn parse_pattern(text: &str) -> Option<HostPattern> {
    if let Some(network) = parse_network(text.trim_start_matches('[').trim_end_matches(']')) {
        return Some(HostPattern::Net(network));
    }
    if let Some(domain) = text.strip_prefix('.') {
        return match Host::parse(domain) {
            Ok(Host::Name(name)) => Some(HostPattern::Suffix(name)),
            _ => None,
        };
    }
    if !text.contains('*') {
        return match Host::parse(text) {
            Ok(Host::Name(name)) => Some(HostPattern::Glob(name)),
            _ => None,
        };
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte);
    let fits = text.len() <= 253 && text.bytes().all(allowed) && !text.contains("..");
    fits.then(|| HostPattern::Glob(text.to_ascii_lowercase().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_or_refused() {
        let cases = [
            ("*", Some("*")),
            ("*.Binance.com", Some("*.binance.com")),
            ("api-*.example.com", Some("api-*.example.com")),
            ("Example.com", Some("example.com")),
            (".example.com", Some(".example.com")),
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("[::1]", Some("::1/128")),
            ("fd00::/8", Some("fd00::/8")),
            ("10.0.0.0/33", None),
            ("exa mple.com", None),
            ("http://example.com", None),
            ("example.com:443", None),
            ("a..b", None),
            ("*..b", None),
            ("", None),
            (".", None),
            ("300.1.1.1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse_pattern(text).map(|pattern| pattern.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
