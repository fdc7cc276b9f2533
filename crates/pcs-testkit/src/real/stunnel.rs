//! stunnel: puts TLS in front of a proxy.

use std::net::SocketAddr;
use std::process::Command;

use super::{LOOPBACK, Peer, Unavailable, find, write};
use crate::Leaf;

/// A stunnel to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Stunnel {
    leaf: Leaf,
    inner: SocketAddr,
}

impl Stunnel {
    /// TLS with this certificate on 127.0.0.1, whose content goes to `inner`.
    pub fn new(leaf: &Leaf, inner: SocketAddr) -> Self {
        Self {
            leaf: leaf.clone(),
            inner,
        }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// It is missing, or does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let stunnel = find("stunnel", "stunnel4").or_else(|_| find("stunnel4", "stunnel4"))?;
        Peer::start("stunnel", LOOPBACK, |dir, address| {
            let (certificate, key) = self.leaf.write(dir);
            let conf = format!(
                "foreground = yes\nsyslog = no\npid =\ndebug = 4\n\
                 [proxy]\naccept = {address}\nconnect = {}\ncert = {}\nkey = {}\n\
                 socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n",
                self.inner,
                certificate.display(),
                key.display()
            );
            let file = write(dir, "stunnel.conf", &conf);
            let mut command = Command::new(&stunnel);
            command.arg(file);
            command
        })
    }
}
