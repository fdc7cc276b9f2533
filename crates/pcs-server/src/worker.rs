//! One accept loop and the connections it serves.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Rejection;
use crate::door::{self, Door};
use crate::limits::Place;
use crate::{Drained, Listeners, Phase, Shared, ShutdownWatch};

/// Accepts from one listener and serves what it accepts, on whatever runtime it is run: one per core and
/// current-thread runtime, or one on a runtime of many threads.
#[derive(Debug)]
pub struct Worker {
    listener: StdListener,
    shared: Arc<Shared>,
    shutdown: ShutdownWatch,
}

impl Worker {
    /// A worker for `listener`, which has to be non-blocking (those of [`crate::Listeners`] are).
    #[must_use]
    pub fn new(listener: StdListener, shared: Arc<Shared>, shutdown: ShutdownWatch) -> Self {
        Self {
            listener,
            shared,
            shutdown,
        }
    }

    /// Serves until the shutdown ends it; afterwards no task of this worker lives.
    ///
    /// # Errors
    ///
    /// The listener cannot be registered with the runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts every connection that is not yet a tunnel and stops the idle clock of those that
    /// are; use the [`crate::Shutdown`] instead.
    pub async fn run(self) -> io::Result<Drained> {
        let Self {
            listener,
            shared,
            mut shutdown,
        } = self;
        let listener = TcpListener::from_std(listener)?;
        let door = Arc::new(Door {
            registry: shared.registry(),
            shared,
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        // Whoever drops this future cuts what it serves.
        let _cut_on_drop = door.closing.clone().drop_guard();
        let mut clock = JoinSet::new();
        let registry = Arc::clone(&door.registry);
        clock.spawn(async move { registry.run().await });
        let tasks = TaskTracker::new();

        accept(&listener, &door, &tasks, &mut shutdown).await;
        if shutdown.phase() != Phase::Closing {
            let listener = listener.into_std()?;
            empty(&listener, &door, &tasks);
        }
        tasks.close();
        let cut = drain(&door, &tasks, &mut shutdown).await;
        clock.shutdown().await;
        tracing::debug!(cut, "Worker done");
        Ok(Drained { cut })
    }
}

/// The phase `Accepting`.
async fn accept(listener: &TcpListener, door: &Arc<Door>, tasks: &TaskTracker, shutdown: &mut ShutdownWatch) {
    while shutdown.phase() == Phase::Accepting {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.changed() => continue,
        };
        match accepted {
            Ok((client, peer)) => welcome(client, peer, door, tasks),
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: what is open has to end first, and trying at once would only spin.
                tracing::warn!(%error, "Accept failed");
                tokio::select! {
                    () = sleep(ACCEPT_PAUSE) => {}
                    _ = shutdown.changed() => {}
                }
            }
        }
    }
}

/// Takes what the kernel has accepted for us already: closing the socket would reset it, although the port may be served
/// by another one meanwhile.
fn empty(listener: &StdListener, door: &Arc<Door>, tasks: &TaskTracker) {
    for _ in 0..Listeners::BACKLOG {
        let Ok((client, peer)) = listener.accept() else {
            return;
        };
        if client.set_nonblocking(true).is_ok()
            && let Ok(client) = TcpStream::from_std(client)
        {
            welcome(client, peer, door, tasks);
        }
    }
}

/// The phases `Draining` and `Closing`. Answers how many connections were cut.
async fn drain(door: &Arc<Door>, tasks: &TaskTracker, shutdown: &mut ShutdownWatch) -> usize {
    loop {
        let deadline = match shutdown.phase() {
            Phase::Accepting | Phase::Closing | Phase::Done => break,
            Phase::Draining(deadline) => deadline,
        };
        if deadline.is_some() {
            door.draining.cancel();
        }
        tokio::select! {
            () = tasks.wait() => return 0,
            () = until(deadline) => break,
            _ = shutdown.changed() => {}
        }
    }
    let cut = tasks.len();
    door.draining.cancel();
    door.closing.cancel();
    door.registry.drain();
    // Both only wake tasks that then end without waiting for anything.
    tasks.wait().await;
    cut
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Lets a client in, or tells it why not.
fn welcome(client: TcpStream, peer: SocketAddr, door: &Arc<Door>, tasks: &TaskTracker) {
    let live = door.shared.live();
    if !live.settings.admits(peer.ip()) {
        door.shared.access.turned_away(peer, Rejection::NotAllowed);
        return;
    }
    // A small answer must not wait for the client's acknowledgement of the one before. On Linux the listener's own
    // setting is inherited.
    #[cfg(not(target_os = "linux"))]
    if client.set_nodelay(true).is_err() {
        return;
    }
    let door = Arc::clone(door);
    match door.shared.connections.enter(live.settings.max_connections) {
        Some(place) => {
            let guest = Guest::new(Arc::clone(&door.shared), place);
            tasks.spawn(watched(
                Arc::clone(&door.shared),
                door::attend(door, client, peer, guest),
            ));
        }
        None => {
            door.shared.access.turned_away(peer, Rejection::MaxConnections);
            // Telling them takes a task and a descriptor each; a flood is closed without a word.
            if let Some(place) = door.shared.refusals.enter(MAX_REFUSALS) {
                tasks.spawn(watched(
                    Arc::clone(&door.shared),
                    door::refuse(door, client, place),
                ));
            }
        }
    }
}

/// Runs a connection's task so that a panic, a bug of ours, ends it alone and is told.
async fn watched(shared: Arc<Shared>, task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        tracing::error!("Connection task panicked");
        shared.access.panicked();
    }
}

/// Errors of `accept` that concern only the connection that would have been accepted.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// A connection that is let in: told when it begins and, dropped, when it ends.
pub(crate) struct Guest {
    shared: Arc<Shared>,
    _place: Place,
}

impl Guest {
    pub(crate) fn new(shared: Arc<Shared>, place: Place) -> Self {
        shared.access.connection_opened();
        Self {
            shared,
            _place: place,
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").finish_non_exhaustive()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.access.connection_closed();
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most clients at once that are being told that they are too many.
const MAX_REFUSALS: usize = 128;
