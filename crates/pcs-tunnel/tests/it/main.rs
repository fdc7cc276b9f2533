//! The library over real sockets, on port 0 of the loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod chain;
mod examples;
mod network;
mod pattern;
mod relay;

use std::net::SocketAddr;

use tokio::net::{TcpSocket, TcpStream};

/// A plain connection, as clients make them.
async fn dial(address: SocketAddr) -> TcpStream {
    TcpSocket::new_v4().unwrap().connect(address).await.unwrap()
}
