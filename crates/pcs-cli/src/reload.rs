//! Reading the configuration again while serving.

use std::net::SocketAddr;
use std::sync::Arc;

use pcs_admin::Event;
use pcs_config::{Change, Config, Listener, Loaded};
use pcs_pool::Applied;

use crate::core::{Core, Place};
use crate::desks::{BoundDesks, Which};
use crate::front::{Bound, FrontDoor};
use crate::{setup, wiring};

/// Why a reload changed nothing: one line an error.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) Vec<String>);

impl Core {
    /// Reloads and tells the log; for signals and file watchers, which have nobody to answer.
    pub(crate) async fn reload_and_log(self: &Arc<Self>, cause: &'static str) {
        // The outcome is in the log already.
        let _ = self.reload(cause).await;
    }

    /// Reads the configuration again and puts it in force, whole or not at all. One at a time; no connection is
    /// dropped.
    ///
    /// # Errors
    ///
    /// [`Refused`] with every error; the old configuration is still in force.
    ///
    /// # Cancel safety
    ///
    /// Dropping it before its last step changes nothing; the last step has no await.
    pub(crate) async fn reload(self: &Arc<Self>, cause: &'static str) -> Result<Applied, Refused> {
        let Ok(_one_at_a_time) = self.reloading.acquire().await else {
            return Err(stopping());
        };
        let result = self.try_reload().await;
        self.note_reload(result.is_ok());
        if let Ok(applied) = &result {
            self.feed.tell(Event::Reload {
                added: applied.added.clone(),
                removed: applied.removed.clone(),
                changed: applied.changed.clone(),
            });
            self.save_after_reload().await;
        }
        match &result {
            Ok(applied) => tracing::info!(
                event = "reloaded",
                cause,
                added = applied.added.len(),
                removed = applied.removed.len(),
                changed = applied.changed.len()
            ),
            Err(Refused(errors)) => tracing::error!(
                event = "reload_refused",
                cause,
                errors = errors.join("; "),
                "The configuration was not reloaded, the old one is in force"
            ),
        }
        result
    }

    async fn try_reload(self: &Arc<Self>) -> Result<Applied, Refused> {
        let Some(sources) = self.sources.clone() else {
            return Err(Refused(vec![
                "this server has no configuration to read again".to_owned(),
            ]));
        };
        let before = self.watched().again();
        // Files are read and CA bundles parsed away from this thread, which also answers the admin API.
        let read = tokio::task::spawn_blocking(move || setup::load_from(&sources)).await;
        let loaded = match read {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => return Err(Refused(lines(&error))),
            Err(panic) => {
                return Err(Refused(vec![format!(
                    "reading the configuration failed: {panic}"
                )]));
            }
        };
        let applied = self.put_in_force(&loaded).await?;
        self.watch(loaded.watched, &before);
        Ok(applied)
    }

    async fn put_in_force(self: &Arc<Self>, loaded: &Loaded) -> Result<Applied, Refused> {
        let (old, new) = (self.config.load_full(), &loaded.config);
        if pcs_config::loses_chain(&old, new) {
            let message =
                "the new configuration names no proxy at all: requests would go straight to their targets";
            return Err(Refused(vec![message.to_owned()]));
        }
        let changes = pcs_config::diff(&old, new);
        for warning in &loaded.warnings {
            tracing::warn!(event = "configuration", %warning);
        }
        for change in &changes {
            if let Change::NeedsRestart(key) = change {
                tracing::warn!(
                    event = "needs_restart",
                    key,
                    "A changed key is read at start only"
                );
            }
        }
        // What can fail comes first and is undone by being dropped.
        let moved = changes.contains(&Change::ListenerChanged(Listener::Server));
        let which = Which {
            admin: changes.contains(&Change::ListenerChanged(Listener::Admin)),
            metrics: changes.contains(&Change::ListenerChanged(Listener::Metrics)),
        };
        let own = self.closing(moved, which);
        let bound = moved.then(|| Bound::bind(new.server.listen, &own)).transpose();
        let bound = bound.map_err(|error| Refused(lines(&error)))?;
        let desks = BoundDesks::bind(new, which, &own).map_err(|error| Refused(lines(&error)))?;
        let Ok(taken_over) = self.doors.reserve().await else {
            return Err(stopping());
        };
        // From here on without an await. The new port serves a moment before the new members are there.
        let door = bound
            .map(|bound| bound.serve(&self.shared, &self.pools))
            .transpose();
        let door = door.map_err(|error| Refused(lines(&error)))?;
        let applied = self.pools.apply(wiring::pools(new)).map_err(|error| {
            door.iter().for_each(FrontDoor::close);
            Refused(vec![error.to_string()])
        })?;
        self.switch(new, &changes);
        self.members_changed(new);
        if let Some(door) = door {
            self.listens(Place::Proxy, Some(door.address()));
            taken_over.send(door);
        }
        self.open_desks(desks, new, which);
        self.config.store(Arc::new(new.clone()));
        Ok(applied)
    }

    /// Where we listen and are about to close: that may be taken over. What stays is in the way like anybody's.
    fn closing(&self, door: bool, which: Which) -> Vec<SocketAddr> {
        let places = [
            (door, Place::Proxy),
            (which.admin, Place::Admin),
            (which.metrics, Place::Metrics),
        ];
        let closing = places.into_iter().filter(|(moves, _)| *moves);
        closing.filter_map(|(_, place)| self.listening(place)).collect()
    }

    /// Everything that cannot fail.
    fn switch(&self, new: &Config, changes: &[Change]) {
        self.switch_network(new);
        self.shared.reload(wiring::server(&new.server));
        self.gate.store(Arc::new(wiring::gate(&new.admin)));
        self.metrics.set_max_series(new.metrics.max_proxy_series);
        if changes.contains(&Change::LogLevelChanged)
            && let Some(logs) = &self.logs
        {
            let directives = self
                .sources
                .as_ref()
                .and_then(|sources| sources.env.get("RUST_LOG"));
            if let Err(error) = logs.set_level(&new.logging, directives.map(String::as_str)) {
                tracing::warn!(event = "log_level", error = format!("{error:#}"));
            }
        }
    }
}

fn stopping() -> Refused {
    Refused(vec!["the server is stopping".to_owned()])
}

/// One line an error; a configuration's own lines stay apart.
fn lines(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<setup::ConfigProblem>() {
        Some(problem) => problem.lines(),
        None => vec![format!("{error:#}")],
    }
}
