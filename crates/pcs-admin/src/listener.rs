//! A listener that holds a bounded number of connections.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Operators, dashboards and scrapers: far fewer than this.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take for its first request.
const FIRST_HEAD: Duration = Duration::from_secs(10);
/// How long a client may go without being sent anything: a head that never ends, an idle connection. Events have
/// their keep-alive four times as often, and no call takes that long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long `accept` rests after the process ran out of something, or while nobody makes room.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two words about having no room.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// A bounded number of connections. The one that was idle for longest makes room for another: open connections that
/// ask nothing must not lock out who asks, health checks before all.
pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    seats: Vec<Weak<Seat>>,
    warned: Option<Instant>,
}

impl Bounded {
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            seats: Vec::new(),
            warned: None,
        })
    }

    async fn place(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            self.make_room();
            // The semaphore is never closed.
            if let Ok(Ok(place)) = timeout(PAUSE, Arc::clone(&self.places).acquire_owned()).await {
                return place;
            }
        }
    }

    /// Cuts the connection that was idle for longest.
    fn make_room(&mut self) {
        let now = Instant::now();
        if self.warned.is_none_or(|last| now - last >= WARNING_INTERVAL) {
            self.warned = Some(now);
            tracing::warn!(
                event = "admin_full",
                connections = MAX_CONNECTIONS,
                "Too many connections to the admin API or the metrics, idle ones make room"
            );
        }
        let seats = self.seats.iter().filter_map(Weak::upgrade);
        if let Some(idle) = seats.filter(|seat| seat.is_idle()).min_by_key(|seat| seat.used()) {
            idle.cut();
        }
    }
}

impl Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let place = self.place().await;
                    self.seats.retain(|seat| seat.strong_count() > 0);
                    let seat = Arc::new(Seat::new());
                    self.seats.push(Arc::downgrade(&seat));
                    // A small answer must not wait for the acknowledgement of the one before.
                    let _ = stream.set_nodelay(true);
                    return (
                        Placed {
                            stream,
                            limit: Box::pin(sleep(FIRST_HEAD)),
                            seat,
                            _place: place,
                        },
                        peer,
                    );
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Calls under way, and streams.
    working: AtomicUsize,
    /// When something was sent last, or it was accepted.
    used: Mutex<Instant>,
    cut: AtomicBool,
    reader: AtomicWaker,
}

impl Seat {
    fn new() -> Self {
        Self {
            working: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// Keeps the connection for as long as the answer lives.
    pub(crate) fn work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    fn is_idle(&self) -> bool {
        self.working.load(Ordering::Relaxed) == 0 && !self.cut.load(Ordering::Relaxed)
    }

    fn used(&self) -> Instant {
        *self.used.lock()
    }

    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }
}

/// A call under way, or a stream.
pub(crate) struct Working(Arc<Seat>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection and its place.
pub(crate) struct Placed {
    stream: TcpStream,
    /// When it is cut, unless something is sent before.
    limit: Pin<Box<Sleep>>,
    seat: Arc<Seat>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            return Poll::Ready(read);
        }
        self.seat.reader.register(cx.waker());
        if self.seat.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        while self.limit.as_mut().poll(cx).is_ready() {
            let end = self.seat.used() + PATIENCE;
            if self.seat.is_idle() || end <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // A call takes its time.
            self.limit.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_ready() {
            let now = Instant::now();
            *self.seat.used.lock() = now;
            self.limit.as_mut().reset(now + PATIENCE);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Who is at the other end, and where they sit.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The address of ours that they connected to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) seat: Arc<Seat>,
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        let local = stream.io().stream.local_addr();
        Self {
            address: *stream.remote_addr(),
            local: local.ok().map(|address| address.ip().to_canonical()),
            seat: Arc::clone(&stream.io().seat),
        }
    }
}
