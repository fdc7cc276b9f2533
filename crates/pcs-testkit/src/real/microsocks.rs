//! microsocks: a SOCKS5 proxy with user and password.

use std::net::IpAddr;
use std::process::Command;

use super::{LOOPBACK, Peer, Unavailable, find};

/// A microsocks to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Microsocks {
    listen: IpAddr,
    exit: Option<IpAddr>,
    login: Option<(String, String)>,
}

impl Default for Microsocks {
    fn default() -> Self {
        Self::new()
    }
}

impl Microsocks {
    /// An open proxy on 127.0.0.1.
    pub fn new() -> Self {
        Self {
            listen: LOOPBACK,
            exit: None,
            login: None,
        }
    }

    /// Leaves from this address.
    pub fn exit(mut self, ip: &str) -> Self {
        self.exit = Some(ip.parse().expect("an IP address"));
        self
    }

    /// Asks for these credentials (RFC 1929).
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// It is missing, or does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let microsocks = find("microsocks", "microsocks")?;
        Peer::start("microsocks", self.listen, |_dir, address| {
            let mut command = Command::new(&microsocks);
            command.args(["-i", &address.ip().to_string(), "-p", &address.port().to_string()]);
            if let Some(exit) = self.exit {
                command.args(["-b", &exit.to_string()]);
            }
            if let Some((user, password)) = &self.login {
                command.args(["-u", user, "-P", password]);
            }
            command
        })
    }
}
