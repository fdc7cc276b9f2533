//! A loopback listener that counts, and can stop and start listening on its port.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many peer addresses are remembered: enough for every test, bounded for benches.
const REMEMBERED: usize = 65_536;

/// A listener on a loopback port that counts what connects to it.
///
/// Dropping it ends the listener and every connection.
pub struct Listening {
    shared: Arc<Shared>,
    door: watch::Sender<Door>,
    /// The accept loop; it owns the connections' tasks.
    _accepting: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Refuses; open connections live on.
    Closed,
    /// Refuses; open connections were cut.
    Cut,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    accepted: AtomicUsize,
    active: AtomicUsize,
    arrivals: Mutex<Vec<(Instant, SocketAddr)>>,
}

/// One connection in the count of active ones.
struct Active(Arc<Shared>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Listening {
    /// Listens on a free port of `ip` and hands each connection to `serve`.
    pub async fn start<F, Fut>(ip: IpAddr, serve: F) -> Self
    where
        F: Fn(TcpStream, SocketAddr) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        // Nothing here waits; async so that callers are inside a runtime.
        std::future::ready(()).await;
        let listener = listen(SocketAddr::new(ip, 0)).expect("a loopback port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            address,
            accepted: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            arrivals: Mutex::new(Vec::new()),
        });
        let (door, watched) = watch::channel(Door::Open);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_loop(listener, Arc::clone(&shared), watched, serve));
        Self {
            shared,
            door,
            _accepting: accepting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// How many connections were ever accepted.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn active(&self) -> usize {
        self.shared.active.load(Ordering::SeqCst)
    }

    /// Who connected, in order (the first 65,536).
    #[must_use]
    pub fn peers(&self) -> Vec<SocketAddr> {
        let arrivals = self.shared.arrivals.lock();
        arrivals.iter().map(|(_, peer)| *peer).collect()
    }

    /// When who connected, in order (the first 65,536).
    #[must_use]
    pub fn arrivals(&self) -> Vec<(Instant, SocketAddr)> {
        self.shared.arrivals.lock().clone()
    }

    /// Stops listening: connections are refused from now on, open ones live on.
    pub fn refuse(&self) {
        self.door.send_replace(Door::Closed);
    }

    /// Stops listening and cuts every open connection, as a killed process would.
    pub fn kill(&self) {
        self.door.send_replace(Door::Cut);
    }

    /// Listens again on the same port.
    pub fn revive(&self) {
        self.door.send_replace(Door::Open);
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// A loopback address that refuses connections for as long as the returned socket is kept.
#[must_use]
pub fn refusing_address() -> (SocketAddr, impl Send + Sync) {
    let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port can be bound");
    (
        socket.local_addr().expect("a bound socket has an address"),
        socket,
    )
}

async fn accept_loop<F, Fut>(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut door: watch::Receiver<Door>,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut listener = Some(listener);
    // Bound but not listening: refuses, and nobody else gets the port meanwhile.
    let mut reserved = None;
    let mut connections = JoinSet::new();
    loop {
        let wanted = *door.borrow_and_update();
        if wanted == Door::Cut {
            connections.abort_all();
        }
        if wanted == Door::Open {
            if listener.is_none() {
                drop(reserved.take());
                listener = Some(retry(|| listen(shared.address)).await);
            }
        } else if listener.take().is_some() {
            reserved = Some(retry(|| bind(shared.address)).await);
        }
        tokio::select! {
            changed = door.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = accept(listener.as_ref()) => {
                let Ok((stream, peer)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.active.fetch_add(1, Ordering::SeqCst);
                let mut arrivals = shared.arrivals.lock();
                if arrivals.len() < REMEMBERED {
                    arrivals.push((Instant::now(), peer));
                }
                drop(arrivals);
                let active = Active(Arc::clone(&shared));
                let served = serve(stream, peer);
                connections.spawn(async move {
                    let _active = active;
                    served.await;
                });
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => {
            let (stream, peer) = listener.accept().await?;
            // A test peer must not add Nagle's delays to what is measured.
            stream.set_nodelay(true)?;
            Ok((stream, peer))
        }
        None => std::future::pending().await,
    }
}

/// Repeats `bind` while the kernel still holds the port of the socket that was just closed.
async fn retry<T>(bind: impl Fn() -> io::Result<T>) -> T {
    for _ in 0..1000 {
        if let Ok(socket) = bind() {
            return socket;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    bind().expect("the port stays ours between listening and refusing")
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(4096)
}
