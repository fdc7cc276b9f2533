//! Proxies that misbehave on purpose, recording origins, runners for real peers. For tests.
//!
//! Three families, from the cheap to the real:
//!
//! - [`Proxy`]: an in-process HTTP, HTTPS, SOCKS4 or SOCKS5 proxy that asks for credentials, leaves from an address
//!   of its own, records what it was asked, and turns bad on demand ([`Behaviour`]).
//! - [`Origin`]: an in-process target that says who asked, echoes, speaks first, sends big bodies of which both
//!   sides know the hash, and counts every connection: what a no-leak test looks at.
//! - [`real`]: Squid, tinyproxy, dante, microsocks, stunnel and Prometheus as children on free ports.
//!
//! Deliberately not here: anything of the product. A peer that shared code with what it tests would share its
//! mistakes too, so the HTTP, SOCKS and NTLM sides of this crate are written independently.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use pcs_testkit::{Behaviour, Origin, OriginKind, Proxy};
//!
//! let origin = Origin::start(OriginKind::Http).await;
//! let proxy = Proxy::http().basic("user", "pass").exit("127.0.0.7").start().await;
//! proxy.behave(Behaviour::Status(503));
//! assert_eq!((proxy.accepted(), origin.accepted()), (0, 0));
//! # }
//! ```
//!
//! Everything here panics rather than returning errors where its own set-up fails: that ends the test with a place.

#![allow(
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "peers of tests: a failed set-up ends the test, sockets are opened on purpose, skips are told loudly"
)]

mod behaviour;
mod head;
mod listening;
mod ntlm;
mod origin;
mod pattern;
mod proxy;
pub mod real;
mod tls;
mod within;

pub use behaviour::Behaviour;
pub use head::Head;
pub use listening::{Listening, refusing_address};
pub use ntlm::NtlmLogin;
pub use origin::{Origin, OriginKind};
pub use pattern::{Digest, Pattern};
pub use proxy::{Proxy, ProxyBuilder};
pub use tls::{Leaf, TestCa};
pub use within::{until, within};
