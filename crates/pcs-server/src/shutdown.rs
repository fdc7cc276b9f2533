//! The phases of a stop: `Accepting → Draining(deadline) → Closing → Done`.

use tokio::sync::watch;
use tokio::time::Instant;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Connections are accepted and served.
    Accepting,
    /// The listener is closed; connections live on. With a deadline, idle ones are closed at once, answers say
    /// `Connection: close`, and what is left at the deadline is cut. Without one (the listener has moved) they
    /// live as long as they like.
    Draining(Option<Instant>),
    /// What is left is being cut.
    Closing,
    /// No task lives.
    Done,
}

/// The handle that stops workers. Dropping it cuts them at once.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<Phase>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A handle in the phase [`Phase::Accepting`].
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Accepting))
    }

    /// What a worker has to be given.
    #[must_use]
    pub fn watch(&self) -> ShutdownWatch {
        ShutdownWatch(self.0.subscribe())
    }

    /// Closes the listeners and lets connections end by themselves, until `deadline` if there is one. May be
    /// called again with another deadline.
    pub fn drain(&self, deadline: Option<Instant>) {
        self.0.send_replace(Phase::Draining(deadline));
    }

    /// Cuts everything now.
    pub fn close(&self) {
        self.0.send_replace(Phase::Closing);
    }
}

/// A worker's view of a [`Shutdown`].
#[derive(Debug, Clone)]
pub struct ShutdownWatch(watch::Receiver<Phase>);

impl ShutdownWatch {
    /// The phase asked for; [`Phase::Closing`] where the handle is gone.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() {
            Phase::Closing
        } else {
            *self.0.borrow()
        }
    }

    /// Waits until another phase is asked for, and answers it.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses no change.
    pub async fn changed(&mut self) -> Phase {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => Phase::Closing,
        }
    }
}

/// What a drained worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections that were cut at the deadline.
    pub cut: usize,
}
