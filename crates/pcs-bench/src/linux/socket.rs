//! Sockets as the load and the hops want them: loopback, no delay, not blocking.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::Result;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

/// The queue of a listener: more than the highest concurrency of the load.
const BACKLOG: i32 = 4096;

/// A listener on a loopback port, 0 for a free one.
pub(crate) fn listen(port: u16) -> Result<TcpListener> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // Inherited by what it accepts.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &loopback(port))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A port that was free a moment ago, for programs that cannot say which one they took.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(loopback(0))?.local_addr()?.port())
}

/// Begins a connection; its end is told by readiness to write.
pub(crate) fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Throws away up to `limit` bytes that have arrived, without copying them.
pub(crate) fn discard(stream: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    let (_, thrown_away) = rustix::net::recv(stream, scratch, RecvFlags::TRUNC)?;
    Ok(thrown_away)
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
