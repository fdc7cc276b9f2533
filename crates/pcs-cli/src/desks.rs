//! The admin API and the metrics page: opened at the start, moved by reloads, closed last.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pcs_admin::Admin;
use pcs_config::Config;
use pcs_server::Listeners;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Operator;
use crate::core::{Core, Place, announce};

/// What is served now.
#[derive(Debug, Default)]
pub(crate) struct Desks {
    open: Mutex<Open>,
    tasks: TaskTracker,
    /// Where the metrics page is.
    page: Arc<ArcSwap<String>>,
}

#[derive(Debug, Default)]
struct Open {
    admin: Option<CancellationToken>,
    metrics: Option<CancellationToken>,
}

/// Listeners that are bound and not yet served; `None` where nothing is to be.
#[derive(Debug, Default)]
pub(crate) struct BoundDesks {
    admin: Option<Bound>,
    metrics: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Which of the two are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Which {
    pub(crate) admin: bool,
    pub(crate) metrics: bool,
}

impl BoundDesks {
    /// Takes the ports of those that are meant and switched on, be they our `own` ones.
    ///
    /// # Errors
    ///
    /// A port in use, named by its key.
    pub(crate) fn bind(config: &Config, which: Which, own: &[SocketAddr]) -> anyhow::Result<Self> {
        let bind = |on: bool, address: SocketAddr, section: &str| {
            on.then(|| Bound::bind(address, own))
                .transpose()
                .with_context(|| {
                    format!("{section}.bind_address, {section}.port: cannot listen on {address}")
                })
        };
        Ok(Self {
            admin: bind(which.admin && config.admin.enabled, config.admin.listen, "admin")?,
            metrics: bind(
                which.metrics && config.metrics.enabled,
                config.metrics.listen,
                "metrics",
            )?,
        })
    }

    /// Where the admin API will listen.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|bound| bound.address)
    }
}

impl Bound {
    fn bind(address: SocketAddr, own: &[SocketAddr]) -> io::Result<Self> {
        let listeners = Listeners::bind_beside(address, 1, own)?;
        let address = listeners.local_addr();
        let listener = listeners
            .into_sockets()
            .pop()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { listener, address })
    }
}

impl Core {
    /// Serves what was bound, and closes what was served before in its place. The metrics page moves to its path.
    pub(crate) fn open_desks(self: &Arc<Self>, bound: BoundDesks, config: &Config, which: Which) {
        let admin = Admin {
            pools: self.pools.clone(),
            control: Arc::new(Operator(Arc::clone(self))),
            metrics: Arc::clone(&self.metrics),
            feed: self.feed.clone(),
            gate: Arc::clone(&self.gate),
        };
        self.desks.page.store(Arc::new(config.metrics.path.clone()));
        let mut open = self.desks.open.lock();
        if which.admin {
            let admin = admin.clone();
            let new = self.open_desk(Place::Admin, bound.admin, |listener, closing| async move {
                admin.serve(listener, closing).await
            });
            close(std::mem::replace(&mut open.admin, new));
        }
        if which.metrics {
            let path = Arc::clone(&self.desks.page);
            // The page names proxies: where others can reach it they have to show the token.
            let guarded = !config.metrics.listen.ip().is_loopback();
            let new = self.open_desk(Place::Metrics, bound.metrics, |listener, closing| async move {
                pcs_admin::serve_metrics(admin, listener, path, guarded, closing).await
            });
            close(std::mem::replace(&mut open.metrics, new));
        }
    }

    /// Serves one of them, where it was bound; answers what closes it.
    fn open_desk<W>(
        &self,
        place: Place,
        bound: Option<Bound>,
        work: impl FnOnce(TcpListener, CancellationToken) -> W,
    ) -> Option<CancellationToken>
    where
        W: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.listens(place, bound.as_ref().map(|bound| bound.address));
        let Bound { listener, address } = bound?;
        announce(place, address);
        let closing = CancellationToken::new();
        self.serve(place, work(listener, closing.clone()));
        Some(closing)
    }

    fn serve(&self, place: Place, work: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.desks.tasks.spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(event = "listener_failed", listener = place.as_str(), %error);
            }
        });
    }

    /// Closes both and waits until their calls have ended.
    pub(crate) async fn close_desks(&self) {
        {
            let mut open = self.desks.open.lock();
            close(open.admin.take());
            close(open.metrics.take());
        }
        self.desks.tasks.close();
        self.desks.tasks.wait().await;
    }
}

fn close(token: Option<CancellationToken>) {
    if let Some(token) = token {
        token.cancel();
    }
}
