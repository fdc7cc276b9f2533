//! Which crate may use which: the arrows of the house plan point only downward.

use anyhow::{Result, bail};

use crate::metadata::{Package, packages};

/// One crate's place.
struct Room {
    name: &'static str,
    /// Crates of a lower number only, never of the same.
    layer: u8,
    may_use: &'static [&'static str],
    /// External crates that would take its purity away.
    never: &'static [&'static str],
}

/// No runtime, no clock, no input or output, no logging.
const IMPURE: &[&str] = &[
    "tokio",
    "async-trait",
    "futures-util",
    "tracing",
    "socket2",
    "hyper",
    "axum",
    "rustix",
];
/// Formats stop at the border.
const FORMATS: &[&str] = &["serde_yaml", "figment", "axum"];

const ROOMS: &[Room] = &[
    Room {
        name: "pcs-models",
        layer: 0,
        may_use: &[],
        never: IMPURE,
    },
    Room {
        name: "pcs-config",
        layer: 1,
        may_use: &["pcs-models"],
        never: &["tokio", "axum", "hyper"],
    },
    Room {
        name: "pcs-strategies",
        layer: 1,
        may_use: &["pcs-models"],
        never: IMPURE,
    },
    Room {
        name: "pcs-tunnel",
        layer: 1,
        may_use: &["pcs-models"],
        never: FORMATS,
    },
    Room {
        name: "pcs-health",
        layer: 2,
        may_use: &["pcs-models", "pcs-tunnel"],
        never: FORMATS,
    },
    Room {
        name: "pcs-store",
        layer: 2,
        may_use: &["pcs-models"],
        never: FORMATS,
    },
    Room {
        name: "pcs-pool",
        layer: 3,
        may_use: &["pcs-models", "pcs-strategies", "pcs-health", "pcs-tunnel"],
        never: FORMATS,
    },
    Room {
        name: "pcs-catalog",
        layer: 3,
        may_use: &["pcs-models", "pcs-tunnel", "pcs-health", "pcs-store"],
        never: FORMATS,
    },
    Room {
        name: "pcs-accounts",
        layer: 3,
        may_use: &["pcs-models", "pcs-store"],
        never: FORMATS,
    },
    Room {
        name: "pcs-notify",
        layer: 3,
        may_use: &["pcs-models", "pcs-tunnel"],
        never: FORMATS,
    },
    Room {
        name: "pcs-server",
        layer: 4,
        may_use: &["pcs-models", "pcs-tunnel"],
        never: FORMATS,
    },
    Room {
        name: "pcs-admin",
        layer: 5,
        may_use: &["pcs-models", "pcs-pool"],
        never: &["serde_yaml", "figment"],
    },
    Room {
        name: "pcs-cli",
        layer: 6,
        may_use: &[
            "pcs-models",
            "pcs-config",
            "pcs-strategies",
            "pcs-tunnel",
            "pcs-health",
            "pcs-store",
            "pcs-pool",
            "pcs-catalog",
            "pcs-accounts",
            "pcs-notify",
            "pcs-server",
            "pcs-admin",
        ],
        never: &["serde_yaml", "figment"],
    },
    // For tests: nothing but dev-dependencies may name it, and it knows no more than the glossary.
    Room {
        name: "pcs-testkit",
        layer: 1,
        may_use: &["pcs-models"],
        never: FORMATS,
    },
    // For developers: it measures the binary from outside, so it needs none of its rooms.
    // For tests: every parser that strangers' bytes reach.
    Room {
        name: "pcs-fuzz",
        layer: 7,
        may_use: &["pcs-models", "pcs-config", "pcs-tunnel", "pcs-server"],
        never: &["serde_yaml", "figment", "axum"],
    },
    Room {
        name: "pcs-bench",
        layer: 7,
        may_use: &["pcs-models", "pcs-testkit"],
        never: &[],
    },
    Room {
        name: "xtask",
        layer: 7,
        may_use: &["pcs-models", "pcs-testkit"],
        never: &[],
    },
];

/// Checks every arrow between the crates of the workspace.
///
/// # Errors
///
/// All arrows that the table does not allow.
pub(crate) fn run() -> Result<()> {
    let packages = packages()?;
    let problems: Vec<String> = packages
        .iter()
        .flat_map(problems)
        .chain(table_problems())
        .collect();
    if problems.is_empty() {
        println!("layers: {} crates, every arrow points downward", packages.len());
        return Ok(());
    }
    bail!("layers:\n  {}", problems.join("\n  "));
}

fn problems(package: &Package) -> Vec<String> {
    let name = &package.name;
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        return vec![format!(
            "{name} has no place in the layer table (xtask/src/layers.rs)"
        )];
    };
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        let ours = dependency.starts_with("pcs-");
        if ours && !room.may_use.contains(&dependency.as_str()) {
            problems.push(format!("{name} (layer {}) may not use {dependency}", room.layer));
        }
        if room.never.contains(&dependency.as_str()) {
            problems.push(format!(
                "{name} may not use {dependency}: it would cease to be what its layer promises"
            ));
        }
    }
    problems
}

/// The table itself must point downward.
fn table_problems() -> Vec<String> {
    let layer = |name: &str| ROOMS.iter().find(|room| room.name == name).map(|room| room.layer);
    let arrows = ROOMS
        .iter()
        .flat_map(|room| room.may_use.iter().map(move |used| (room, *used)));
    arrows
        .filter(|(room, used)| layer(used).is_none_or(|below| below >= room.layer))
        .map(|(room, used)| format!("the table lets {} use {used}, which is not below it", room.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            folder: "/".into(),
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            examples: Vec::new(),
        }
    }

    #[test]
    fn the_table_points_downward() {
        assert_eq!(table_problems(), Vec::<String>::new());
    }

    #[test]
    fn arrows_upward_and_sideways_are_found() {
        assert_eq!(problems(&package("pcs-pool", &["pcs-health", "tokio"])).len(), 0);
        assert_eq!(problems(&package("pcs-tunnel", &["pcs-pool"])).len(), 1);
        assert_eq!(problems(&package("pcs-config", &["pcs-tunnel"])).len(), 1);
        assert_eq!(problems(&package("pcs-models", &["tokio"])).len(), 1);
        assert_eq!(problems(&package("pcs-server", &["pcs-testkit"])).len(), 1);
        assert_eq!(problems(&package("pcs-unheard-of", &[])).len(), 1);
    }
}
