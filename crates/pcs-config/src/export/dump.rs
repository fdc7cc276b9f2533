//! The effective configuration as YAML, secrets masked.

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use crate::fill::{Filled, Value};
use crate::proxy_url::mask_url;
use crate::yaml;

/// Writes a filled root section. In plain mode no pool is written: a dump that named one would load as a chain
/// without members.
pub(crate) fn masked_yaml(root: &Filled, plain_mode: bool, rotation_is_named: bool) -> String {
    let hidden = if plain_mode || !rotation_is_named {
        Some("rotation")
    } else {
        None
    };
    let mut text = String::new();
    if plain_mode {
        text.push_str("# No chain is named: plain forward-proxy mode.\n");
    }
    text.push_str(&yaml::write(&Masked {
        filled: root,
        depth: 0,
        hidden,
    }));
    text
}

struct Masked<'a> {
    filled: &'a Filled,
    depth: u8,
    hidden: Option<&'a str>,
}

impl<'a> Masked<'a> {
    const fn below(&self, filled: &'a Filled) -> Self {
        Self {
            filled,
            depth: self.depth.saturating_add(1),
            hidden: None,
        }
    }
}

impl Serialize for Masked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.filled.value {
            Value::Bad | Value::Unset => serializer.serialize_unit(),
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Whole(number) => serializer.serialize_u64(*number),
            Value::Auto => serializer.serialize_str("auto"),
            Value::Number(number) | Value::Seconds(number) => serialize_number(*number, serializer),
            // A `$` would be read as a reference.
            Value::Text(text) => serializer.serialize_str(&text.replace('$', "$$")),
            Value::Secret(_) => serializer.serialize_str("***"),
            Value::Url(url) => serializer.serialize_str(&mask_url(url.expose()).replace('$', "$$")),
            Value::Choice(name) => serializer.serialize_str(name),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for filled in items {
                    list.serialize_element(&self.below(filled))?;
                }
                list.end()
            }
            Value::Named(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, filled) in entries {
                    map.serialize_entry(name, &self.below(filled))?;
                }
                map.end()
            }
            Value::Section(section, values) => {
                let mut map = serializer.serialize_map(None)?;
                for (key, filled) in section.keys.iter().zip(values) {
                    // Deep down what is unset is left out: `null` means the same, and lists stay short.
                    let is_noise = matches!(filled.value, Value::Unset) && self.depth > 1;
                    if self.hidden != Some(key.name) && !is_noise {
                        map.serialize_entry(key.name, &self.below(filled))?;
                    }
                }
                map.end()
            }
        }
    }
}

/// Whole seconds without a fraction.
fn serialize_number<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only where nothing is lost"
    )]
    let whole = number as u64;
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "the table bounds numbers to some millions"
    )]
    if whole as f64 == number {
        serializer.serialize_u64(whole)
    } else {
        serializer.serialize_f64(number)
    }
}
