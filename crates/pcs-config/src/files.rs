//! Reading files, bounded, and who else may read them: the one place of this crate that touches files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest configuration file.
pub(crate) const MAX_CONFIG: u64 = 1024 * 1024;
/// The largest password file.
const MAX_SECRET: u64 = 4096;
/// The largest file of authorities.
const MAX_CA: u64 = 4 * 1024 * 1024;

/// A file's text.
pub(crate) struct Content {
    pub(crate) text: String,
    /// Whether others than its owner may read it. Always false where files have no such mode.
    pub(crate) is_open: bool,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}

/// The configuration file.
pub(crate) fn config(path: &Path) -> Result<Content, String> {
    read(path, MAX_CONFIG)
}

/// A secret: the file's text without the one line end that editors put at its end.
pub(crate) fn secret(path: &Path) -> Result<Content, String> {
    let mut content = read(path, MAX_SECRET)?;
    if content.text.ends_with('\n') {
        content.text.pop();
        if content.text.ends_with('\r') {
            content.text.pop();
        }
    }
    Ok(content)
}

/// Whether a file of authorities can be read and holds a certificate.
pub(crate) fn authorities(path: &Path) -> Result<(), String> {
    let content = read(path, MAX_CA)?;
    if content.text.contains("-----BEGIN CERTIFICATE-----")
        || content.text.contains("-----BEGIN TRUSTED CERTIFICATE-----")
    {
        Ok(())
    } else {
        Err(format!("`{}` holds no PEM certificate", path.display()))
    }
}

fn read(path: &Path, max: u64) -> Result<Content, String> {
    let fail = |error: io::Error| format!("cannot read `{}`: {}", path.display(), reason(&error));
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(format!("cannot read `{}`: it is a directory", path.display()));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits, pipes included.
    file.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(format!("`{}` is larger than {max} bytes", path.display()));
    }
    let text = String::from_utf8(bytes).map_err(|_| format!("`{}` is no UTF-8 text", path.display()))?;
    Ok(Content {
        text,
        is_open: is_open(&metadata),
    })
}

/// The system's words without its error number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(unix)]
fn is_open(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // A pipe or device (`--config /dev/stdin`) keeps nothing that could be read later.
    metadata.is_file() && metadata.permissions().mode() & 0o044 != 0
}

/// Windows has access lists in place of modes; a new file in a profile is its owner's.
#[cfg(not(unix))]
const fn is_open(_: &std::fs::Metadata) -> bool {
    false
}
