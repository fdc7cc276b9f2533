//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// The sockets that listen on one address: one for each worker.
#[derive(Debug)]
pub struct Listeners {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Connections the kernel holds until they are accepted (it caps this by its own limit).
    pub const BACKLOG: i32 = 4096;

    /// Binds `address` for `workers` workers (at least one). Port 0 takes any free port, the same for all.
    ///
    /// On Linux each worker gets a socket of its own and the kernel spreads connections over them; elsewhere the
    /// workers share one.
    ///
    /// # Errors
    ///
    /// Whatever the system says, [`io::ErrorKind::AddrInUse`] above all, also where the other process would
    /// have shared the port.
    pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Self> {
        Self::bind_beside(address, workers, &[])
    }

    /// The same, while this process still listens on `own`: an address that one of those covers, or that covers one of
    /// those, can be taken over before the other is closed (Linux only; elsewhere it is in use).
    ///
    /// # Errors
    ///
    /// As [`Self::bind`].
    pub fn bind_beside(address: SocketAddr, workers: usize, own: &[SocketAddr]) -> io::Result<Self> {
        if !cfg!(target_os = "linux") {
            let socket = open(address)?;
            socket.bind(&address.into())?;
            return Self::listen(vec![socket], workers.max(1));
        }
        // Sockets that share a port would also share it with a second PCS, which has to be told that the port is
        // taken: so the port is first claimed alone, and held until the others are bound.
        let claim = if own.iter().any(|own| overlap(*own, address)) {
            None
        } else {
            let claim = open(address)?;
            claim.bind(&address.into())?;
            share(&claim)?;
            Some(claim)
        };
        let address = claim.as_ref().map_or(Ok(address), local_address)?;
        let sockets = (0..workers.max(1))
            .map(|_| shared(address))
            .collect::<io::Result<Vec<_>>>()?;
        Self::listen(sockets, workers.max(1))
    }

    fn listen(sockets: Vec<Socket>, workers: usize) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(workers);
        for socket in sockets {
            // Accepted connections inherit it on Linux: one system call less for each (see `Worker`).
            #[cfg(target_os = "linux")]
            socket.set_tcp_nodelay(true)?;
            socket.listen(Self::BACKLOG)?;
            socket.set_nonblocking(true)?;
            listeners.push(TcpListener::from(socket));
        }
        let Some(first) = listeners.first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let address = first.local_addr()?;
        while listeners.len() < workers {
            let clone = listeners.first().map(TcpListener::try_clone).transpose()?;
            listeners.extend(clone);
        }
        Ok(Self {
            address,
            sockets: listeners,
        })
    }

    /// Where they listen; the port is never 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The sockets, one for each worker, non-blocking.
    #[must_use]
    pub fn into_sockets(self) -> Vec<TcpListener> {
        self.sockets
    }
}

/// Whether two listeners would be in each other's way.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip(), other.ip());
    one.port() == other.port() && (one_ip == other_ip || one_ip.is_unspecified() || other_ip.is_unspecified())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option means something else: it would let anybody take the port over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = open(address)?;
    share(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Lets further sockets of this user be bound to the same port.
fn share(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(true)?;
    let _ = socket;
    Ok(())
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_a_port_but_a_second_process_does_not() {
        let first = Listeners::bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(first.local_addr().port(), 0);
        for workers in [1, 3] {
            let second = Listeners::bind(first.local_addr(), workers);
            assert_eq!(
                second.unwrap_err().kind(),
                io::ErrorKind::AddrInUse,
                "{workers} workers"
            );
        }
        let sockets = first.into_sockets();
        assert_eq!(sockets.len(), 3);
        let ports: Vec<_> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        assert!(ports.windows(2).all(|pair| pair[0] == pair[1]), "{ports:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_this_process_holds_can_be_taken_over_by_a_wider_or_narrower_address() {
        let first = Listeners::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let own = first.local_addr();
        let wide = SocketAddr::from(([0, 0, 0, 0], own.port()));
        let refused = Listeners::bind_beside(wide, 2, &["127.0.0.1:1".parse().unwrap()]);
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let second = Listeners::bind_beside(wide, 2, &[own]).unwrap();
        let third = Listeners::bind_beside(own, 1, &[own, wide]).unwrap();
        drop((first, second));
        assert_eq!(third.local_addr(), own);
        assert_eq!(
            Listeners::bind(own, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }

    #[test]
    fn a_port_can_be_bound_again_once_it_was_closed() {
        let first = Listeners::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = first.local_addr();
        drop(first);
        assert_eq!(Listeners::bind(address, 2).unwrap().local_addr(), address);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_connections_do_not_delay_small_writes() {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = listeners.local_addr();
        let socket = listeners.into_sockets().remove(0);
        socket.set_nonblocking(false).unwrap();
        let client = std::thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
        let (accepted, _) = socket.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        drop(client.join().unwrap());
    }
}
