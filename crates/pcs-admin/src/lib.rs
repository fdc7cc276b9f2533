//! The operator's side of PCS: admin API, events, dashboard, metrics.
//!
//! What for: [`Admin`] serves the REST API over the pools, with an OpenAPI document made from the handlers and a
//! stream of [`Event`]s; [`Metrics`] is what the request path records into and Prometheus reads.
//!
//! What not: no persistence and no configuration. Changes go through the port [`Control`], which whoever wires
//! the process implements, and are answered once they are durable.

mod admin;
mod docs;
mod events;
mod gate;
mod handlers;
mod listener;
mod metrics;
mod openapi;
mod ports;
mod problem;
mod view;

pub use admin::{Admin, serve_metrics};
pub use docs::{api_reference, metrics_reference};
pub use events::{Event, Feed};
pub use gate::Gate;
pub use metrics::{Gauges, HopKind, Metrics, RequestEnd};
pub use openapi::document;
pub use ports::{Changed, CheckResult, Control, ControlError};
