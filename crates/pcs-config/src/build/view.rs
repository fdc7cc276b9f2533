//! Typed access to the values of one section. A wrong name or kind is a mistake in the table, not in a file.

use std::time::Duration;

use pcs_models::Secret;

use super::{Bad, Read};
use crate::error::Place;
use crate::fill::{Filled, Value, join};
use crate::table::Section;

/// One section with its path.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    section: &'static Section,
    values: &'a [Filled],
    pub(crate) path: String,
    pub(crate) place: &'a Place,
}

const TABLE: &str = "the table has this key with this kind";

impl<'a> View<'a> {
    pub(crate) fn new(section: &'static Section, values: &'a [Filled], path: &str, place: &'a Place) -> Self {
        Self {
            section,
            values,
            path: path.to_owned(),
            place,
        }
    }

    /// A section that stands as an entry of a list or map.
    pub(crate) fn of(filled: &'a Filled, path: &str) -> Option<Self> {
        match &filled.value {
            Value::Section(section, values) => Some(Self::new(section, values, path, &filled.place)),
            _ => None,
        }
    }

    pub(crate) fn at(&self, name: &str) -> &'a Filled {
        let index = self.section.position(name).expect(TABLE);
        self.values.get(index).expect(TABLE)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Whether a key was given a value, good or bad.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        !matches!(self.at(name).value, Value::Unset)
    }

    fn read<T>(&self, name: &str, pick: impl FnOnce(&'a Value) -> Option<T>) -> Read<Option<T>> {
        match &self.at(name).value {
            Value::Bad => Err(Bad),
            Value::Unset => Ok(None),
            value => Ok(Some(pick(value).expect(TABLE))),
        }
    }

    pub(crate) fn flag_opt(&self, name: &str) -> Read<Option<bool>> {
        self.read(name, |value| {
            if let Value::Flag(flag) = value {
                Some(*flag)
            } else {
                None
            }
        })
    }

    pub(crate) fn flag(&self, name: &str) -> Read<bool> {
        Ok(self.flag_opt(name)?.expect(TABLE))
    }

    /// A whole number; the table's range fits the type.
    pub(crate) fn whole_opt<N: TryFrom<u64>>(&self, name: &str) -> Read<Option<N>> {
        self.read(name, |value| {
            if let Value::Whole(number) = value {
                N::try_from(*number).ok()
            } else {
                None
            }
        })
    }

    pub(crate) fn whole<N: TryFrom<u64>>(&self, name: &str) -> Read<N> {
        Ok(self.whole_opt(name)?.expect(TABLE))
    }

    pub(crate) fn number(&self, name: &str) -> Read<f64> {
        let number = self.read(name, |value| {
            if let Value::Number(number) = value {
                Some(*number)
            } else {
                None
            }
        })?;
        Ok(number.expect(TABLE))
    }

    pub(crate) fn seconds_opt(&self, name: &str) -> Read<Option<Duration>> {
        self.read(name, |value| match value {
            Value::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            _ => None,
        })
    }

    pub(crate) fn seconds(&self, name: &str) -> Read<Duration> {
        Ok(self.seconds_opt(name)?.expect(TABLE))
    }

    pub(crate) fn text_opt(&self, name: &str) -> Read<Option<&'a str>> {
        self.read(name, |value| {
            if let Value::Text(text) = value {
                Some(text.as_str())
            } else {
                None
            }
        })
    }

    pub(crate) fn text(&self, name: &str) -> Read<&'a str> {
        Ok(self.text_opt(name)?.expect(TABLE))
    }

    pub(crate) fn secret_opt(&self, name: &str) -> Read<Option<&'a Secret>> {
        self.read(name, |value| match value {
            Value::Secret(secret) | Value::Url(secret) => Some(secret),
            _ => None,
        })
    }

    pub(crate) fn choice_opt<T>(
        &self,
        name: &str,
        from_name: impl FnOnce(&str) -> Option<T>,
    ) -> Read<Option<T>> {
        self.read(name, |value| {
            if let Value::Choice(choice) = value {
                from_name(choice)
            } else {
                None
            }
        })
    }

    pub(crate) fn choice<T>(&self, name: &str, from_name: impl FnOnce(&str) -> Option<T>) -> Read<T> {
        Ok(self.choice_opt(name, from_name)?.expect(TABLE))
    }

    pub(crate) fn list_opt(&self, name: &str) -> Read<Option<&'a [Filled]>> {
        self.read(name, |value| {
            if let Value::List(items) = value {
                Some(items.as_slice())
            } else {
                None
            }
        })
    }

    pub(crate) fn list(&self, name: &str) -> Read<&'a [Filled]> {
        Ok(self.list_opt(name)?.expect(TABLE))
    }

    pub(crate) fn named(&self, name: &str) -> Read<&'a [(String, Filled)]> {
        let entries = self.read(name, |value| {
            if let Value::Named(entries) = value {
                Some(entries)
            } else {
                None
            }
        })?;
        Ok(entries.expect(TABLE))
    }

    pub(crate) fn section_opt(&self, name: &str) -> Read<Option<Self>> {
        let path = self.key(name);
        let filled = self.at(name);
        self.read(name, |_| Self::of(filled, &path))
    }

    pub(crate) fn section(&self, name: &str) -> Read<Self> {
        Ok(self.section_opt(name)?.expect(TABLE))
    }
}
