//! Tunnels through chains of HTTP, HTTPS and SOCKS proxies, as an embeddable library.
//!
//! What for: a byte stream to a target through any mix of hops, with every failure telling its kind, its hop and
//! whose fault it is; and a relay that moves bytes between two streams.
//!
//! What not: choosing a proxy, health, retries. Those are decorators of [`Connect`] in other crates.

mod chain;
mod connect;
mod error;
mod net;
mod relay;
mod scratch;
mod stream;
pub mod wire;

pub use chain::{
    Chain, ChainBuildError, ChainBuilder, ChainConnector, Dial, DialRequest, DialTimeouts, Dialed,
    FixedChain, IntoHop, PreparedChain, WarmStream,
};
pub use connect::{
    Attempt, BoxFuture, Connect, ConnectRequest, Connected, Form, HopAddress, HopTiming, Outcome, Purpose,
    Unobserved, Verdict, Via,
};
pub use error::DialError;
pub use net::{NetError, Network, NetworkSettings, OwnListeners, Resolve, SystemResolver, TcpDialed};
pub use relay::{EndedBy, Relay, RelayReport, TunnelRegistry, relay};
pub use stream::{ByteStream, ChainStream, Io};
