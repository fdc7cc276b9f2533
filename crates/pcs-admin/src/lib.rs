//! Admin API, events, metrics.
