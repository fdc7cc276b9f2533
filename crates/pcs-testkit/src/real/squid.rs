//! Squid: a corporate proxy with Basic or NTLM, or a rotating proxy.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use super::{LOOPBACK, Peer, Unavailable, find, is_root, python, write};

/// Verifies NTLMv2 for Squid's helper protocol: recomputes NTProofStr and MIC itself.
const NTLM_HELPER: &str = include_str!("../../assets/ntlm_auth.py");
/// Where Debian keeps Squid's helpers.
const BASIC_HELPER: &str = "/usr/lib/squid/basic_ncsa_auth";

/// A Squid to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Squid {
    listen: IpAddr,
    exit: Option<IpAddr>,
    basic: Option<(String, String)>,
    ntlm: Option<(String, String, String)>,
    extra: String,
}

impl Default for Squid {
    fn default() -> Self {
        Self::new()
    }
}

impl Squid {
    /// An open proxy on 127.0.0.1.
    pub fn new() -> Self {
        Self {
            listen: LOOPBACK,
            exit: None,
            basic: None,
            ntlm: None,
            extra: String::new(),
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

    /// Asks for these credentials by NTLM; its own helper recomputes NTProofStr and MIC.
    pub fn ntlm(mut self, domain: &str, user: &str, password: &str) -> Self {
        self.ntlm = Some((domain.to_owned(), user.to_owned(), password.to_owned()));
        self
    }

    /// More lines of its configuration, before the access rules.
    pub fn extra(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// Squid or a helper is missing, or it does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let squid = find("squid", "squid")?;
        let password = match &self.basic {
            Some((user, password)) => Some(format!("{user}:{}\n", hashed(password)?)),
            None => None,
        };
        let python = python()?;
        Peer::start("squid", self.listen, |dir, address| {
            let mut conf = format!("http_port {address}\n");
            if let Some(password) = &password {
                let file = write(dir, "passwords", password);
                conf.push_str(&format!(
                    "auth_param basic program {BASIC_HELPER} {}\n\
                     auth_param basic children 3 startup=1 idle=1\n\
                     auth_param basic realm test\n",
                    file.display()
                ));
            }
            if let Some((domain, user, password)) = &self.ntlm {
                let helper = write(dir, "ntlm_auth.py", NTLM_HELPER);
                let account = write(dir, "account", &format!("{domain}\n{user}\n{password}\n"));
                conf.push_str(&format!(
                    "auth_param ntlm program {} {} {} {}\n\
                     auth_param ntlm children 20 startup=2 idle=1\n\
                     auth_param ntlm keep_alive on\n",
                    python.display(),
                    helper.display(),
                    account.display(),
                    dir.join("ntlm.log").display()
                ));
            }
            conf.push_str(&self.extra);
            conf.push_str(&self.rules(dir));
            let file = write(dir, "squid.conf", &conf);
            let mut command = Command::new(&squid);
            // One process in the foreground, whose shared memory has a name of its own. The environment is its own:
            // no proxy settings of the machine.
            command
                .args(["-N", "-d", "1", "-n", &service(address.port()), "-f"])
                .arg(file);
            command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
            command
        })
        .map(|peer| {
            // Squid takes two seconds to end even with nothing to do; its helpers end when their input does.
            let service = service(peer.port());
            let litter = ["metadata", "queues", "readers"];
            peer.abrupt(
                litter
                    .map(|part| format!("/dev/shm/{service}-cf__{part}.shm").into())
                    .to_vec(),
            )
        })
    }

    fn rules(&self, dir: &Path) -> String {
        let asks = self.basic.is_some() || self.ntlm.is_some();
        let access = if asks {
            "acl known proxy_auth REQUIRED\nhttp_access allow known"
        } else {
            "http_access allow all"
        };
        let exit = self
            .exit
            .map(|ip| format!("tcp_outgoing_address {ip}\n"))
            .unwrap_or_default();
        let user = if is_root() {
            "cache_effective_user proxy\n"
        } else {
            ""
        };
        let dir = dir.display();
        format!(
            "{access}\nhttp_access deny all\n{exit}{user}\
             access_log stdio:{dir}/access.log\n\
             cache_log {dir}/cache.log\n\
             cache deny all\n\
             cache_mem 8 MB\n\
             coredump_dir {dir}\n\
             netdb_filename none\n\
             pid_filename none\n\
             shutdown_lifetime 0 seconds\n\
             visible_hostname squid.test\n\
             max_filedescriptors 8192\n\
             pinger_enable off\n\
             via off\n\
             forwarded_for delete\n\
             connect_timeout 5 seconds\n\
             on_unsupported_protocol tunnel all\n"
        )
    }
}

/// Squid's name for itself, in which it takes letters and digits only.
fn service(port: u16) -> String {
    format!("pcs{port}")
}

/// A password as `basic_ncsa_auth` wants it: an MD5 crypt, made by openssl.
fn hashed(password: &str) -> Result<String, Unavailable> {
    if !Path::new(BASIC_HELPER).exists() {
        return Err(Unavailable::Missing {
            program: "basic_ncsa_auth",
            package: "squid",
        });
    }
    let openssl = find("openssl", "openssl")?;
    let output = Command::new(openssl)
        .args(["passwd", "-apr1", "-salt", "testsalt", password])
        .output();
    let hash = output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    hash.map(|hash| hash.trim().to_owned())
        .ok_or_else(|| Unavailable::Failed {
            program: "openssl passwd".to_owned(),
            log: String::new(),
        })
}
