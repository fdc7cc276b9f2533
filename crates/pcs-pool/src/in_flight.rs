//! Streams in use or being dialled, counted in and out.

use std::sync::Arc;

use pcs_models::Traffic;

/// Whatever has [`Traffic`].
pub(crate) trait HasTraffic {
    fn traffic(&self) -> &Traffic;
}

impl HasTraffic for Traffic {
    fn traffic(&self) -> &Traffic {
        self
    }
}

/// One stream in use or being dialled; counts itself out when dropped.
#[derive(Debug)]
pub(crate) struct InFlight<T: HasTraffic>(Arc<T>);

impl<T: HasTraffic> InFlight<T> {
    /// Counts one attempt in.
    pub(crate) fn begin(owner: &Arc<T>) -> Self {
        owner.traffic().begin();
        Self(Arc::clone(owner))
    }

    pub(crate) fn owner(&self) -> &Arc<T> {
        &self.0
    }
}

impl<T: HasTraffic> Drop for InFlight<T> {
    fn drop(&mut self) {
        self.0.traffic().end();
    }
}
