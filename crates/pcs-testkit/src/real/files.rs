//! A server of plain files: Python's, whose requests are in its log.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LOOPBACK, Peer, Unavailable, python};

/// A file server to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct FileServer {
    folder: PathBuf,
}

impl FileServer {
    /// Serves this folder on 127.0.0.1.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Python is missing, or it does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let python = python()?;
        Peer::start("python3 -m http.server", LOOPBACK, |_dir, address| {
            let mut command = Command::new(&python);
            command.args([
                "-u",
                "-m",
                "http.server",
                "--bind",
                &address.ip().to_string(),
                "--directory",
            ]);
            command.arg(&self.folder).arg(address.port().to_string());
            command
        })
    }
}
