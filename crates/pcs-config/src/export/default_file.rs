//! The commented default file, which is also the one inside the binary.

use super::preset;
use crate::keys::ROOT;
use crate::table::{Form, Kind, Preset, Section};

const HEAD: &str = "\
# yaml-language-server: $schema=./schema.json
#
# Every key of PCS with its default. Generated from crates/pcs-config/src/keys.rs by `cargo xtask docs`; copy it,
# or better, write only what differs. What is commented out names a chain: with none of it, PCS is a plain forward
# proxy. Whole files by scenario are in config/examples/, the reference is docs/configuration.md.
";

/// Wide enough for two levels of indentation and a comment sign.
const WIDTH: usize = 110;

/// `config/default.yaml`: every key with its default and meaning, in the words of the one table.
///
/// It names no chain. Committed, and embedded in the binary; a test fails when that file is stale.
#[must_use]
pub fn default_yaml() -> String {
    let mut writer = Writer {
        text: HEAD.to_owned(),
    };
    for key in ROOT.keys {
        writer.text.push('\n');
        // A default file that named a pool would make a chain without members out of nothing.
        let names_chain = key.name == "rotation";
        writer.key(key.name, &key.kind, key.default, key.doc, 0, names_chain);
    }
    writer.text
}

struct Writer {
    text: String,
}

impl Writer {
    fn line(&mut self, indent: usize, is_comment: bool, line: &str) {
        if is_comment {
            self.text.push_str("# ");
        }
        self.text.push_str(&" ".repeat(indent));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn key(&mut self, name: &str, kind: &'static Kind, default: Preset, doc: &str, indent: usize, off: bool) {
        let allowed = match kind {
            Kind::Section(_) | Kind::Overrides(_) | Kind::Flag | Kind::Secret => String::new(),
            kind => format!(" ({})", kind.allowed()),
        };
        for line in wrap(&format!("{doc}{allowed}"), WIDTH - indent - 4) {
            self.line(indent, off, &format!("# {line}"));
        }
        let section = kind.section();
        match (default, section) {
            (Preset::Empty, Some(section)) if !matches!(kind, Kind::Overrides(_)) => {
                self.line(indent, off, &format!("{name}:"));
                self.section(section, indent + 2, off);
            }
            (Preset::Unset, Some(section)) => {
                if !off {
                    self.line(indent, false, &format!("{name}: null"));
                }
                // Within what is commented out already, one level is enough.
                if !off {
                    self.line(indent, true, &format!("{name}:"));
                    self.section(section, indent + 2, true);
                } else {
                    self.line(indent, true, &format!("{name}: null"));
                }
            }
            (Preset::Empty, _) => {
                let empty = if matches!(kind, Kind::List(_)) { "[]" } else { "{}" };
                self.line(indent, off, &format!("{name}: {empty}"));
            }
            (default, _) => {
                let value = preset(default).unwrap_or_else(|| sample(kind).to_owned());
                self.line(indent, off, &format!("{name}: {value}"));
            }
        }
    }

    fn section(&mut self, section: &'static Section, indent: usize, off: bool) {
        for key in section.keys {
            self.key(key.name, &key.kind, key.default, key.doc, indent, off);
        }
    }
}

/// What a required key may look like.
fn sample(kind: &'static Kind) -> &'static str {
    match kind {
        Kind::Text(Form::Host) => "proxy.example.com",
        Kind::Whole { .. } => "8080",
        Kind::Number { .. } => "50",
        Kind::List(_) => "[{username: alice, password: \"${ALICE_PASSWORD}\"}]",
        _ => "…",
    }
}

/// Breaks a text at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
