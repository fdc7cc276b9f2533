//! The glossary of PCS as types.
//!
//! What for: the words every other crate uses, each with one meaning: a [`Target`] is where the client wants to
//! go, a [`Hop`] is one proxy on the way, a [`ChainSpec`] is the ordered hops, a [`FailureKind`] with its
//! [`Blame`] and [`Retry`] says what went wrong and who reads it how.
//!
//! What not: no IO, no clock, no async, no serialisation. A type here is either a validated newtype or a closed set.
//!
//! Start with [`Target`] and [`ChainSpec`]:
//!
//! ```
//! use pcs_models::{ChainSpec, Endpoint, Hop, Protocol, Target};
//!
//! let hop = Hop::new(Protocol::Http, "proxy.corp.example:3128".parse::<Endpoint>()?);
//! let chain = ChainSpec::try_new(vec![hop])?;
//! let target: Target = "example.com:443".parse()?;
//! assert_eq!(chain.hops().len(), 1);
//! assert_eq!(target.to_string(), "example.com:443");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod chain;
mod failure;
mod name;
mod secret;
mod traffic;

pub use address::{AddressError, Endpoint, Host, Target};
pub use chain::{
    AuthScheme, ChainError, ChainSpec, Hop, HopIndex, LearntAuth, Protocol, TlsOptions, UnknownProtocol,
};
pub use failure::{Blame, FailureKind, Retry};
pub use name::{HopName, NameError, PoolName, ProxyId, SessionId};
pub use secret::{Credentials, CredentialsError, Secret};
pub use traffic::{DURATION_BOUNDS, Durations, ErrorLabel, Traffic};
