//! Writes the files that are generated from the table of keys: `cargo run -p pcs-config --example generate`.
//!
//! `config/default.yaml`, `config/schema.json` and `docs/configuration.md`, below the folder given as the one
//! argument, or of the workspace.

use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = std::env::args_os().nth(1).map_or(workspace, PathBuf::from);
    let files = [
        ("config/default.yaml", pcs_config::default_yaml()),
        ("config/schema.json", pcs_config::json_schema()),
        ("docs/configuration.md", pcs_config::reference_markdown()),
    ];
    for (name, text) in files {
        std::fs::write(root.join(name), text)?;
    }
    Ok(())
}
