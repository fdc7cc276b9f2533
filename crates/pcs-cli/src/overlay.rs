//! `admin.state_file`: the changes of the admin API, kept over restarts.
//!
//! The file is JSON, mode 0600 (it holds the passwords of added proxies), and is replaced whole: a new file is
//! written beside it, synced and renamed, so that a crash leaves the old or the new one. A file that cannot be
//! read is set aside under another name and reported, never silently emptied. A symbolic link stays one: all this
//! is done to what it leads to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pcs_models::{PoolName, ProxyId};
use pcs_pool::{Change, MemberSpec, Origin, Overlay, Patch};
use serde_json::{Map, Value, json};

use crate::wiring;

/// The form of the file. Another number is another form.
const VERSION: u64 = 1;
/// A state file of 10⁵ proxies has some 30 MiB.
const MAX_BYTES: u64 = 256 << 20;
/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// Where the overlay lives on disk.
#[derive(Debug, Clone)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the file. One that is not there is an empty overlay; one that cannot be understood is renamed to
    /// `NAME.broken-SECONDS` and reported.
    ///
    /// # Errors
    ///
    /// A file that cannot be read at all (permissions): starting without it would lose changes.
    pub(crate) fn load(&self) -> anyhow::Result<Overlay> {
        let mut text = Vec::new();
        match File::open(&self.path) {
            Ok(file) => {
                file.take(MAX_BYTES)
                    .read_to_end(&mut text)
                    .with_context(|| self.says("cannot be read"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Overlay::default()),
            Err(error) => return Err(error).with_context(|| self.says("cannot be opened")),
        }
        match decode(&text) {
            Ok(overlay) => Ok(overlay),
            Err(error) => {
                let real = self.real()?;
                let aside = aside(&real);
                fs::rename(&real, &aside).with_context(|| self.says("is broken and cannot be set aside"))?;
                tracing::error!(
                    event = "state_file_broken",
                    file = %self.path.display(),
                    set_aside = %aside.display(),
                    error = format!("{error:#}"),
                    "The state file cannot be understood: its changes are not in force"
                );
                Ok(Overlay::default())
            }
        }
    }

    /// Replaces the file. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What the disk says; the old file is then still there.
    pub(crate) fn save(&self, overlay: &Overlay) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&encode(overlay)).context("writing the state as JSON")?;
        let real = self.real()?;
        let directory = match real.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory)
            .with_context(|| self.says("is in a directory that cannot be created"))?;
        let mut name = real.as_os_str().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let fresh = PathBuf::from(name);
        let written = write_new(&fresh, &text).and_then(|()| fs::rename(&fresh, &real));
        if let Err(error) = written {
            // The half-written file is of no use; a failure to remove it changes nothing.
            let _ = fs::remove_file(&fresh);
            return Err(error).with_context(|| self.says("cannot be written"));
        }
        // The rename itself reaches the disk with its directory. Not every system can sync one.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
        Ok(())
    }

    /// The file itself, which need not be there yet: a rename onto a link would put a file in the link's place.
    fn real(&self) -> anyhow::Result<PathBuf> {
        let mut path = self.path.clone();
        for _ in 0..MAX_LINKS {
            // What is no link, or cannot be asked, is what a write has to deal with.
            let Ok(next) = fs::read_link(&path) else {
                return Ok(path);
            };
            path.pop();
            path.push(next);
        }
        bail!(self.says("is a symbolic link that leads in a circle"))
    }

    fn says(&self, what: &str) -> String {
        format!("admin.state_file: {} {what}", self.path.display())
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".broken-{}", jiff::Timestamp::now().as_second()));
    PathBuf::from(name)
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn encode(overlay: &Overlay) -> Value {
    let change = |(id, change): (&ProxyId, &Change)| match change {
        Change::Added { pool, spec, base } => json!({
            "change": "added",
            "id": id.as_str(),
            "pool": pool.as_str(),
            "proxy": encode_member(spec),
            "base": base.map(hex),
        }),
        Change::Patched { patch, base } => {
            json!({ "change": "patched", "id": id.as_str(), "base": hex(*base), "patch": encode_patch(patch) })
        }
        Change::Removed { base } => json!({ "change": "removed", "id": id.as_str(), "base": hex(*base) }),
    };
    let changes: Vec<_> = overlay.changes.iter().map(change).collect();
    json!({ "version": VERSION, "changes": changes })
}

/// The keys of an entry of `rotation.proxies`, so that one reader serves both.
fn encode_member(spec: &MemberSpec) -> Value {
    let hop = &spec.hop;
    let mut member = Map::new();
    let mut put = |key: &str, value: Value| member.insert(key.to_owned(), value);
    put("id", spec.id.as_str().into());
    put("protocol", hop.protocol.as_str().into());
    put("host", hop.endpoint.host.to_string().into());
    put("port", hop.endpoint.port.into());
    if let Some(credentials) = &hop.credentials {
        put("username", credentials.username().into());
        // The one place that writes a password down: the file is for this process's user only.
        put("password", credentials.password().expose().into());
    }
    put("weight", spec.weight.into());
    put("enabled", spec.enabled.into());
    put("reuse", spec.reuse.into());
    if !spec.tags.is_empty() {
        put("tags", json!(spec.tags));
    }
    let mut tls = Map::new();
    if let Some(name) = &hop.tls.server_name {
        tls.insert("server_name".to_owned(), name.as_str().into());
    }
    if hop.tls.insecure_skip_verify {
        tls.insert("insecure_skip_verify".to_owned(), true.into());
    }
    if !tls.is_empty() {
        put("tls", tls.into());
    }
    member.into()
}

fn encode_patch(patch: &Patch) -> Value {
    let mut fields = Map::new();
    if let Some(enabled) = patch.enabled {
        fields.insert("enabled".to_owned(), enabled.into());
    }
    if let Some(weight) = patch.weight {
        fields.insert("weight".to_owned(), weight.into());
    }
    if let Some(tags) = &patch.tags {
        fields.insert("tags".to_owned(), json!(tags));
    }
    fields.into()
}

fn decode(text: &[u8]) -> anyhow::Result<Overlay> {
    let Value::Object(mut root) = serde_json::from_slice(text).context("it is no JSON")? else {
        bail!("it is no JSON object");
    };
    match root.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => bail!("it has version {other}, this program writes version {VERSION}"),
        None => bail!("it has no version"),
    }
    let Some(Value::Array(changes)) = root.remove("changes") else {
        bail!("it has no list `changes`")
    };
    let mut overlay = Overlay::default();
    for (index, change) in changes.into_iter().enumerate() {
        let (id, change) = decode_change(change).with_context(|| format!("changes[{index}]"))?;
        overlay.changes.insert(id, change);
    }
    Ok(overlay)
}

fn decode_change(mut change: Value) -> anyhow::Result<(ProxyId, Change)> {
    let text = |change: &Value, key: &str| {
        change
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .with_context(|| format!("no text `{key}`"))
    };
    let id: ProxyId = text(&change, "id")?.parse().context("id")?;
    let base = |change: &Value| u64::from_str_radix(&text(change, "base")?, 16).context("base");
    let decoded = match text(&change, "change")?.as_str() {
        "added" => {
            let pool: PoolName = text(&change, "pool")?.parse().context("pool")?;
            let member = change.get_mut("proxy").map(Value::take).context("no `proxy`")?;
            let member = pcs_config::member_from_json(member).map_err(|errors| joined(&errors))?;
            if member.id != id {
                bail!("the proxy has another id than its change");
            }
            let base = if change.get("base").is_none_or(Value::is_null) {
                None
            } else {
                Some(base(&change)?)
            };
            Change::Added {
                pool,
                spec: Box::new(wiring::member(&member, Origin::Admin)),
                base,
            }
        }
        "patched" => {
            let patch = change.get_mut("patch").map(Value::take).context("no `patch`")?;
            let patch = pcs_config::patch_from_json(patch).map_err(|errors| joined(&errors))?;
            Change::Patched {
                patch: wiring::patch(patch),
                base: base(&change)?,
            }
        }
        "removed" => Change::Removed { base: base(&change)? },
        other => bail!("unknown change {other:?} (added, patched, removed)"),
    };
    Ok((id, decoded))
}

fn joined(errors: &[pcs_config::FieldError]) -> anyhow::Error {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    anyhow::anyhow!(errors.join("; "))
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcs_models::{Credentials, Hop, Protocol, Secret};

    fn overlay() -> Overlay {
        let id = |text: &str| ProxyId::try_new(text).unwrap();
        let mut hop =
            Hop::new(Protocol::Https, "proxy.example:7777".parse().unwrap()).named((&id("a")).into());
        hop.credentials = Some(Credentials::try_new("user", Secret::new("p\"ss".into())).unwrap());
        hop.tls.server_name = Some("other.example".into());
        let mut spec = MemberSpec::new(id("a"), hop);
        spec.origin = Origin::Admin;
        spec.weight = 7;
        spec.tags.insert("country".into(), "fr".into());
        let patch = Patch {
            enabled: Some(false),
            weight: Some(3),
            tags: Some(Default::default()),
        };
        let mut overlay = Overlay::default();
        overlay.changes.insert(
            id("a"),
            Change::Added {
                pool: PoolName::default(),
                spec: Box::new(spec),
                base: None,
            },
        );
        overlay.changes.insert(
            id("b"),
            Change::Patched {
                patch,
                base: u64::MAX,
            },
        );
        overlay.changes.insert(id("c"), Change::Removed { base: 1 });
        overlay
    }

    #[test]
    fn what_is_saved_loads_again_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub").join("state.json");
        let file = StateFile::new(path.clone());
        assert_eq!(
            file.load().unwrap(),
            Overlay::default(),
            "a file that is not there is empty"
        );
        file.save(&overlay()).unwrap();
        assert_eq!(file.load().unwrap(), overlay());
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
            assert_eq!(mode & 0o777, 0o600);
        }
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left beside it: {left:?}");
    }

    #[test]
    fn a_broken_file_is_set_aside_and_kept() {
        let cases: &[&str] = &[
            "",
            "{",
            "[]",
            "{}",
            r#"{"version":2,"changes":[]}"#,
            r#"{"version":1,"changes":[{}]}"#,
        ];
        for text in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state.json");
            fs::write(&path, text).unwrap();
            assert_eq!(
                StateFile::new(path.clone()).load().unwrap(),
                Overlay::default(),
                "{text}"
            );
            assert!(!path.exists(), "{text}");
            let kept: Vec<_> = fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            assert_eq!(kept.len(), 1, "{text}: {kept:?}");
            assert_eq!(fs::read_to_string(&kept[0]).unwrap(), **text);
        }
    }
    #[cfg(unix)]
    #[test]
    fn a_link_stays_one_and_what_it_leads_to_is_written() {
        use std::os::unix::fs::symlink;

        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("data")).unwrap();
        symlink("data/middle.json", at("state.json")).unwrap();
        symlink(at("data/real.json"), at("data/middle.json")).unwrap();
        let file = StateFile::new(at("state.json"));
        let is_link = |name: &str| fs::symlink_metadata(at(name)).unwrap().is_symlink();
        let links_stay = || is_link("state.json") && is_link("data/middle.json");

        assert_eq!(
            file.load().unwrap(),
            Overlay::default(),
            "it leads to nothing yet"
        );
        for _ in 0..2 {
            file.save(&overlay()).unwrap();
            assert!(links_stay() && !is_link("data/real.json"));
            assert_eq!(StateFile::new(at("data/real.json")).load().unwrap(), overlay());
        }
        fs::write(at("data/real.json"), "{").unwrap();
        assert_eq!(file.load().unwrap(), Overlay::default());
        assert!(links_stay() && !at("data/real.json").exists());
        file.save(&overlay()).unwrap();
        assert_eq!(file.load().unwrap(), overlay());
        let left = |name: &str| fs::read_dir(at(name)).unwrap().count();
        assert_eq!(
            (left("."), left("data")),
            (2, 3),
            "the broken one is kept beside the real one"
        );

        symlink("circle.json", at("circle.json")).unwrap();
        let error = StateFile::new(at("circle.json")).save(&overlay()).unwrap_err();
        assert!(error.to_string().contains("leads in a circle"), "{error}");
        assert!(is_link("circle.json"));
    }
}
