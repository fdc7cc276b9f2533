//! `bench --scale`: what grows with members, with tunnels held and with tunnels served, against its limits.

mod checks;
mod crowd;
mod endurance;
mod picks;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::bench::targets::{self, Check};
use super::{option, pcs};

const FOLDER: &str = "target/bench";
const MIB: f64 = 1024.0 * 1024.0;

/// What one part found: rows for people, figures for machines, figures against their limits.
#[derive(Debug, Default)]
struct Found {
    rows: Vec<(String, String)>,
    figures: Map<String, Value>,
    checks: Vec<Check>,
}

impl Found {
    fn row(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.rows.push((name.into(), text.into()));
    }

    fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    fn check(&mut self, check: Check) {
        self.checks.push(check.alone());
    }
}

/// What all parts need to know.
struct Setup {
    pcs: PathBuf,
    folder: PathBuf,
}

/// Runs the parts, or those of `--parts picks,checks,crowd,endurance`; false if a limit is missed.
pub(crate) fn run(arguments: &[String]) -> Result<bool> {
    let setup = Setup {
        pcs: pcs::binary(arguments)?,
        folder: std::env::current_dir()?.join(FOLDER).join("scale"),
    };
    fs::create_dir_all(&setup.folder)?;
    let picks = option(arguments, "--picks");
    let tunnels: usize = option(arguments, "--tunnels").unwrap_or("1000000").parse()?;
    let all = if picks.is_some() {
        "picks,checks,crowd,endurance"
    } else {
        "checks,crowd,endurance"
    };
    let (mut figures, mut checks) = (Map::new(), Vec::new());
    for name in option(arguments, "--parts").unwrap_or(all).split(',') {
        println!("== {name}");
        let found = match name {
            "picks" => picks::read(Path::new(
                picks.context("--picks FILE: what the bench `pick` printed")?,
            )),
            "checks" => checks::measure(&setup),
            "crowd" => crowd::measure(&setup),
            "endurance" => endurance::measure(&setup, tunnels),
            other => bail!("no part `{other}`"),
        };
        let found = found.with_context(|| name.to_owned())?;
        println!("\n| {name} | |\n|---|---|");
        for (name, text) in &found.rows {
            println!("| {name} | {text} |");
        }
        println!();
        figures.insert(name.to_owned(), Value::Object(found.figures));
        checks.extend(found.checks);
    }
    let good = targets::print(&checks);
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let text = serde_json::to_string_pretty(&json!({
        "unix_time": at, "parts": figures, "checks": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
    }))?;
    let file = Path::new(FOLDER).join(format!("scale-{at}.json"));
    fs::write(&file, &text)?;
    println!("\nwritten to {}", file.display());
    Ok(good)
}

/// A configuration with these members, its log in `folder`.
fn configuration(folder: &Path, server: &str, members: &[u16], more: &str) -> String {
    let members: Vec<String> = members
        .iter()
        .enumerate()
        .map(|(number, port)| format!("    - {}\n", pcs::hop(&format!("hop-{number}"), *port)))
        .collect();
    format!(
        "server: {{port: 0, {server}}}\nrotation:\n  proxies:\n{}\
         logging: {{file: \"{}\"}}\nmetrics: {{port: 0}}\nadmin: {{port: 0}}\n{more}",
        members.concat(),
        folder.join("pcs.log").display()
    )
}

/// Health checks to a target that the scripted hop plays.
const CHECKED: &str = "health_check: {test_url: \"http://health.example/\"}\n";
