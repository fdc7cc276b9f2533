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
struct Seen(Option<(SystemTime, u64)>);

impl Core {
    /// Reloads when the configuration file, or a password or authority file that it names, changes and then stays
    /// the same for one look. Does nothing while the key is off.
    pub(crate) async fn watch_files(self: &Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known: Option<Vec<Seen>> = None;
        let mut changing = false;
        loop {
            looks.tick().await;
            if !self.config.load().server.watch_config {
                known = None;
                continue;
            }
            let seen = look(&self.watched());
            let Some(before) = known.replace(seen.clone()) else {
                continue;
            };
            if before != seen {
                // Half-written files are not read: the next look has to find the same.
                changing = true;
            } else if std::mem::take(&mut changing) {
                self.reload_and_log("file").await;
                known = None;
            }
        }
    }
}

fn look(files: &[PathBuf]) -> Vec<Seen> {
    let seen = |file: &PathBuf| {
        let data = fs::metadata(file).ok();
        Seen(data.and_then(|data| Some((data.modified().ok()?, data.len()))))
    };
    files.iter().map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_or_gone_looks_different() {
        let directory = tempfile::tempdir().unwrap();
        let files = [directory.path().join("a")];
        let missing = look(&files);
        fs::write(&files[0], "1").unwrap();
        let first = look(&files);
        assert_ne!(missing, first);
        assert_eq!(first, look(&files));
        fs::write(&files[0], "22").unwrap();
        assert_ne!(first, look(&files));
    }
}
