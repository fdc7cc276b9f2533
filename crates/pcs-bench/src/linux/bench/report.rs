//! The results: tables for people, JSON for machines.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::measure::{Measure, Sample};
use super::peers::Kind;
use super::syscalls::{Calls, total};
use super::targets::Check;
use super::{Results, Taken};
use crate::linux::json::number;

const MIB: f64 = 1024.0 * 1024.0;
const NO_FIGURE: &str = "-";

/// Prints all tables, as Markdown.
pub(crate) fn print(results: &Results) {
    println!(
        "\nMedians of {} interleaved repeats{}; ratios are medians of the ratios of each round.\n",
        results.repeats,
        if results.quick { ", quick" } else { "" }
    );
    let many = [1, 32, 256].map(Measure::Tunnels);
    table(
        results,
        "proxy | µs CPU/tunnel at 1 | 32 | 256 | tunnels/s at 1 | 32 | 256 | µs CPU/plain request | requests/s",
        |kind| {
            let mut cells: Vec<String> = many
                .iter()
                .map(|measure| cell(results, kind, *measure, cpu, 1))
                .collect();
            cells.extend(many.iter().map(|measure| cell(results, kind, *measure, rate, 0)));
            cells.push(cell(results, kind, Measure::Requests, cpu, 1));
            cells.push(cell(results, kind, Measure::Requests, rate, 0));
            cells
        },
    );
    let bulk = &Measure::ALL[4..];
    table(
        results,
        "proxy | s CPU/GB: 1 pull | 1 push | 8 pull | 8 push | Gbit/s: 1 pull | 1 push | 8 pull | 8 push",
        |kind| {
            let mut cells: Vec<String> = bulk
                .iter()
                .map(|measure| cell(results, kind, *measure, cpu, 3))
                .collect();
            cells.extend(bulk.iter().map(|measure| cell(results, kind, *measure, rate, 1)));
            cells
        },
    );
    table(
        results,
        "proxy | added ms at 1: p50 | p99 | at 32: p50 | p99 | syscalls/tunnel at 1 | 32 | splices in 256 MiB",
        |kind| {
            let mut cells = Vec::new();
            for together in [1, 32] {
                let (p50, p99) = added(results, kind, together);
                cells.extend([figure(p50, 3), figure(p99, 3)]);
            }
            let counts = results.counts(kind);
            cells.push(figure(counts.map(|counts| total(&counts.single)), 1));
            cells.push(figure(counts.map(|counts| total(&counts.many)), 1));
            cells.push(figure(counts.map(|counts| counts.bulk_splices), 0));
            cells
        },
    );
    table(
        results,
        "proxy | RSS idle MiB | bytes/idle tunnel | RSS held MiB | RSS after MiB | held | start ms | CPU idle % | held %",
        |kind| {
            let fresh = results.fresh(kind);
            vec![
                figure(fresh.map(|fresh| fresh.rss_idle as f64 / MIB), 1),
                figure(fresh.map(|fresh| fresh.bytes_per_tunnel), 0),
                figure(fresh.map(|fresh| fresh.rss_held as f64 / MIB), 1),
                figure(fresh.map(|fresh| fresh.rss_after as f64 / MIB), 1),
                figure(fresh.map(|fresh| fresh.held as f64), 0),
                figure(fresh.map(|fresh| fresh.start_ms), 1),
                figure(fresh.map(|fresh| fresh.idle_cpu), 2),
                figure(fresh.map(|fresh| fresh.held_cpu), 2),
            ]
        },
    );
    print_warm(results);
}

fn print_warm(results: &Results) {
    if results.warm.is_empty() {
        return;
    }
    println!(
        "| two hops | warm_connections | p50 ms | p99 ms | failed | dials/tunnel | by warm chains | stale |\n\
             |---|---|---|---|---|---|---|---|"
    );
    for warm in &results.warm {
        println!(
            "| {} | {} | {:.1} | {:.1} | {} of {} | {:.2} | {} | {} |",
            warm.far.name(),
            warm.setting,
            warm.p50_ms,
            warm.p99_ms,
            warm.failed,
            warm.done + warm.failed,
            warm.dialled,
            warm.used,
            warm.stale
        );
    }
}

fn table(results: &Results, head: &str, row: impl Fn(Kind) -> Vec<String>) {
    let columns = head.split('|').count();
    println!("| {head} |\n|{}", "---|".repeat(columns));
    for kind in Kind::ALL {
        let cells = row(kind);
        if cells.iter().any(|cell| cell != NO_FIGURE) {
            println!("| {} | {} |", kind.name(), cells.join(" | "));
        }
    }
    let direct = |at: usize| {
        let found = results
            .direct
            .iter()
            .filter(move |(together, ..)| *together == at);
        super::median(found.map(|(_, p50, _)| p50 / 1e3).collect())
    };
    if head.contains("added") {
        println!(
            "\nWithout a proxy p50 is {} ms at 1, {} ms at 32.",
            figure(direct(1), 3),
            figure(direct(32), 3)
        );
    }
    println!();
}

fn cpu(sample: &Sample) -> f64 {
    sample.cpu
}

fn rate(sample: &Sample) -> f64 {
    sample.rate
}

fn cell(results: &Results, kind: Kind, measure: Measure, what: fn(&Sample) -> f64, digits: usize) -> String {
    figure(results.median(kind, measure, what), digits)
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| NO_FIGURE.to_owned(), |value| format!("{value:.digits$}"))
}

/// Milliseconds that a participant adds to a direct connection.
fn added(results: &Results, kind: Kind, together: usize) -> (Option<f64>, Option<f64>) {
    let direct = || results.direct.iter().filter(|(at, ..)| *at == together);
    let measure = Measure::Tunnels(together);
    let less = |through: Option<f64>, without: Option<f64>| {
        through
            .zip(without)
            .map(|(through, without)| (through - without) / 1e3)
    };
    (
        less(
            results.median(kind, measure, |sample| sample.p50_us),
            super::median(direct().map(|(_, p50, _)| *p50).collect()),
        ),
        less(
            results.median(kind, measure, |sample| sample.p99_us),
            super::median(direct().map(|(.., p99)| *p99).collect()),
        ),
    )
}

/// Writes `bench-TIME.json` and `latest.json`.
pub(crate) fn save(results: &Results, checks: &[Check], folder: &Path) -> Result<()> {
    let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let text = serde_json::to_string_pretty(&to_json(results, checks, at))?;
    let file = folder.join(format!("bench-{at}.json"));
    fs::write(&file, &text)?;
    fs::write(folder.join("latest.json"), text)?;
    println!("\nwritten to {}", file.display());
    Ok(())
}

fn to_json(results: &Results, checks: &[Check], at: u64) -> Value {
    let proxies: Map<String, Value> = Kind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), participant(results, kind)))
        .filter(|(_, value)| value != &json!({}))
        .collect();
    let direct: Vec<Value> = results
        .direct
        .iter()
        .map(|(together, p50, p99)| json!({"together": together, "p50_us": number(*p50, 1), "p99_us": number(*p99, 1)}))
        .collect();
    let warm: Vec<Value> = results
        .warm
        .iter()
        .map(|warm| {
            json!({
                "hops": warm.far.name(), "warm_connections": warm.setting,
                "p50_ms": number(warm.p50_ms, 2), "p99_ms": number(warm.p99_ms, 2),
                "done": warm.done, "failed": warm.failed, "dials_per_tunnel": number(warm.dialled, 3),
                "by_warm_chains": warm.used, "stale": warm.stale,
            })
        })
        .collect();
    json!({
        "unix_time": at, "quick": results.quick, "repeats": results.repeats,
        "proxies": proxies, "direct": direct, "warm": warm,
        "checks": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
    })
}

fn participant(results: &Results, kind: Kind) -> Value {
    let mut figures = Map::new();
    for measure in Measure::ALL {
        let samples: Vec<Value> = results
            .samples(kind, measure)
            .map(|Taken { round, sample, .. }| {
                json!({
                    "round": round, "cpu": number(sample.cpu, 4), "rate": number(sample.rate, 2), "done": sample.done,
                    "failed": sample.failed, "p50_us": number(sample.p50_us, 1), "p99_us": number(sample.p99_us, 1),
                })
            })
            .collect();
        if !samples.is_empty() {
            figures.insert(measure.name(), Value::Array(samples));
        }
    }
    if let Some(fresh) = results.fresh(kind) {
        figures.insert(
            "fresh".to_owned(),
            json!({
                "start_ms": number(fresh.start_ms, 2), "idle_cpu_percent": number(fresh.idle_cpu, 3),
                "held_cpu_percent": number(fresh.held_cpu, 3), "held": fresh.held,
                "bytes_per_tunnel": number(fresh.bytes_per_tunnel, 1), "rss_idle": fresh.rss_idle,
                "rss_held": fresh.rss_held, "rss_after": fresh.rss_after,
            }),
        );
    }
    if let Some(counts) = results.counts(kind) {
        figures.insert(
            "syscalls".to_owned(),
            json!({
                "at_1": calls(&counts.single), "at_32": calls(&counts.many),
                "splices_in_256_mib": number(counts.bulk_splices, 0),
            }),
        );
    }
    Value::Object(figures)
}

fn calls(calls: &Calls) -> Value {
    calls
        .iter()
        .map(|(name, number_of)| (name.clone(), number(*number_of, 3)))
        .collect()
}
