//! Layering: `--set` over environment over file, by figment.
//!
//! Figment merges maps and knows which layer wins. It sees the tree of keys only: every scalar and list stays in
//! an arena of ours and goes through figment as its number. So no secret is copied or printed by it, texts keep
//! their spelling, and a list of thousands costs it one entry.

use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::error::{ErrorKind, Findings, Place};
use crate::keys::ROOT;
use crate::node::{Entry, Node, Raw, ScalarType};
use crate::table::Kind;
use crate::yaml;

/// What every variable that sets a key begins with; two underscores, since Kubernetes puts `PCS_…` variables of
/// its own into every container beside a service of that name.
pub(crate) const ENV_PREFIX: &str = "PCS__";

/// One value for one key, from a flag or a variable.
#[derive(Debug)]
pub(crate) struct Setting {
    path: Vec<String>,
    node: Node,
}

/// Reads `--set a.b=value`.
pub(crate) fn parse_set(text: &str, findings: &mut Findings) -> Option<Setting> {
    let place = Place::Flag("--set");
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
        // The text is not shown: it may be a value without its key.
        findings.error(
            &place,
            "",
            ErrorKind::Value,
            "expected key.path=value, as in server.port=9000",
        );
        return None;
    };
    let path = key.trim().split('.').map(str::to_owned).collect();
    setting(path, value, &place, findings)
}

/// Reads the variables that set keys, in the order of their names.
pub(crate) fn parse_env<'e>(
    variables: impl Iterator<Item = (&'e str, &'e str)>,
    findings: &mut Findings,
) -> Vec<Setting> {
    let mut chosen: Vec<_> = variables
        .filter(|(name, _)| name.starts_with(ENV_PREFIX))
        .collect();
    chosen.sort_unstable();
    let read = |(name, value): (&str, &str)| {
        let path = name
            .strip_prefix(ENV_PREFIX)?
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        setting(path, value, &Place::Env(name.into()), findings)
    };
    chosen.into_iter().filter_map(read).collect()
}

/// A flag of its own that sets one key.
pub(crate) fn flag(path: &[&str], value: &str, flag: &'static str) -> Setting {
    let node = Node::scalar(Place::Flag(flag), value.to_owned(), ScalarType::Any);
    Setting {
        path: path.iter().map(|&segment| segment.to_owned()).collect(),
        node,
    }
}

/// Reads a value as its key wants it: scalars are taken as they are, lists and maps are YAML.
fn setting(path: Vec<String>, value: &str, place: &Place, findings: &mut Findings) -> Option<Setting> {
    let scalar = |text: &str| Node::scalar(place.clone(), text.to_owned(), ScalarType::Any);
    // An unknown key goes on as a scalar; the reader complains about it with a suggestion.
    let kind = ROOT.kind_at(&path);
    let is_url = matches!(kind, Some(Kind::UrlOr(_))) && !value.trim_start().starts_with('{');
    let node = match kind {
        None => scalar(value),
        Some(kind) if kind.is_scalar() || is_url => scalar(value),
        Some(kind) => match yaml::parse_value(place, value) {
            // `A=x,y` is as good a list as `A=[x, y]`.
            Ok(node) => match (kind, &node.raw) {
                (Kind::List(item), Raw::Scalar(_)) if item.is_scalar() && !node.is_null() => {
                    let items = value.split(',').map(|part| scalar(part.trim())).collect();
                    Node {
                        place: place.clone(),
                        raw: Raw::List(items),
                    }
                }
                _ => node,
            },
            Err(errors) => {
                for mut error in errors {
                    error.key = path.join(".");
                    findings.push(error);
                }
                return None;
            }
        },
    };
    Some(Setting { path, node })
}

/// The layers as one tree; the later wins, maps are merged key by key, lists are replaced.
pub(crate) fn merge(file: Option<&Node>, settings: Vec<Setting>) -> Node {
    let mut arena = Arena::default();
    let mut figment = Figment::new();
    if let Some(Node {
        raw: Raw::Map(entries),
        ..
    }) = file
    {
        figment = figment.merge(Layer {
            name: "file",
            dict: arena.dict(entries),
        });
    }
    for Setting { path, node } in settings {
        let mut value = arena.value(&node);
        for segment in path.iter().rev() {
            value = Value::from(Dict::from([(segment.clone(), value)]));
        }
        if let Some(dict) = value.into_dict() {
            figment = figment.merge(Layer {
                name: "setting",
                dict,
            });
        }
    }
    let merged = figment.data().expect("layers hold no profile and no error");
    let dict = merged
        .into_iter()
        .find(|(profile, _)| *profile == Profile::Default)
        .map(|(_, dict)| dict);
    arena.restore(&Value::from(dict.unwrap_or_default()), file, &Place::Default)
}

struct Layer {
    name: &'static str,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// The leaves of all layers.
#[derive(Default)]
struct Arena {
    leaves: Vec<Node>,
}

impl Arena {
    fn dict(&mut self, entries: &[Entry]) -> Dict {
        entries
            .iter()
            .map(|entry| (entry.key.clone(), self.value(&entry.node)))
            .collect()
    }

    fn value(&mut self, node: &Node) -> Value {
        match &node.raw {
            Raw::Map(entries) => Value::from(self.dict(entries)),
            Raw::Scalar(_) | Raw::List(_) => {
                self.leaves.push(node.clone());
                Value::from(self.leaves.len() - 1)
            }
        }
    }

    /// The nodes behind the numbers. Maps have the places of the file's maps where the file has them, else those of
    /// their first leaf.
    fn restore(&self, value: &Value, file: Option<&Node>, fallback: &Place) -> Node {
        match value {
            Value::Dict(_, dict) => {
                let entries: Vec<Entry> = dict
                    .iter()
                    .map(|(key, value)| {
                        let written = file.and_then(|file| file.get(key));
                        let at = written.map_or(fallback, |entry| &entry.place);
                        let node = self.restore(value, written.map(|entry| &entry.node), at);
                        let place = written.map_or_else(|| node.place.clone(), |entry| entry.place.clone());
                        Entry {
                            key: key.clone(),
                            place,
                            node,
                        }
                    })
                    .collect();
                let first = entries.first().map_or(fallback, |entry| &entry.place);
                let place = file.map_or(first, |file| &file.place).clone();
                Node {
                    place,
                    raw: Raw::Map(entries),
                }
            }
            Value::Num(_, number) => {
                let index = match number {
                    Num::USize(index) => Some(*index),
                    other => other.to_u128().and_then(|index| usize::try_from(index).ok()),
                };
                let leaf = index.and_then(|index| self.leaves.get(index));
                leaf.cloned().expect("every number came out of this arena")
            }
            _ => Node::null(fallback.clone()),
        }
    }
}
