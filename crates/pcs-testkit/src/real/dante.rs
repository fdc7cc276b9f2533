//! dante: the SOCKS proxy of companies. Speaks SOCKS4 and SOCKS5, here without credentials.
//!
//! Its user names are those of the system, so passwords are tried with microsocks instead.

use std::net::IpAddr;
use std::process::Command;

use super::{LOOPBACK, Peer, Unavailable, find, is_root, write};

/// A dante server to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Dante {
    listen: IpAddr,
    exit: IpAddr,
}

impl Default for Dante {
    fn default() -> Self {
        Self::new()
    }
}

impl Dante {
    /// An open proxy on 127.0.0.1.
    pub fn new() -> Self {
        Self {
            listen: LOOPBACK,
            exit: LOOPBACK,
        }
    }

    /// Leaves from this address, which an interface has to have.
    pub fn exit(mut self, ip: &str) -> Self {
        self.exit = ip.parse().expect("an IP address");
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// It is missing, or does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let dante = find("danted", "dante-server")?;
        Peer::start("danted", self.listen, |dir, address| {
            let users = if is_root() {
                "user.privileged: root\nuser.unprivileged: nobody\n"
            } else {
                ""
            };
            let conf = format!(
                "logoutput: {}/dante.log\n\
                 internal: {} port = {}\n\
                 external: {}\n\
                 clientmethod: none\n\
                 socksmethod: none\n\
                 {users}\
                 client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n\
                 socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n",
                dir.display(),
                address.ip(),
                address.port(),
                self.exit
            );
            let file = write(dir, "dante.conf", &conf);
            let mut command = Command::new(&dante);
            command.arg("-f").arg(file).args(["-p", "/dev/null", "-N", "1"]);
            command
        })
    }
}
