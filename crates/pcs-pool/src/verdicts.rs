//! What health checks tell the pools, and what they want to know of them.

use std::sync::Arc;

use pcs_health::checker::{CheckReport, Seen, Verdicts};
use pcs_models::ProxyId;

use crate::{CheckRecord, Health, Pools};

impl Verdicts for Pools {
    fn verdict(&self, id: &ProxyId, health: Health) {
        self.set_health(id, health);
    }

    fn checked(&self, report: &CheckReport) {
        let record = CheckRecord {
            at: Some(report.at.into()),
            latency: report.result.as_ref().ok().copied(),
            error: report
                .result
                .as_ref()
                .err()
                .map(|failure| Arc::clone(&failure.message)),
            consecutive_failures: report.consecutive_failures,
            consecutive_successes: report.consecutive_successes,
        };
        self.note_check(&report.id, record);
    }

    fn running(&self, running: bool) {
        self.lift_health(!running);
    }

    fn traffic(&self, id: &ProxyId) -> Option<Seen> {
        let member = self.member(id)?;
        Some(Seen {
            successes: member.traffic().succeeded(),
            failures: member.charged(),
        })
    }
}
