//! What the admin API may do to the running server.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pcs_admin::{Changed, CheckResult, Control, ControlError, Event, Gauges};
use pcs_health::checker::CheckNowError;
use pcs_models::{PoolName, ProxyId};
use pcs_pool::{ChangeError, Origin, ProxyView};
use serde_json::Value;

use crate::core::Core;
use crate::{limits, wiring};

/// The port of `pcs-admin` over the heart of the server.
pub(crate) struct Operator(pub(crate) Arc<Core>);

#[async_trait]
impl Control for Operator {
    async fn add(&self, pool: PoolName, body: Value, by: SocketAddr) -> Result<ProxyView, ControlError> {
        let mut member = pcs_config::member_from_json(body).map_err(|errors| invalid(&errors))?;
        if !member.id_given {
            self.free_id(&mut member);
        }
        let id = member.id.clone();
        let spec = wiring::member(&member, Origin::Admin);
        let added = self.0.changed(|pools| pools.add(pool, spec)).await;
        self.told(&id, "added", by, added)
    }

    async fn patch(&self, id: ProxyId, body: Value, by: SocketAddr) -> Result<ProxyView, ControlError> {
        let patch = wiring::patch(pcs_config::patch_from_json(body).map_err(|errors| invalid(&errors))?);
        let patched = self.0.changed(|pools| pools.patch(&id, &patch)).await;
        self.told(&id, "patched", by, patched)
    }

    async fn remove(&self, id: ProxyId, by: SocketAddr) -> Result<(), ControlError> {
        let removed = self.0.changed(|pools| pools.remove(&id)).await;
        self.told(&id, "removed", by, removed)
    }

    async fn check(&self, id: ProxyId) -> Result<CheckResult, ControlError> {
        let report = self.0.checks.check_now(&id).await.map_err(|error| match error {
            CheckNowError::Unknown => ControlError::NotFound(id.clone()),
            error => ControlError::Failed(error.to_string()),
        })?;
        let healthy = self
            .0
            .pools
            .get(&id)
            .map_or_else(|| report.result.is_ok(), |view| view.is_healthy());
        Ok(CheckResult {
            healthy,
            result: report.result.map_err(|failure| failure.to_string()),
        })
    }

    async fn reload(&self, by: SocketAddr) -> Result<Changed, Vec<String>> {
        let result = self.0.reload("api").await;
        let outcome = if result.is_ok() { "done" } else { "refused" };
        tracing::info!(event = "audit", change = "reload", %by, outcome);
        let applied = result.map_err(|refused| refused.0)?;
        Ok(Changed {
            added: applied.added,
            removed: applied.removed,
            changed: applied.changed,
        })
    }

    fn gauges(&self) -> Gauges {
        let core = &self.0;
        Gauges {
            active_connections: core.shared.active_connections() as u64,
            max_connections: core.config.load().server.max_connections as u64,
            memory_limit_bytes: limits::memory_limit().unwrap_or(0),
            last_reload_ok: core.last_reload_ok(),
            spliced_bytes: core.shared.spliced_bytes(),
            splice_engagements: core.shared.splice_engagements(),
        }
    }
}

impl Operator {
    /// Two proxies at one address with one user name may both be wanted: the second gets a number.
    fn free_id(&self, member: &mut pcs_config::MemberConfig) {
        let taken = |id: &ProxyId| self.0.pools.get(id).is_some();
        if !taken(&member.id) {
            return;
        }
        let numbered = (2..u32::MAX).filter_map(|n| ProxyId::try_new(&format!("{}-{n}", member.id)).ok());
        if let Some(free) = numbered.into_iter().find(|id| !taken(id)) {
            member.hop.name = (&free).into();
            member.id = free;
        }
    }

    /// Writes the audit line and tells whoever listens.
    fn told<T>(
        &self,
        id: &ProxyId,
        change: &'static str,
        by: SocketAddr,
        result: Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        match &result {
            Ok(_) => {
                tracing::info!(event = "audit", change, proxy = %id, %by, outcome = "done");
                self.0.feed.tell(Event::Proxy {
                    proxy: id.clone(),
                    change,
                });
            }
            Err(error) => {
                // What could not be kept is in force all the same.
                let failed = matches!(error, ControlError::Failed(_));
                let outcome = if failed { "failed" } else { "refused" };
                tracing::info!(event = "audit", change, proxy = %id, %by, outcome, %error);
            }
        }
        result
    }
}

fn invalid(errors: &[pcs_config::FieldError]) -> ControlError {
    ControlError::Invalid(errors.iter().map(ToString::to_string).collect())
}

/// A change of the pools that was refused.
pub(crate) fn refused(error: ChangeError) -> ControlError {
    match error {
        ChangeError::DuplicateId(id) => ControlError::Duplicate(id),
        ChangeError::UnknownProxy(id) => ControlError::NotFound(id),
        error => ControlError::Invalid(vec![error.to_string()]),
    }
}
