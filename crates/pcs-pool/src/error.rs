//! Why settings or changes are refused.

use pcs_models::{ChainError, PoolName, ProxyId};
use thiserror::Error;

/// Why settings do not make pools. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Two members have the same id.
    #[error("the proxy id `{0}` is used twice")]
    DuplicateId(ProxyId),
    /// Two pools have the same name.
    #[error("the pool `{0}` is described twice")]
    DuplicatePool(PoolName),
    /// A fallback or a route names a pool that is not there.
    #[error("there is no pool `{0}`")]
    UnknownPool(PoolName),
    /// Pools fall back on one another in a circle.
    #[error("the fallback of pool `{0}` leads back to itself")]
    FallbackCycle(PoolName),
    /// Hops that make no chain.
    #[error("the chain through `{0}` is not possible")]
    Chain(ProxyId, #[source] ChainError),
    /// The process had a chain, these settings have none: traffic would leave without one.
    #[error("these settings name no proxy at all, but the running process has a chain")]
    NoChainLeft,
}

/// Why a change to members is refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// No such member.
    #[error("there is no proxy `{0}`")]
    UnknownProxy(ProxyId),
    /// A member of this id is there already.
    #[error("a proxy `{0}` is there already")]
    DuplicateId(ProxyId),
    /// The settings that would come of it are not possible.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}
