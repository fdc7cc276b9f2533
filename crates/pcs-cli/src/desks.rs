//! The admin API and the metrics page: opened at the start, moved by reloads, closed last.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use pcs_admin::Admin;
use pcs_config::Config;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Operator;
use crate::core::{Core, announce};

/// What is served now.
#[derive(Debug, Default)]
pub(crate) struct Desks {
    open: Mutex<Open>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Open {
    admin: Option<CancellationToken>,
    metrics: Option<CancellationToken>,
}

/// Listeners that are bound and not yet served; `None` where nothing is to be.
#[derive(Debug, Default)]
pub(crate) struct BoundDesks {
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
}

/// Which of the two are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Which {
    pub(crate) admin: bool,
    pub(crate) metrics: bool,
}

impl BoundDesks {
    /// Takes the ports of those that are meant and switched on.
    ///
    /// # Errors
    ///
    /// A port in use, named by its key.
    pub(crate) fn bind(config: &Config, which: Which) -> anyhow::Result<Self> {
        let bind = |on: bool, address: SocketAddr, section: &str| {
            on.then(|| listen(address)).transpose().with_context(|| {
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
}

impl BoundDesks {
    /// Where the admin API will listen.
    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

impl Core {
    /// Serves what was bound, and closes what was served before in its place.
    ///
    /// # Errors
    ///
    /// A listener that does not tell its address.
    pub(crate) fn open_desks(
        self: &Arc<Self>,
        bound: BoundDesks,
        config: &Config,
        which: Which,
    ) -> anyhow::Result<()> {
        let admin = Admin {
            pools: self.pools.clone(),
            control: Arc::new(Operator(Arc::clone(self))),
            metrics: Arc::clone(&self.metrics),
            feed: self.feed.clone(),
            gate: Arc::clone(&self.gate),
        };
        let mut open = self.desks.open.lock();
        if which.admin {
            let token = bound.admin.map(|listener| {
                let token = self.announce_desk("admin", &listener)?;
                let (admin, closing) = (admin.clone(), token.clone());
                self.serve("admin", async move { admin.serve(listener, closing).await });
                anyhow::Ok(token)
            });
            close(std::mem::replace(&mut open.admin, token.transpose()?));
        }
        if which.metrics {
            let token = bound.metrics.map(|listener| {
                let token = self.announce_desk("metrics", &listener)?;
                let (closing, path) = (token.clone(), config.metrics.path.clone());
                // The page names proxies: where others can reach it they have to show the token.
                let guarded = !config.metrics.listen.ip().is_loopback();
                self.serve("metrics", async move {
                    pcs_admin::serve_metrics(admin, listener, path, guarded, closing).await
                });
                anyhow::Ok(token)
            });
            close(std::mem::replace(&mut open.metrics, token.transpose()?));
        }
        Ok(())
    }

    fn announce_desk(&self, name: &'static str, listener: &TcpListener) -> anyhow::Result<CancellationToken> {
        let address = listener
            .local_addr()
            .context("asking a listener for its address")?;
        self.listens(address);
        announce(name, address);
        Ok(CancellationToken::new())
    }

    fn serve(&self, name: &'static str, work: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.desks.tasks.spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(event = "listener_failed", listener = name, %error);
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
