//! The configuration as its users see it: files, environment and flags in, a configuration or errors out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::too_many_lines,
    clippy::redundant_clone,
    reason = "tests: clippy knows test functions, not their helpers; tables are long and their rows alike"
)]

mod api;
mod bad;
mod diff;
mod files;
mod generated;
mod good;
mod layers;
mod plain;
mod schema;

use std::path::PathBuf;

use pcs_config::{Config, Loaded, Sources, load};

/// A file with this text in a folder of its own, and sources that name it.
struct Fixture {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let sources = Sources {
            file: Some(path),
            ..Sources::default()
        };
        Self { folder, sources }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, text: &str) -> Self {
        self.sources.set.push(text.to_owned());
        self
    }

    fn upstream(mut self, url: &str) -> Self {
        self.sources.upstream.push(url.to_owned());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn load(&self) -> Result<Loaded, pcs_config::Errors> {
        load(&self.sources)
    }

    #[track_caller]
    fn config(&self) -> Config {
        match self.load() {
            Ok(loaded) => loaded.config,
            Err(errors) => panic!("{errors}"),
        }
    }

    /// The errors, with the folder taken out.
    #[track_caller]
    fn errors(&self) -> String {
        let errors = self.load().expect_err("this must not load").to_string();
        errors.replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// The warnings, with the folder taken out.
    #[track_caller]
    fn warnings(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let loaded = self.load().unwrap_or_else(|errors| panic!("{errors}"));
        loaded
            .warnings
            .iter()
            .map(|warning| warning.to_string().replace(&folder, ""))
            .collect()
    }
}
