//! What must hold at the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use rustix::process::Signal;
use serde_json::Value;

use super::client::Client;
use super::load::Tally;
use crate::linux::hop::{CREDENTIALS, PASSWORD};
use crate::linux::pcs::Pcs;

/// The listener of a log, an epoll, a pipe more: what may be open that was not at the start.
const MORE_DESCRIPTORS: usize = 4;
/// Memory after the chaos against memory after its warm-up.
const MOST_GROWTH: f64 = 1.10;
const STICKY_TUNNELS: usize = 20;

/// Findings, good and bad.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    findings: Vec<(bool, String)>,
}

impl Verdict {
    fn note(&mut self, good: bool, text: impl Into<String>) {
        self.findings.push((good, text.into()));
    }

    /// Prints all; whether everything holds.
    pub(crate) fn print(&self) -> bool {
        println!();
        for (good, text) in &self.findings {
            println!("{}  {text}", if *good { "pass" } else { "FAIL" });
        }
        self.findings.iter().all(|(good, _)| *good)
    }

    /// In chaos tunnels may be refused or cut, but no byte may be wrong and nobody may hang.
    pub(crate) fn chaos(&mut self, tallies: &[&Tally]) {
        let wrong: u64 = tallies.iter().map(|tally| tally.wrong).sum();
        let done: u64 = tallies.iter().map(|tally| tally.done).sum();
        self.note(
            wrong == 0,
            format!("in chaos: {wrong} wrong bytes or hangs in {done} operations"),
        );
        for example in tallies.iter().flat_map(|tally| &tally.examples) {
            println!("  wrong: {example}");
        }
        let failed: u64 = tallies.iter().map(|tally| tally.refused + tally.cut).sum();
        self.note(
            done > failed,
            format!("in chaos: {failed} operations refused or cut, fewer than succeeded"),
        );
    }

    /// With every hop well nothing fails.
    pub(crate) fn calm(&mut self, tally: &Tally) {
        let good = tally.done > 0 && tally.refused + tally.cut + tally.wrong == 0;
        self.note(good, format!("in calm: {tally}"));
        for trouble in tally.troubles.iter().chain(&tally.examples) {
            println!("  in calm: {trouble}");
        }
    }

    pub(crate) fn sticky(&mut self, proxy: SocketAddr) -> Result<()> {
        let name = |_| {
            let mut tunnel = Client::tunnel(proxy, Some("one-session"))?;
            tunnel.who()
        };
        let names: Result<BTreeSet<String>, _> = (0..STICKY_TUNNELS).map(name).collect();
        let names = names.map_err(|trouble| anyhow!("a sticky tunnel failed: {trouble:?}"))?;
        self.note(names.len() == 1, format!("one session, one member: {names:?}"));
        Ok(())
    }

    pub(crate) fn in_flight(&mut self, counts: &Value) {
        let zero = |value: &Value| value.as_f64() == Some(0.0);
        let good = counts.as_object().is_some_and(|counts| counts.values().all(zero));
        self.note(good, format!("in-flight counts are zero: {counts}"));
    }

    pub(crate) fn descriptors(&mut self, before: usize, after: usize) {
        let good = after <= before + MORE_DESCRIPTORS;
        self.note(
            good,
            format!("descriptors: {before} at the start, {after} at the end"),
        );
    }

    pub(crate) fn resident(&mut self, before: u64, after: u64) {
        let growth = after as f64 / before.max(1) as f64;
        self.note(
            growth <= MOST_GROWTH,
            format!(
                "RSS: {} KiB after the warm-up, {} KiB at the end: {growth:.3}",
                before / 1024,
                after / 1024
            ),
        );
    }

    /// What the admin API and the metrics page show: no secret.
    pub(crate) fn shown(&mut self, pages: &[String]) {
        let secrets = pages.iter().filter(|page| reveals(page)).count();
        self.note(
            secrets == 0,
            format!(
                "admin API and metrics: {secrets} of {} pages with a secret",
                pages.len()
            ),
        );
    }

    /// Its log: no panic, no secret, and a line for each of the `counted` requests at least (those whose client went
    /// first are not counted).
    pub(crate) fn said(&mut self, pcs: &Pcs, counted: u64) {
        let (mut access, mut errors, mut secrets) = (0_u64, Vec::new(), 0_u64);
        for event in pcs.events() {
            access += u64::from(event["event"] == "access");
            let text = event.to_string();
            secrets += u64::from(reveals(&text));
            // A configuration that is refused was broken on purpose.
            let is_error = event["level"] == "ERROR" && event["event"] != "reload_refused";
            if is_error || text.contains("panicked") {
                errors.push(text);
            }
        }
        self.note(
            errors.is_empty(),
            format!("log: {} errors or panics", errors.len()),
        );
        self.note(
            access >= counted,
            format!("log: {access} access lines for {counted} requests and those whose client went first"),
        );
        for error in errors.iter().take(5) {
            println!("  log: {error}");
        }
        self.note(secrets == 0, format!("log: {secrets} lines with a secret"));
    }

    pub(crate) fn stops(&mut self, pcs: &mut Pcs) {
        let ended = pcs
            .process
            .signal(Signal::TERM)
            .and_then(|()| pcs.process.ends_within(Duration::from_secs(15)));
        let good = ended.as_ref().is_ok_and(|status| status.code() == Some(0));
        self.note(good, format!("stops on SIGTERM: {ended:?}"));
    }
}

/// Whether a text holds the password of the hops, plain or as Basic sends it.
fn reveals(text: &str) -> bool {
    text.contains(PASSWORD) || text.contains(CREDENTIALS.trim_end_matches('='))
}
