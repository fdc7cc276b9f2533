//! The front door of PCS: listeners, CONNECT, plain HTTP, SOCKS5, local authentication, limits, drain.
//!
//! What for: one port on which HTTP proxy clients and SOCKS5 clients are told apart by their first byte, read
//! strictly, let in or refused, and handed to [`pcs_tunnel::Connect`]: the only thing this crate knows of the
//! world behind it. Whatever happens there comes back as one table of answers.
//!
//! What not: choosing a proxy, retrying, health. The connector counts attempts; this crate only asks again when
//! the connector says so.
//!
//! Start with [`Shared`] (settings, the way out, who is told), bind [`Listeners`], and run one [`Worker`] per
//! listener until its [`Shutdown`] ends it:
//!
//! ```no_run
//! use std::sync::Arc;
//! use pcs_server::{Listeners, NoAccess, Settings, Shared, Shutdown, Worker};
//!
//! # async fn serve(connector: Arc<dyn pcs_tunnel::Connect>) -> std::io::Result<()> {
//! let shared = Shared::new(Settings::default(), connector, Arc::new(NoAccess));
//! let shutdown = Shutdown::new();
//! for socket in Listeners::bind("127.0.0.1:8888".parse().expect("an address"), 1)?.into_sockets() {
//!     let drained = Worker::new(socket, Arc::clone(&shared), shutdown.watch()).run().await?;
//!     assert_eq!(drained.cut, 0);
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod answer;
mod buffer;
mod door;
mod http;
mod limits;
mod listen;
mod meter;
mod request_id;
mod settings;
mod shared;
mod shutdown;
mod socks;
mod ticket;
mod tunnel;
mod users;
mod worker;

/// What the fuzz targets see of the parsers. No promise to anybody: it changes with them.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::http::fuzzing::{Asked, asked};
    pub use crate::socks::fuzzing::{SocksMessage, SocksRead, read_socks};
}

pub use access::{Access, AccessRecord, Counted, NoAccess, Rejection, RequestKind, Subject};
pub use listen::Listeners;
pub use request_id::RequestId;
pub use settings::{Protocols, RateLimit, Settings};
pub use shared::Shared;
pub use shutdown::{Drained, Phase, Shutdown, ShutdownWatch};
pub use users::Users;
pub use worker::Worker;
