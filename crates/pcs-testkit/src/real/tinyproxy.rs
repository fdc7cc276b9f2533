//! tinyproxy: a rotating proxy.

use std::net::IpAddr;
use std::process::Command;

use super::{LOOPBACK, Peer, Unavailable, find, write};

/// A tinyproxy to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Tinyproxy {
    listen: IpAddr,
    exit: Option<IpAddr>,
    basic: Option<(String, String)>,
}

impl Default for Tinyproxy {
    fn default() -> Self {
        Self::new()
    }
}

impl Tinyproxy {
    /// An open proxy on 127.0.0.1.
    pub fn new() -> Self {
        Self {
            listen: LOOPBACK,
            exit: None,
            basic: None,
        }
    }

    /// Listens on this address.
    pub fn listen(mut self, ip: &str) -> Self {
        self.listen = ip.parse().expect("an IP address");
        self
    }

    /// Leaves from this address.
    pub fn exit(mut self, ip: &str) -> Self {
        self.exit = Some(ip.parse().expect("an IP address"));
        self
    }

    /// Asks for these credentials by Basic.
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.basic = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// It is missing, or does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let tinyproxy = find("tinyproxy", "tinyproxy-bin")?;
        Peer::start("tinyproxy", self.listen, |dir, address| {
            let mut conf = format!(
                "Port {}\nListen {}\nTimeout 600\nMaxClients 2000\nDisableViaHeader Yes\n\
                 LogLevel Connect\nLogFile \"{}/tinyproxy.log\"\n",
                address.port(),
                address.ip(),
                dir.display()
            );
            if let Some(exit) = self.exit {
                conf.push_str(&format!("Bind {exit}\n"));
            }
            if let Some((user, password)) = &self.basic {
                conf.push_str(&format!("BasicAuth {user} {password}\n"));
            }
            let file = write(dir, "tinyproxy.conf", &conf);
            let mut command = Command::new(&tinyproxy);
            command.args(["-d", "-c"]).arg(file);
            command
        })
    }
}
