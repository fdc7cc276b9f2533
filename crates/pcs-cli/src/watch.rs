//! `server.watch_config`: reload when a file of the configuration changes.
//!
//! Files are looked at once a second rather than watched: editors and Kubernetes replace files and the links to
//! them in ways that each system reports differently, and what a look finds is the same on all.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::core::Core;

const LOOK: Duration = Duration::from_secs(1);

/// What tells a file from its next version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen(Option<(SystemTime, u64, (u64, i64, i64))>);

impl Core {
    /// Reloads when the configuration file, or a password or authority file that it names, changes and then stays
    /// the same for one look. Does nothing while the key is off.
    pub(crate) async fn watch_files(self: &Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watch = Watch::default();
        loop {
            looks.tick().await;
            let read = self.watched();
            if !self.config.load().server.watch_config {
                watch = Watch::default();
            } else if watch.is_due(&read) {
                self.reload_and_log("file").await;
            }
        }
    }
}

/// The files of a configuration, and how they were when they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    files: Vec<PathBuf>,
    read: Vec<Seen>,
}

impl Watched {
    /// `files` as `before` saw them, which was before they were read. Those that it did not know are looked at now.
    pub(crate) fn new(files: Vec<PathBuf>, before: &Self) -> Self {
        let known = |file: &PathBuf| before.files.iter().position(|known| known == file);
        let seen = |file| known(file).and_then(|at| before.read.get(at).cloned());
        let read = files
            .iter()
            .map(|file| seen(file).unwrap_or_else(|| look_at(file)))
            .collect();
        Self { files, read }
    }

    /// The same files as they are now.
    pub(crate) fn again(&self) -> Self {
        let read = self.files.iter().map(look_at).collect();
        Self {
            files: self.files.clone(),
            read,
        }
    }
}

/// What the last look found.
#[derive(Debug, Default)]
struct Watch {
    last: Option<Vec<Seen>>,
    /// The files that were found to be other than those in force, and read, whether that went well or not.
    tried: Option<Vec<Seen>>,
}

impl Watch {
    /// Looks once. Says whether the files are other than those that were read, and stayed so for one look:
    /// half-written files are not read.
    fn is_due(&mut self, read: &Watched) -> bool {
        let seen = read.again().read;
        let settled = self.last.as_ref() == Some(&seen);
        self.last = Some(seen.clone());
        let news = seen != read.read && self.tried.as_ref() != Some(&seen);
        if settled && news {
            self.tried = Some(seen);
        }
        settled && news
    }
}

fn look_at(file: &PathBuf) -> Seen {
    let data = fs::metadata(file).ok();
    Seen(data.and_then(|data| Some((data.modified().ok()?, data.len(), inode(&data)))))
}

/// A file put in place of another may have its length and time.
#[cfg(unix)]
fn inode(data: &fs::Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (data.ino(), data.ctime(), data.ctime_nsec())
}

#[cfg(not(unix))]
fn inode(_data: &fs::Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_gone_looks_different() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        let missing = look_at(&file);
        fs::write(&file, "1").unwrap();
        let first = look_at(&file);
        assert_ne!(missing, first);
        assert_eq!(first, look_at(&file));
        fs::write(&file, "22").unwrap();
        assert_ne!(first, look_at(&file));
    }

    #[test]
    fn no_change_is_lost_whenever_it_comes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "1").unwrap();
        let mut loaded = Watched::new(vec![file.clone()], &Watched::default());
        let mut watch = Watch::default();
        assert!(!watch.is_due(&loaded) && !watch.is_due(&loaded));
        // Before the first look, and again while what was found is being read.
        for text in ["22", "333"] {
            fs::write(&file, text).unwrap();
            assert!(!watch.is_due(&loaded), "it may still be written");
            assert!(watch.is_due(&loaded), "{text}");
            let before = loaded.again();
            fs::write(&file, format!("{text}, and more")).unwrap();
            loaded = Watched::new(vec![file.clone()], &before);
        }
        watch.is_due(&loaded);
        assert!(watch.is_due(&loaded), "what came while reading is read as well");
        assert!(!watch.is_due(&loaded), "one that is refused is refused once");
        loaded = Watched::new(vec![file], &loaded.again());
        assert!(!watch.is_due(&loaded) && !watch.is_due(&loaded));
    }
}
