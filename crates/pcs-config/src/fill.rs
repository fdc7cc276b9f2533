//! From what was written to typed values: the table's kinds and defaults applied to a tree of nodes.

mod scalar;
mod suggest;

use std::borrow::Cow;

use pcs_models::Secret;

use crate::error::{ErrorKind, Findings, Place};
use crate::expand::Lookup;
use crate::node::{Entry, Node, Raw, shown_key};
use crate::table::{Key, Kind, MAX_LIST, Preset, Section};

/// A value of the kind its key has, or [`Value::Bad`] where an error was found.
#[derive(Debug, Clone)]
pub(crate) struct Filled {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a key came to.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// An error was recorded.
    Bad,
    Unset,
    Flag(bool),
    Whole(u64),
    Auto,
    Number(f64),
    Seconds(f64),
    Text(String),
    Secret(Secret),
    /// A proxy's URL, password and all.
    Url(Secret),
    Choice(&'static str),
    List(Vec<Filled>),
    Named(Vec<(String, Filled)>),
    /// One value per key, in the order of the section.
    Section(&'static Section, Vec<Filled>),
}

/// Walks nodes and table together.
pub(crate) struct Filler<'a> {
    pub(crate) env: Lookup<'a>,
    pub(crate) findings: &'a mut Findings,
    /// Secrets that stand in the file itself, with their keys.
    pub(crate) literal_secrets: Vec<(Place, String)>,
}

impl<'a> Filler<'a> {
    pub(crate) const fn new(env: Lookup<'a>, findings: &'a mut Findings) -> Self {
        Self {
            env,
            findings,
            literal_secrets: Vec::new(),
        }
    }

    /// The values of a section. Keys that are not there get their defaults, all of them [`Value::Unset`] if
    /// `defaults` is false.
    pub(crate) fn section(
        &mut self,
        section: &'static Section,
        node: Option<&Node>,
        path: &str,
        at: &Place,
        defaults: bool,
    ) -> Filled {
        let place = node.map_or_else(|| at.clone(), |node| node.place.clone());
        let entries: &[Entry] = match node.map(|node| &node.raw) {
            None => &[],
            Some(Raw::Map(entries)) => entries,
            Some(_) if node.is_some_and(Node::is_null) => &[],
            Some(_) => {
                self.wrong(node, path, "map");
                return Filled {
                    place,
                    value: Value::Bad,
                };
            }
        };
        for entry in entries {
            if section.position(&entry.key).is_none() {
                let message = suggest::unknown_key(section, path, &entry.key);
                self.findings.error(
                    &entry.place,
                    &join(path, &entry.key),
                    ErrorKind::UnknownKey,
                    message,
                );
            }
        }
        let values = section
            .keys
            .iter()
            .map(|key| {
                let entry = entries.iter().find(|entry| entry.key == key.name);
                let node = entry.map(|entry| &entry.node).filter(|node| !node.is_null());
                let at = entry.map_or(&place, |entry| &entry.place);
                self.key(key, node, &join(path, key.name), at, defaults)
            })
            .collect();
        Filled {
            place,
            value: Value::Section(section, values),
        }
    }

    fn key(
        &mut self,
        key: &'static Key,
        node: Option<&Node>,
        path: &str,
        at: &Place,
        defaults: bool,
    ) -> Filled {
        match node {
            Some(node) => self.value(&key.kind, matches!(key.default, Preset::Unset), node, path),
            None if defaults => self.preset(key, path, at),
            None => Filled {
                place: at.clone(),
                value: Value::Unset,
            },
        }
    }

    /// The default of a key.
    fn preset(&mut self, key: &'static Key, path: &str, at: &Place) -> Filled {
        let texts = |texts: &[&'static str], make: fn(&'static str) -> Value| {
            let item = |text: &&'static str| Filled {
                place: at.clone(),
                value: make(text),
            };
            Value::List(texts.iter().map(item).collect())
        };
        let value = match (key.default, &key.kind) {
            (Preset::Required, _) => {
                self.findings.error(
                    at,
                    path,
                    ErrorKind::Missing,
                    format!("required: {}", key.kind.allowed()),
                );
                Value::Bad
            }
            (Preset::Unset, _) => Value::Unset,
            (Preset::Flag(flag), _) => Value::Flag(flag),
            (Preset::Whole(number), _) => Value::Whole(number),
            (Preset::Seconds(seconds), _) => Value::Seconds(seconds),
            (Preset::Text(text), Kind::OneOf(_)) => Value::Choice(text),
            (Preset::Text(text), _) => Value::Text(text.to_owned()),
            (Preset::Texts(list), _) => texts(list, Value::Choice),
            (Preset::Wholes(list), _) => Value::List(
                list.iter()
                    .map(|number| Filled {
                        place: at.clone(),
                        value: Value::Whole(*number),
                    })
                    .collect(),
            ),
            (Preset::Empty, Kind::List(_)) => Value::List(Vec::new()),
            (Preset::Empty, Kind::Named { .. }) => Value::Named(Vec::new()),
            (Preset::Empty, kind) => match kind.section() {
                Some(section) => {
                    let defaults = !matches!(kind, Kind::Overrides(_));
                    return self.section(section, None, path, &Place::Default, defaults);
                }
                None => Value::Unset,
            },
        };
        let place = if matches!(value, Value::Bad) {
            at.clone()
        } else {
            Place::Default
        };
        Filled { place, value }
    }

    /// A value that was written.
    fn value(&mut self, kind: &'static Kind, optional: bool, node: &Node, path: &str) -> Filled {
        let place = node.place.clone();
        let value = match (kind, &node.raw) {
            (Kind::List(item), Raw::List(nodes)) => self.list(item, nodes, &place, path),
            (Kind::Named { value, .. }, Raw::Map(entries)) => Value::Named(
                entries
                    .iter()
                    .map(|entry| {
                        let filled = self.value(value, false, &entry.node, &join(path, &entry.key));
                        // What is wrong with a name stands at the name.
                        (
                            entry.key.clone(),
                            Filled {
                                place: entry.place.clone(),
                                value: filled.value,
                            },
                        )
                    })
                    .collect(),
            ),
            (Kind::UrlOr(_), Raw::Scalar(scalar)) if !node.is_null() => {
                self.scalar(&Kind::ProxyUrl, false, scalar, &place, path)
            }
            (Kind::UrlOr(section) | Kind::Section(section), _) => {
                return self.section(section, Some(node), path, &place, true);
            }
            (Kind::Overrides(section), _) => return self.section(section, Some(node), path, &place, false),
            (kind, Raw::Scalar(scalar)) if kind.is_scalar() => {
                self.scalar(kind, optional, scalar, &place, path)
            }
            (kind, _) => {
                self.wrong(Some(node), path, &kind.allowed());
                Value::Bad
            }
        };
        Filled { place, value }
    }

    fn list(&mut self, item: &'static Kind, nodes: &[Node], place: &Place, path: &str) -> Value {
        if nodes.len() > MAX_LIST {
            let message = format!(
                "a list may have at most {MAX_LIST} entries, here are {}",
                nodes.len()
            );
            self.findings.error(place, path, ErrorKind::Value, message);
            return Value::Bad;
        }
        let fill = |(index, node)| self.value(item, false, node, &format!("{path}[{index}]"));
        Value::List(nodes.iter().enumerate().map(fill).collect())
    }

    /// Records that something else was expected; says what kind of value was found, never the value.
    fn wrong(&mut self, node: Option<&Node>, path: &str, allowed: &str) {
        if let Some(node) = node {
            let path = if path.is_empty() && node.place == Place::Body {
                "body"
            } else {
                path
            };
            let message = format!("expected {}, found {}", article(allowed), node.kind());
            self.findings.error(&node.place, path, ErrorKind::Value, message);
        }
    }
}

/// Puts an article before a description that can take one.
pub(crate) fn article(allowed: &str) -> Cow<'_, str> {
    match allowed.bytes().next() {
        Some(b'`') | None => Cow::Borrowed(allowed),
        _ if allowed.starts_with("seconds") || allowed.starts_with("text") => Cow::Borrowed(allowed),
        Some(b'a' | b'e' | b'i' | b'o' | b'I') => Cow::Owned(format!("an {allowed}")),
        Some(_) => Cow::Owned(format!("a {allowed}")),
    }
}

/// A path with one more key, shown as far as keys are.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = shown_key(key);
    if path.is_empty() {
        key.into_owned()
    } else {
        format!("{path}.{key}")
    }
}
