//! Automation of the workspace: `cargo xtask <verb>`.

fn main() {}
