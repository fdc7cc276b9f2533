//! What the operating system asks of a running server.

use std::io;

/// One request from outside the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop gracefully (SIGTERM, SIGINT, Ctrl+C).
    Stop,
    /// Read the configuration again (SIGHUP).
    Reload,
}

#[cfg(unix)]
mod system {
    use super::Signal;
    use std::io;
    use tokio::signal::unix::{self, SignalKind};

    /// The signals of this process from here on.
    #[derive(Debug)]
    pub(crate) struct Signals {
        terminate: unix::Signal,
        interrupt: unix::Signal,
        hangup: unix::Signal,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self {
                terminate: unix::signal(SignalKind::terminate())?,
                interrupt: unix::signal(SignalKind::interrupt())?,
                hangup: unix::signal(SignalKind::hangup())?,
            })
        }

        /// Waits for the next one.
        ///
        /// # Cancel safety
        ///
        /// Cancel safe: no signal is lost.
        pub(crate) async fn next(&mut self) -> Signal {
            tokio::select! {
                _ = self.terminate.recv() => Signal::Stop,
                _ = self.interrupt.recv() => Signal::Stop,
                _ = self.hangup.recv() => Signal::Reload,
            }
        }
    }
}

#[cfg(not(unix))]
mod system {
    use super::Signal;
    use std::io;

    /// Ctrl+C; there is no SIGHUP here, `POST /reload` does the same.
    #[derive(Debug)]
    pub(crate) struct Signals;

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits for the next one.
        ///
        /// # Cancel safety
        ///
        /// Cancel safe: no signal is lost.
        pub(crate) async fn next(&mut self) -> Signal {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without a handler there is nothing to wait for.
                std::future::pending::<()>().await;
            }
            Signal::Stop
        }
    }
}

pub(crate) use system::Signals;

/// Takes the process's signals over from their default handling.
///
/// # Errors
///
/// The operating system's, where a handler cannot be set.
pub(crate) fn listen() -> io::Result<Signals> {
    Signals::listen()
}
