//! The `pcs` command.

fn main() {}
