//! From sources to a configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::build::{Builder, Named};
use crate::config::Config;
use crate::error::{ConfigError, ErrorKind, Errors, Findings, Place, Warning};
use crate::export::masked_yaml;
use crate::files;
use crate::fill::Filler;
use crate::keys::ROOT;
use crate::layers::{self, Setting};
use crate::node::{Entry, Node, Raw, ScalarType};
use crate::yaml;

/// The configuration of those who have none: every key with its default, commented.
pub const DEFAULT_YAML: &str = include_str!("../../../config/default.yaml");

/// Everything a configuration is made of.
///
/// The environment is a snapshot, so that loading twice gives the same twice.
#[derive(Default, Clone)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// `--set key.path=value`, in order; a later one wins.
    pub set: Vec<String>,
    /// `--upstream URL`, in order: rotating proxies of the pool `default`, behind those of the file.
    pub upstream: Vec<String>,
    /// `--no-corporate`: the corporate proxy is left out, and not even looked at.
    pub no_corporate: bool,
    /// `--log-level LEVEL`.
    pub log_level: Option<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
}

impl fmt::Debug for Sources {
    /// Shows what is there, no values: any of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("set", &self.set.len())
            .field("upstream", &self.upstream.len())
            .field("no_corporate", &self.no_corporate)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// Sources of this environment and nothing else. Variables that are no UTF-8 are left out.
    #[must_use]
    pub fn with_env(variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            env: variables.into_iter().filter_map(text).collect(),
            ..Self::default()
        }
    }
}

/// Where the file came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This file.
    File(PathBuf),
    /// No file was found: the one inside the binary.
    Embedded,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Embedded => f.write_str("the embedded default"),
        }
    }
}

/// What loading gives.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What to say once at start.
    pub warnings: Vec<Warning>,
    /// Which file it is.
    pub origin: Origin,
    /// Files whose change is a change of the configuration: the file itself, password and authority files.
    pub watched: Vec<PathBuf>,
}

/// Finds the file: `--config`, `$PCS_CONFIG`, `./config.yaml`, `$XDG_CONFIG_HOME/pcs/config.yaml` (else
/// `$HOME/.config/pcs/config.yaml`), `/etc/pcs/config.yaml`, else the embedded one.
///
/// A file that was asked for by name is taken whether it exists or not: reading it will say so.
#[must_use]
pub fn discover(sources: &Sources) -> Origin {
    discover_in(sources, &|path| path.exists())
}

fn discover_in(sources: &Sources, exists: &dyn Fn(&Path) -> bool) -> Origin {
    let variable = |name: &str| {
        sources
            .env
            .get(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = sources.file.clone().or_else(|| variable("PCS_CONFIG")) {
        return Origin::File(path);
    }
    // The XDG specification has relative paths ignored.
    let home = variable("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")));
    let candidates = [
        Some(PathBuf::from("./config.yaml")),
        home.map(|home| home.join("pcs").join("config.yaml")),
        Some(PathBuf::from("/etc/pcs/config.yaml")),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|path| exists(path))
        .map_or(Origin::Embedded, Origin::File)
}

/// Loads the configuration: finds and reads the file, lays environment and flags over it, proves the result.
///
/// # Errors
///
/// Every mistake at once, each with its place, key and what is allowed.
pub fn load(sources: &Sources) -> Result<Loaded, Errors> {
    let origin = discover(sources);
    let (text, is_open) = match &origin {
        Origin::Embedded => (DEFAULT_YAML.to_owned(), false),
        Origin::File(path) => match files::config(path) {
            Ok(content) => (content.text, content.is_open),
            Err(message) => {
                let place = Place::File {
                    path: path.display().to_string().into(),
                    line: 0,
                    column: 0,
                };
                let key = String::new();
                return Err(Errors::one(ConfigError {
                    place,
                    key,
                    kind: ErrorKind::Unreadable,
                    message,
                }));
            }
        },
    };
    let mut loaded = assemble(sources, origin, &text, is_open)?;
    if let Origin::File(path) = &loaded.origin {
        loaded.watched.insert(0, path.clone());
    }
    Ok(loaded)
}

/// As [`load`], of a text that is already there; `name` stands for the file in errors.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(sources: &Sources, name: &str, text: &str) -> Result<Loaded, Errors> {
    assemble(sources, Origin::File(name.into()), text, false)
}

fn assemble(sources: &Sources, origin: Origin, text: &str, is_open: bool) -> Result<Loaded, Errors> {
    let path: Arc<str> = match &origin {
        Origin::File(path) => path.display().to_string().into(),
        Origin::Embedded => "(embedded)".into(),
    };
    let mut findings = Findings::default();
    let file = match yaml::parse_file(&path, text) {
        Ok(node) => Some(node),
        Err(errors) => {
            errors.into_iter().for_each(|error| findings.push(error));
            None
        }
    };
    if let Some(node) = file
        .as_ref()
        .filter(|node| !node.is_null() && !matches!(node.raw, Raw::Map(_)))
    {
        let message = format!("expected a map of sections, found {}", node.kind());
        findings.error(&node.place, "", ErrorKind::Value, message);
    }
    let settings = settings(sources, &mut findings);
    if file.is_none() {
        // Without the file everything else would be noise.
        return Err(findings.into_failure());
    }
    let mut merged = layers::merge(file.as_ref(), settings);
    add_upstreams(&mut merged, &sources.upstream);
    let named = named(&merged, &sources.upstream);
    if sources.no_corporate
        && let Some(node) = merged.get_mut("corporate_proxy")
    {
        *node = Node::null(node.place.clone());
    }
    let env = |name: &str| sources.env.get(name).cloned();
    let mut filler = Filler::new(&env, &mut findings);
    let filled = filler.section(&ROOT, Some(&merged), "", &Place::Default, true);
    let literal_secrets = std::mem::take(&mut filler.literal_secrets);
    let config = Builder {
        findings: &mut findings,
    }
    .build(&filled, named, "".into());
    if is_open && let Some((place, key)) = literal_secrets.first() {
        let message = "holds a password in plain text and others than the file's owner may read it (chmod 600, \
                       `${VAR}` or `password_file`)";
        findings.warn(place, key, message);
    }
    let (warnings, watched) = findings.verdict()?;
    let mut config = config.expect("where nothing is wrong there is a configuration");
    config.effective = masked_yaml(&filled, config.plain_mode, named.rotation).into();
    Ok(Loaded {
        config,
        warnings,
        origin,
        watched,
    })
}

fn settings(sources: &Sources, findings: &mut Findings) -> Vec<Setting> {
    let variables = sources
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let mut settings = layers::parse_env(variables, findings);
    settings.extend(
        sources
            .set
            .iter()
            .filter_map(|text| layers::parse_set(text, findings)),
    );
    settings.extend(
        sources
            .log_level
            .iter()
            .map(|level| layers::flag(&["logging", "level"], level, "--log-level")),
    );
    settings
}

/// Puts the proxies of `--upstream` behind those of the file.
fn add_upstreams(merged: &mut Node, urls: &[String]) {
    if urls.is_empty() {
        return;
    }
    let place = Place::Flag("--upstream");
    let mut at = merged;
    for (name, empty) in [
        ("rotation", Raw::Map(Vec::new())),
        ("proxies", Raw::List(Vec::new())),
    ] {
        let Raw::Map(entries) = &mut at.raw else { return };
        let fresh = Node {
            place: place.clone(),
            raw: empty,
        };
        match entries.iter().position(|entry| entry.key == name) {
            Some(index) => {
                let Some(entry) = entries.get_mut(index) else {
                    return;
                };
                if entry.node.is_null() {
                    entry.node = fresh;
                }
            }
            None => entries.push(Entry {
                key: name.to_owned(),
                place: place.clone(),
                node: fresh,
            }),
        }
        let Some(next) = at.get_mut(name) else { return };
        at = next;
    }
    if let Raw::List(items) = &mut at.raw {
        items.extend(
            urls.iter()
                .map(|url| Node::scalar(place.clone(), url.clone(), ScalarType::Text)),
        );
    }
}

/// What of a chain is named. A `rotation:` or `pools:` with nothing below counts, or a template gone wrong would
/// open the way past the chain; `corporate_proxy: null` and `pools: {}` are the defaults spelled out and do not.
fn named(merged: &Node, upstreams: &[String]) -> Named {
    let pools_are_none = |node: &Node| matches!(&node.raw, Raw::Map(entries) if entries.is_empty());
    Named {
        corporate: merged
            .get("corporate_proxy")
            .is_some_and(|entry| !entry.node.is_null()),
        rotation: merged.get("rotation").is_some() || !upstreams.is_empty(),
        pools: merged
            .get("pools")
            .is_some_and(|entry| !pools_are_none(&entry.node)),
    }
}
