//! What is written out of the table: the masked dump, the JSON Schema, the reference, the default file.

mod default_file;
mod dump;
mod reference;
mod schema;

use crate::table::Preset;

pub use default_file::default_yaml;
pub(crate) use dump::masked_yaml;
pub use reference::reference_markdown;
pub use schema::json_schema;

/// A default as YAML; `None` where there is none to show.
fn preset(preset: Preset) -> Option<String> {
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    match preset {
        Preset::Required | Preset::Empty => None,
        Preset::Unset => Some("null".to_owned()),
        Preset::Flag(flag) => Some(flag.to_string()),
        Preset::Whole(number) => Some(number.to_string()),
        Preset::Seconds(seconds) => Some(seconds.to_string()),
        // The address and the URL hold characters that mean something to YAML.
        Preset::Text(text) if text.contains([':', '.', '/']) => Some(format!("\"{text}\"")),
        Preset::Text(text) => Some(text.to_owned()),
        Preset::Texts(texts) => Some(list(texts.iter().map(|&text| text.to_owned()).collect())),
        Preset::Wholes(numbers) => Some(list(numbers.iter().map(u64::to_string).collect())),
    }
}
