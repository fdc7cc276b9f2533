//! What is written out of the table: the masked dump, the JSON Schema, the reference, the default file.

mod dump;

pub(crate) use dump::masked_yaml;
