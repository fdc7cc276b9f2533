//! One socket to one address.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::own::Suspicion;
use super::{Greeting, NetError, OwnListeners};

/// Connects to one address, unless it is our own.
pub(super) async fn connect(
    address: SocketAddr,
    greeting: Greeting,
    own: &OwnListeners,
) -> Result<TcpStream, NetError> {
    let suspicion = own.suspect(address);
    if suspicion == Suspicion::Certain {
        return Err(NetError::Loop { address });
    }
    let stream = open(address, greeting)
        .await
        .map_err(|source| NetError::Connect { address, source })?;
    if suspicion == Suspicion::IfLocal && ends_here(&stream, address) {
        return Err(NetError::Loop { address });
    }
    Ok(stream)
}

/// Whether a connection ends at this machine. Where its two addresses are the same, the kernel has routed it back;
/// no list of interfaces is needed.
fn ends_here(stream: &TcpStream, address: SocketAddr) -> bool {
    let local = stream.local_addr();
    local.is_ok_and(|local| local.ip().to_canonical() == address.ip().to_canonical())
}

/// Five system calls: socket, two options, connect, registration. The readiness event itself says whether the connection
/// stands, so `SO_ERROR` is asked for only when it does not.
#[cfg(target_os = "linux")]
async fn open(address: SocketAddr, greeting: Greeting) -> io::Result<TcpStream> {
    use rustix::io::Errno;
    use socket2::{Domain, Socket, Type};
    use tokio::io::Interest;

    let socket = Socket::new_raw(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    socket.set_tcp_nodelay(true)?;
    if greeting == Greeting::Ours {
        // Whether an acknowledgement waits is the kernel's to decide; this is a hint.
        let _ = socket.set_tcp_quickack(false);
    }
    let under_way = match socket.connect(&address.into()) {
        Ok(()) => false,
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => true,
        Err(error) => return Err(error),
    };
    let stream = TcpStream::from_std(socket.into())?;
    if under_way {
        let ready = stream.ready(Interest::WRITABLE | Interest::ERROR).await?;
        if (ready.is_error() || ready.is_write_closed())
            && let Some(error) = stream.take_error()?
        {
            return Err(error);
        }
    }
    Ok(stream)
}

#[cfg(not(target_os = "linux"))]
async fn open(address: SocketAddr, _greeting: Greeting) -> io::Result<TcpStream> {
    use tokio::net::TcpSocket;

    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
