//! The proxy port: one thread and one current-thread runtime per worker, each with its own listener.
//!
//! Why not one runtime of many threads is told in `docs/adr/0001-runtime.md`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use pcs_pool::Pools;
use pcs_server::{Drained, Listeners, Shared, Shutdown, Worker};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bound, and not yet served.
#[derive(Debug)]
pub(crate) struct Bound(Listeners);

impl Bound {
    /// Takes the port, one of our `own` as well.
    ///
    /// # Errors
    ///
    /// The port is in use, or may not be taken.
    pub(crate) fn bind(address: SocketAddr, own: &[SocketAddr]) -> anyhow::Result<Self> {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let listeners = Listeners::bind_beside(address, workers, own)
            .with_context(|| format!("server.bind_address, server.port: cannot listen on {address}"))?;
        Ok(Self(listeners))
    }

    /// Where it listens; the port is never 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr()
    }

    /// Serves, one thread a listener.
    ///
    /// # Errors
    ///
    /// The operating system gives no thread.
    pub(crate) fn serve(self, shared: &Arc<Shared>, pools: &Pools) -> anyhow::Result<FrontDoor> {
        let (address, shutdown) = (self.address(), Shutdown::new());
        let sockets = self.0.into_sockets();
        let workers = sockets.len();
        let (ended, results) = mpsc::channel(workers);
        for (index, socket) in sockets.into_iter().enumerate() {
            let worker = Worker::new(socket, Arc::clone(shared), shutdown.watch());
            let (ended, pools) = (ended.clone(), pools.clone());
            thread::Builder::new()
                .name(format!("pcs-worker-{index}"))
                .spawn(move || {
                    let result = run(worker, &pools);
                    // Nobody listens any more where the process is already on its way out.
                    let _ = ended.blocking_send(result);
                })
                .context("starting a worker thread")?;
        }
        Ok(FrontDoor {
            address,
            shutdown,
            results,
            workers,
        })
    }
}

/// Warm chains are built by the worker that will use them: a socket belongs to the thread it was registered with.
fn run(worker: Worker, pools: &Pools) -> io::Result<Drained> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            drained = worker.run() => drained,
            () = pools.keep_warm() => Err(io::Error::other("the keeper of warm chains ended")),
        }
    })
}

/// A port that is served.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    address: SocketAddr,
    shutdown: Shutdown,
    results: mpsc::Receiver<io::Result<Drained>>,
    workers: usize,
}

impl FrontDoor {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener; connections live on until `deadline`, if there is one.
    pub(crate) fn drain(&self, deadline: Option<Instant>) {
        self.shutdown.drain(deadline);
    }

    /// Cuts every connection now.
    pub(crate) fn close(&self) {
        self.shutdown.close();
    }

    /// Waits until no worker is left. Answers how many connections were cut.
    ///
    /// # Errors
    ///
    /// A worker ended by itself: its listener could not be served, or it panicked.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a later call goes on waiting.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<usize> {
        let mut cut = 0;
        while self.workers > 0 {
            match self.results.recv().await {
                Some(result) => {
                    self.workers -= 1;
                    cut += result.context("a worker of the proxy port failed")?.cut;
                }
                None => anyhow::bail!("a worker of the proxy port panicked"),
            }
        }
        Ok(cut)
    }
}
