//! A tree of values as they were written, each with its place.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::error::Place;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) raw: Raw,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) place: Place,
    pub(crate) node: Node,
}

/// A scalar as text, with what YAML takes it for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) ty: ScalarType,
    /// Whether `${VAR}` is expanded in it: file only.
    pub(crate) expand: bool,
}

/// What YAML takes a scalar for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScalarType {
    Null,
    Bool,
    Number,
    Text,
    /// Whatever the key wants: environment, `--set`, and a scalar that is one whole reference.
    Any,
}

impl Node {
    pub(crate) const fn scalar(place: Place, text: String, ty: ScalarType) -> Self {
        Self {
            place,
            raw: Raw::Scalar(Scalar {
                text,
                ty,
                expand: false,
            }),
        }
    }

    pub(crate) const fn null(place: Place) -> Self {
        Self::scalar(place, String::new(), ScalarType::Null)
    }

    pub(crate) const fn is_null(&self) -> bool {
        matches!(
            &self.raw,
            Raw::Scalar(Scalar {
                ty: ScalarType::Null,
                ..
            })
        )
    }

    /// The value under a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.raw {
            Raw::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Raw::Scalar(_) | Raw::List(_) => None,
        }
    }

    /// As [`Node::get`], for change.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.raw {
            Raw::Map(entries) => entries
                .iter_mut()
                .find(|entry| entry.key == key)
                .map(|entry| &mut entry.node),
            Raw::Scalar(_) | Raw::List(_) => None,
        }
    }

    /// What to call it in a message; never its content.
    pub(crate) const fn kind(&self) -> &'static str {
        match &self.raw {
            Raw::List(_) => "a list",
            Raw::Map(_) => "a map",
            Raw::Scalar(scalar) => match scalar.ty {
                ScalarType::Null => "nothing",
                ScalarType::Bool => "true or false",
                ScalarType::Number => "a number",
                ScalarType::Text | ScalarType::Any => "text",
            },
        }
    }

    /// Reads the body of an API call, whose duplicate keys serde_json has already settled.
    pub(crate) fn from_json(value: serde_json::Value) -> Self {
        use serde_json::Value;
        let place = Place::Body;
        let raw = match value {
            Value::Null => return Self::null(place),
            Value::Bool(flag) => return Self::scalar(place, flag.to_string(), ScalarType::Bool),
            Value::Number(number) => return Self::scalar(place, number.to_string(), ScalarType::Number),
            Value::String(text) => return Self::scalar(place, text, ScalarType::Text),
            Value::Array(items) => Raw::List(items.into_iter().map(Self::from_json).collect()),
            Value::Object(entries) => Raw::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key,
                        place: Place::Body,
                        node: Self::from_json(value),
                    })
                    .collect(),
            ),
        };
        Self { place, raw }
    }

    /// Takes YAML merge keys (`<<`) apart: a map's own entries win over merged ones, earlier merged maps over later.
    ///
    /// # Errors
    ///
    /// The place of a `<<` whose value is neither a map nor a list of maps.
    pub(crate) fn apply_merge(&mut self) -> Result<(), Place> {
        match &mut self.raw {
            Raw::Scalar(_) => Ok(()),
            Raw::List(items) => items.iter_mut().try_for_each(Self::apply_merge),
            Raw::Map(entries) => {
                for entry in entries.iter_mut() {
                    entry.node.apply_merge()?;
                }
                let Some(at) = entries.iter().position(|entry| entry.key == "<<") else {
                    return Ok(());
                };
                let merged = entries.remove(at);
                let sources = match merged.node.raw {
                    Raw::List(items) => items,
                    Raw::Map(_) | Raw::Scalar(_) => vec![merged.node],
                };
                let mut known: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
                for source in sources {
                    let Raw::Map(more) = source.raw else {
                        return Err(merged.place);
                    };
                    for entry in more {
                        if known.insert(entry.key.clone()) {
                            entries.push(entry);
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// A key as it may be shown: what is no name may be a secret in the wrong place, as in the list item
/// `- http://user:pass: word@host`, whose key ends with `pass`.
pub(crate) fn shown_key(key: &str) -> Cow<'_, str> {
    if !key
        .chars()
        .all(|char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.'))
    {
        return Cow::Borrowed("…");
    }
    match key.char_indices().nth(MAX_SHOWN_KEY) {
        Some((end, _)) => Cow::Owned(format!("{}…", key.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(key),
    }
}

/// The most characters of a key that are shown.
const MAX_SHOWN_KEY: usize = 64;
