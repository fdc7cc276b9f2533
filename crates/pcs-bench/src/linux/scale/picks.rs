//! Reads what the pool's bench `pick` printed: a tree of names with a row of times at each leaf.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Found;
use crate::linux::bench::targets::Check;
use crate::linux::json::number;

/// Nanoseconds that a pick may take, by how many members there are.
const PICK: [(&str, f64); 2] = [("100 ", 1000.0), ("100000 ", 5000.0)];
/// Nanoseconds that a flip of one member's health may take at 100,000 members.
const FLIP: f64 = 10_000.0;

pub(super) fn read(file: &Path) -> Result<Found> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let medians = parse(&text);
    ensure!(!medians.is_empty(), "{} holds no times", file.display());
    let mut found = Found::default();
    for (name, nanoseconds) in &medians {
        found.row(name, format!("{nanoseconds:.0} ns"));
        found.figure(name, number(*nanoseconds, 1));
    }
    let worst = |prefix: &str| {
        let of = medians.iter().filter(|(name, _)| name.starts_with(prefix));
        of.map(|(_, nanoseconds)| *nanoseconds).reduce(f64::max)
    };
    for (members, limit) in PICK {
        let figure = worst(&format!("pick/{members}"));
        found.check(Check::at_most(
            format!("a pick at {members}members, worst of all cases, ns"),
            figure,
            limit,
        ));
    }
    found.check(Check::at_most(
        "a flip of one member's health at 100,000, ns",
        worst("flip/100000"),
        FLIP,
    ));
    Ok(found)
}

/// Names and medians of all leaves, in nanoseconds.
fn parse(text: &str) -> Vec<(String, f64)> {
    let mut path: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines() {
        // "│  ├─ name     fastest │ slowest │ median │ mean │ …": three columns of characters a level.
        let Some(branch) = line.chars().position(|of| of == '├' || of == '╰') else {
            continue;
        };
        let rest: String = line.chars().skip(branch + 3).collect();
        path.truncate(branch / 3);
        let mut columns = rest.split('│').map(str::trim);
        let first = columns.next().unwrap_or_default();
        // The name and the fastest time share a column, with at least two spaces between.
        let name = first.split("  ").next().unwrap_or_default().trim();
        path.push(name.to_owned());
        if let Some(median) = columns.nth(1).and_then(nanoseconds) {
            found.push((path.join("/"), median));
        }
    }
    found
}

/// A time with its unit.
fn nanoseconds(text: &str) -> Option<f64> {
    let (value, unit) = text.split_once(' ')?;
    let scale = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    value.parse::<f64>().ok().map(|value| value * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_read() {
        let text = "\
Timer precision: 20 ns
pick                         fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ flip                                    │               │               │               │         │
│  ├─ 100                    98.1 ns       │ 2.5 µs        │ 99.5 ns       │ 101 ns        │ 100     │ 3200
│  ╰─ 100000                 198.1 ns      │ 2.5 µs        │ 1.25 µs       │ 101 ns        │ 100     │ 3200
╰─ pick                                    │               │               │               │         │
   ╰─ 100 members, all up    1 ns          │ 2.5 µs        │ 3 ms          │ 101 ns        │ 100     │ 3200
";
        let expected = [
            ("flip/100", 99.5),
            ("flip/100000", 1250.0),
            ("pick/100 members, all up", 3e6),
        ];
        let found = parse(text);
        assert_eq!(found.len(), expected.len());
        for ((name, time), (expected_name, expected_time)) in found.iter().zip(expected) {
            assert_eq!(name, expected_name);
            assert!((time - expected_time).abs() < 1e-6);
        }
    }
}
