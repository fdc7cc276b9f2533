//! What the admin API asks of the process around it.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use pcs_models::{PoolName, ProxyId};
use pcs_pool::ProxyView;
use serde_json::Value;

use crate::Gauges;

/// Changes of the running process. Each answers once the change is in force and durable.
#[async_trait]
pub trait Control: Send + Sync {
    /// Adds a rotating proxy described by `body`, the keys of an entry of `rotation.proxies`.
    ///
    /// # Errors
    ///
    /// [`ControlError`] says what is wrong with it.
    async fn add(&self, pool: PoolName, body: Value, by: SocketAddr) -> Result<ProxyView, ControlError>;

    /// Changes `enabled`, `weight` and `tags` of one.
    ///
    /// # Errors
    ///
    /// [`ControlError`] says what is wrong with it.
    async fn patch(&self, id: ProxyId, body: Value, by: SocketAddr) -> Result<ProxyView, ControlError>;

    /// Removes one; its tunnels live on.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`], or a state file that cannot be written.
    async fn remove(&self, id: ProxyId, by: SocketAddr) -> Result<(), ControlError>;

    /// Checks one now.
    ///
    /// # Errors
    ///
    /// [`ControlError::NotFound`], or checks that do not run.
    async fn check(&self, id: ProxyId) -> Result<CheckResult, ControlError>;

    /// Reads the configuration again.
    ///
    /// # Errors
    ///
    /// One line for each reason why the old one is still in force.
    async fn reload(&self, by: SocketAddr) -> Result<Changed, Vec<String>>;

    /// What the metrics and `/stats` show and only the process knows.
    fn gauges(&self) -> Gauges;
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// New proxies.
    pub added: Vec<ProxyId>,
    /// Those that are gone.
    pub removed: Vec<ProxyId>,
    /// Those that are not as they were.
    pub changed: Vec<ProxyId>,
}

/// One health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// What is held of the proxy after it.
    pub healthy: bool,
    /// How long it took, or why it failed.
    pub result: Result<Duration, String>,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No proxy has this id.
    #[error("there is no proxy {0}")]
    NotFound(ProxyId),
    /// Another proxy has this id.
    #[error("there is a proxy {0} already")]
    Duplicate(ProxyId),
    /// The body is not what it has to be: one line a mistake.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// It could not be done or kept.
    #[error("{0}")]
    Failed(String),
}
