//! The reference of every key, for people.

use std::fmt::Write;

use super::preset;
use crate::keys::ROOT;
use crate::table::{Kind, Preset, Section};

const HEAD: &str = "\
<!-- Generated from crates/pcs-config/src/keys.rs by `cargo xtask docs`. Edits here are overwritten. -->

# Configuration

One YAML file, every key optional unless marked required. `config/default.yaml` is the same list with comments,
`config/examples/` has whole files by scenario, and `config/schema.json` lets editors complete and check:

```yaml
# yaml-language-server: $schema=./schema.json
```

`pcs check` loads the file as `pcs run` would and prints the effective configuration with secrets masked.

## Where values come from

The file is the first found of `--config`, `$PCS_CONFIG`, `./config.yaml`, `$XDG_CONFIG_HOME/pcs/config.yaml`
(`$HOME/.config/pcs/config.yaml` where that variable is unset), `/etc/pcs/config.yaml`; without any, the
`config/default.yaml` inside the binary. Relative paths in it are relative to the working directory.

A value is taken from the first of these that has it:

1. `--set key.path=value`, `--log-level`, `--upstream` (adds proxies to `rotation.proxies`), `--no-corporate`;
2. environment variables: `PCS__SERVER__PORT=9000`, two underscores between levels, upper or lower case;
3. the file;
4. the defaults below.

Maps are merged key by key; lists are replaced as a whole. From flags and environment a list may be written as
`[a, b]` or `a,b`, a map as `{a: 1}`. `null` is as good as leaving a key out.

## References to the environment

Inside string scalars of the file, after parsing, so that a value never becomes YAML structure:

| written | becomes |
|---|---|
| `${VAR}`, `$<VAR>` | the variable; an error if it is not set |
| `${VAR:-default}` | the variable, or `default` where it is unset or empty |
| `$$` | `$` |
| `$` before anything else | itself |

A scalar that is one whole reference may stand for a number, a flag or a name (`port: ${PORT:-8888}`). Quote
references inside `[…]` and `{…}`, where YAML gives braces a meaning of its own, or write `$<VAR>`.

## Secrets

Passwords and the admin token are never printed, logged or shown by an API; a bad one is named by its key only.
`password_file: PATH` may stand wherever `password` may. An unquoted password of digits is taken as text. A file
that holds a literal password and can be read by others than its owner gets a warning.

## Without a chain

`pcs` is a plain forward proxy, with one warning at start, only if file, environment and flags name no
`corporate_proxy`, `rotation`, `pools`, `--upstream` and no `admin.state_file`. The keys `rotation:` and `pools:`
count even with nothing below them; `corporate_proxy: null` and `pools: {}` are defaults and do not. Once a chain is
named, no proxy means 503, never a shorter way.

## Mistakes

All mistakes are told at once, each as `file:line:column: key: what is allowed`, and the exit status is 2:

```text
config.yaml:2:9: server.port: expected a whole number from 0 to 65535, found `99999`
config.yaml:4:3: unknown key `rotation.stategy`, did you mean `strategy`?
```

## Sections

";

/// The reference of every key as Markdown, in the words of the one table.
///
/// Committed as `docs/configuration.md`; a test fails when that file is stale.
#[must_use]
pub fn reference_markdown() -> String {
    let mut text = HEAD.to_owned();
    let mut seen: Vec<(*const Section, String)> = Vec::new();
    table(&mut text, &ROOT);
    text.push('\n');
    for key in ROOT.keys {
        entry(&mut text, &mut seen, key.name, &key.kind, key.doc);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A heading, and a table where the key has keys of its own.
fn entry(
    text: &mut String,
    seen: &mut Vec<(*const Section, String)>,
    path: &str,
    kind: &'static Kind,
    doc: &str,
) {
    let Some((section, suffix)) = inner(kind) else {
        return;
    };
    let title = format!("{path}{suffix}");
    put(text, format_args!("## `{title}`\n\n{doc}"));
    if let Some((_, first)) = seen.iter().find(|(known, _)| std::ptr::eq(*known, section)) {
        let keys = if matches!(kind, Kind::Overrides(_)) {
            ", every key optional"
        } else {
            ""
        };
        put(text, format_args!(" The keys are those of `{first}`{keys}.\n\n"));
        return;
    }
    seen.push((section, title.clone()));
    if !section.doc.is_empty() {
        put(text, format_args!(" {}", section.doc));
    }
    put(text, format_args!("\n\n"));
    table(text, section);
    text.push('\n');
    for key in section.keys {
        entry(text, seen, &format!("{title}.{}", key.name), &key.kind, key.doc);
    }
}

/// One row per key.
fn table(text: &mut String, section: &Section) {
    put(
        text,
        format_args!("| key | allowed | default | meaning |\n|---|---|---|---|\n"),
    );
    for key in section.keys {
        let default = match key.default {
            Preset::Required => "**required**".to_owned(),
            Preset::Unset => "`null`".to_owned(),
            Preset::Empty => match &key.kind {
                Kind::List(_) => "`[]`".to_owned(),
                Kind::Named { .. } => "`{}`".to_owned(),
                _ => "see below".to_owned(),
            },
            other => preset(other).map(|text| format!("`{text}`")).unwrap_or_default(),
        };
        let allowed = cell(&key.kind.allowed());
        put(
            text,
            format_args!("| `{}` | {allowed} | {default} | {} |\n", key.name, cell(key.doc)),
        );
    }
}

/// The section below a key, and what is put behind its path.
fn inner(kind: &'static Kind) -> Option<(&'static Section, &'static str)> {
    match kind {
        Kind::List(item) => item.section().map(|section| (section, "[]")),
        Kind::Named { value, .. } => value.section().map(|section| (section, ".NAME")),
        kind => kind.section().map(|section| (section, "")),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a text takes any text");
}
