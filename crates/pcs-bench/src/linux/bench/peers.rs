//! Who is measured: PCS, and what a user would pick instead, each with one hop behind it that asks for credentials.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Setup;
use crate::linux::hop::{CREDENTIALS, PASSWORD, USER};
use crate::linux::load::Credentials;
use crate::linux::pcs;
use crate::linux::process::Process;
use crate::linux::socket::free_port;

const START: Duration = Duration::from_secs(20);
/// Connections each must be able to hold.
const CONNECTIONS: usize = 6000;

/// A kind of participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pcs,
    /// The same with a corporate proxy before the rotating one.
    PcsTwoHops,
    HaproxyHttp,
    HaproxyTcp,
    HaproxySplice,
    Squid,
    Tinyproxy,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Pcs,
        Self::PcsTwoHops,
        Self::HaproxyHttp,
        Self::HaproxyTcp,
        Self::HaproxySplice,
        Self::Squid,
        Self::Tinyproxy,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pcs => "pcs",
            Self::PcsTwoHops => "pcs two hops",
            Self::HaproxyHttp => "haproxy http",
            Self::HaproxyTcp => "haproxy tcp",
            Self::HaproxySplice => "haproxy tcp splice",
            Self::Squid => "squid",
            Self::Tinyproxy => "tinyproxy",
        }
    }

    /// A mode that parses nothing cannot add credentials: there the client sends them itself.
    pub(crate) fn credentials(self) -> Credentials {
        match self {
            Self::HaproxyTcp | Self::HaproxySplice => Credentials::Sent,
            Self::Pcs | Self::PcsTwoHops | Self::HaproxyHttp | Self::Squid | Self::Tinyproxy => {
                Credentials::LeftToProxy
            }
        }
    }

    fn program(self) -> Option<&'static str> {
        match self {
            Self::Pcs | Self::PcsTwoHops => None,
            Self::HaproxyHttp | Self::HaproxyTcp | Self::HaproxySplice => Some("haproxy"),
            Self::Squid => Some("squid"),
            Self::Tinyproxy => Some("tinyproxy"),
        }
    }

    /// Whether it can be started here.
    pub(crate) fn is_there(self) -> bool {
        self.program().is_none_or(|program| find(program).is_some())
    }
}

/// A participant that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// From its start to the end of the first tunnel it carried.
    pub(crate) start: Duration,
    shared_memory: Vec<PathBuf>,
}

impl Peer {
    /// Starts one before a hop, with what it writes in `folder`.
    pub(crate) fn start(kind: Kind, setup: &Setup, hop: u16, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let port = free_port()?;
        let mut command = match kind {
            Kind::Pcs | Kind::PcsTwoHops => pcs_command(kind, &setup.pcs, port, hop, folder)?,
            Kind::HaproxyHttp | Kind::HaproxyTcp | Kind::HaproxySplice => {
                let file = folder.join("haproxy.cfg");
                fs::write(&file, haproxy(kind, port, hop))?;
                command(kind, &["-db", "-f"], &file)?
            }
            Kind::Squid => {
                let file = folder.join("squid.conf");
                fs::write(&file, squid(port, hop, folder))?;
                let service = format!("bench{port}");
                command(kind, &["-N", "-d", "1", "-n", &service, "-f"], &file)?
            }
            Kind::Tinyproxy => {
                let file = folder.join("tinyproxy.conf");
                fs::write(&file, tinyproxy(port, hop, folder))?;
                command(kind, &["-d", "-c"], &file)?
            }
        };
        // Squid drops its rights and must still write here.
        open_to_all(folder)?;
        if setup.is_pinned {
            command = pinned(&command)?;
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(kind.name(), &mut command, &folder.join("stderr"))?;
        let start = process
            .serves_on(port, kind.credentials(), START)
            .with_context(|| {
                let said = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
                format!("{}: {}", kind.name(), said.trim())
            })?;
        let litter = ["metadata", "queues", "readers"];
        let shared_memory = match kind {
            Kind::Squid => litter
                .map(|part| format!("/dev/shm/bench{port}-cf__{part}.shm").into())
                .to_vec(),
            Kind::Pcs | Kind::PcsTwoHops | Kind::HaproxyHttp | Kind::HaproxyTcp => Vec::new(),
            Kind::HaproxySplice | Kind::Tinyproxy => Vec::new(),
        };
        Ok(Self {
            kind,
            process,
            port,
            start,
            shared_memory,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Squid is killed before it could tidy up. What is not there needs no removal.
        for file in &self.shared_memory {
            let _ = fs::remove_file(file);
        }
    }
}

/// Where a program is, those of the administrator included.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn command(kind: Kind, arguments: &[&str], file: &Path) -> Result<Command> {
    let program = kind
        .program()
        .and_then(find)
        .with_context(|| format!("{} is missing", kind.name()))?;
    let mut command = Command::new(program);
    command.args(arguments).arg(file);
    Ok(command)
}

/// As shipped: what is not written here is default. The health checks go to a target that the hop plays.
pub(crate) fn pcs_configuration(port: u16, corporate: Option<u16>, hop: u16, more: &str) -> String {
    let corporate = corporate.map(pcs::corporate).unwrap_or_default();
    format!(
        "server: {{port: {port}, max_connections: {CONNECTIONS}}}\n\
         {corporate}\
         rotation: {{proxies: [{}]}}\n\
         health_check: {{test_url: \"http://health.example/\"}}\n\
         logging: {{file: pcs.log}}\n\
         metrics: {{port: 0}}\n\
         admin: {{port: 0}}\n\
         {more}",
        pcs::hop("hop", hop)
    )
}

fn pcs_command(kind: Kind, pcs: &Path, port: u16, hop: u16, folder: &Path) -> Result<Command> {
    let corporate = (kind == Kind::PcsTwoHops).then_some(hop);
    fs::write(
        folder.join("config.yaml"),
        pcs_configuration(port, corporate, hop, ""),
    )?;
    let mut command = Command::new(fs::canonicalize(pcs)?);
    command
        .args(["run", "--config", "config.yaml"])
        .current_dir(folder);
    command.env_remove("RUST_LOG").env_remove("PCS_CONFIG");
    Ok(command)
}

fn haproxy(kind: Kind, port: u16, hop: u16) -> String {
    let (mode, options) = match kind {
        Kind::HaproxyHttp => ("http", "option httplog\n  option http-no-delay"),
        Kind::HaproxySplice => (
            "tcp",
            "option tcplog\n  option splice-request\n  option splice-response",
        ),
        _ => ("tcp", "option tcplog"),
    };
    let credentials = if kind == Kind::HaproxyHttp {
        format!("http-request set-header Proxy-Authorization \"Basic {CREDENTIALS}\"")
    } else {
        String::new()
    };
    format!(
        "global\n  maxconn {CONNECTIONS}\n  log stderr format raw local0\n\
         defaults\n  mode {mode}\n  log global\n  {options}\n  maxconn {CONNECTIONS}\n  \
         timeout connect 10s\n  timeout client 300s\n  timeout server 300s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n  {credentials}\n  server hop 127.0.0.1:{hop}\n"
    )
}

/// Debian's `squid.conf` as it is installed, rules, cache and log included. Added: the parent, who it runs as, where
/// it writes, how many connections it may hold, and that it tells nobody about the client, as PCS does not.
fn squid(port: u16, hop: u16, folder: &Path) -> String {
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root {
        "cache_effective_user proxy\n"
    } else {
        ""
    };
    let folder = folder.display();
    let descriptors = 2 * CONNECTIONS + 500;
    format!(
        "{DEBIAN_SQUID}\
         http_port 127.0.0.1:{port}\n{user}\
         cache_peer 127.0.0.1 parent {hop} 0 no-query no-digest no-netdb-exchange default login={USER}:{PASSWORD}\n\
         never_direct allow all\n\
         access_log daemon:{folder}/access.log squid\ncache_log {folder}/cache.log\ncoredump_dir {folder}\n\
         netdb_filename none\npid_filename none\nshutdown_lifetime 0 seconds\nvisible_hostname squid.test\n\
         max_filedescriptors {descriptors}\npinger_enable off\nvia off\nforwarded_for delete\n"
    )
}

/// What rules Debian's file has for clients on the same machine.
const DEBIAN_SQUID: &str = "\
acl localnet src 0.0.0.1-0.255.255.255
acl localnet src 10.0.0.0/8
acl localnet src 100.64.0.0/10
acl localnet src 169.254.0.0/16
acl localnet src 172.16.0.0/12
acl localnet src 192.168.0.0/16
acl localnet src fc00::/7
acl localnet src fe80::/10
acl SSL_ports port 443
acl Safe_ports port 80
acl Safe_ports port 21
acl Safe_ports port 443
acl Safe_ports port 70
acl Safe_ports port 210
acl Safe_ports port 1025-65535
acl Safe_ports port 280
acl Safe_ports port 488
acl Safe_ports port 591
acl Safe_ports port 777
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow localhost manager
http_access deny manager
http_access allow localhost
http_access deny all
refresh_pattern ^ftp: 1440 20% 10080
refresh_pattern ^gopher: 1440 0% 1440
refresh_pattern -i (/cgi-bin/|\\?) 0 0% 0
refresh_pattern . 0 20% 4320
";

/// Without its log of connections: it waits for the disk after each line of it.
fn tinyproxy(port: u16, hop: u16, folder: &Path) -> String {
    format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients {CONNECTIONS}\nDisableViaHeader Yes\n\
         LogLevel Warning\nLogFile \"{}/tinyproxy.log\"\nUpstream http {USER}:{PASSWORD}@127.0.0.1:{hop}\n",
        folder.display()
    )
}

/// The same on the second core alone; load and hop keep the first.
fn pinned(command: &Command) -> Result<Command> {
    let mut pinned = Command::new(find("taskset").context("taskset is missing")?);
    pinned
        .args(["-c", "1"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        pinned.current_dir(folder);
    }
    pinned.env_remove("RUST_LOG").env_remove("PCS_CONFIG");
    Ok(pinned)
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    for part in folder.ancestors().take(2) {
        fs::set_permissions(part, fs::Permissions::from_mode(0o777))?;
    }
    Ok(())
}
