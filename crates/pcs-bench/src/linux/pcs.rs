//! A `pcs` under test: as shipped, with a configuration file of its own and its log in a file.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::hop::{PASSWORD, USER};
use super::option;
use super::process::Process;

const START: Duration = Duration::from_secs(10);
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The binary to test: `--pcs FILE`, else the one built beside us.
pub(crate) fn binary(arguments: &[String]) -> Result<PathBuf> {
    let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("pcs"));
    let file = option(arguments, "--pcs").map_or_else(beside, |file| Ok(PathBuf::from(file)))?;
    if !file.exists() {
        bail!(
            "{} is missing: build it by `cargo build --release -p pcs-cli`",
            file.display()
        );
    }
    Ok(file)
}

/// One hop as a configuration writes it, credentials included.
pub(crate) fn hop(id: &str, port: u16) -> String {
    format!(
        "{{id: {id}, host: 127.0.0.1, port: {port}, protocol: http, username: {USER}, password: {PASSWORD}}}"
    )
}

/// The corporate hop as a configuration writes it.
pub(crate) fn corporate(port: u16) -> String {
    format!(
        "corporate_proxy: {{host: 127.0.0.1, port: {port}, protocol: http, username: {USER}, password: {PASSWORD}}}\n"
    )
}

/// A running `pcs`.
#[derive(Debug)]
pub(crate) struct Pcs {
    pub(crate) process: Process,
    log: PathBuf,
}

impl Pcs {
    /// Starts it in a folder of its own. Its log goes to `pcs.log` there, which the configuration must say.
    pub(crate) fn start(binary: &Path, folder: &Path, configuration: &str) -> Result<Self> {
        Self::start_by(Command::new(binary), folder, configuration)
    }

    /// The same with a lower soft limit of open files than ours.
    pub(crate) fn start_with_soft_limit(
        binary: &Path,
        folder: &Path,
        configuration: &str,
        limit: u64,
    ) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -Sn {limit}; exec \"$0\" \"$@\"")])
            .arg(binary);
        Self::start_by(command, folder, configuration)
    }

    fn start_by(mut command: Command, folder: &Path, configuration: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let log = folder.join("pcs.log");
        let file = folder.join("config.yaml");
        // An older run's log would tell where that one listened.
        while let Some(old) = newest_log(&log) {
            fs::remove_file(old)?;
        }
        fs::write(&file, configuration)?;
        // It holds a password.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        command
            .args(["run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.env_remove("RUST_LOG").env_remove("PCS_CONFIG");
        let process = Process::start("pcs", &mut command, &folder.join("pcs.err"))?;
        Ok(Self { process, log })
    }

    /// Writes another configuration; it takes effect with a reload.
    pub(crate) fn rewrite(&self, configuration: &str) -> Result<()> {
        Ok(fs::write(self.log.with_file_name("config.yaml"), configuration)?)
    }

    /// Where a listener listens, from its `listening` event. Waits for it.
    pub(crate) fn address(&mut self, listener: &str) -> Result<SocketAddr> {
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let found = self
                .events()
                .find(|event| event["event"] == "listening" && event["listener"] == listener);
            if let Some(event) = found {
                return Ok(event["addr"].as_str().context("an address is a text")?.parse()?);
            }
            if !self.process.runs() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let said = fs::read_to_string(self.log.with_file_name("pcs.err")).unwrap_or_default();
        bail!("pcs does not tell where its {listener} listener is: {said}")
    }

    /// What it has logged.
    pub(crate) fn events(&self) -> impl Iterator<Item = Value> {
        let text = newest_log(&self.log)
            .and_then(|log| fs::read_to_string(log).ok())
            .unwrap_or_default();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        events.into_iter()
    }
}

/// The log, under its own name or with a date behind it.
fn newest_log(log: &Path) -> Option<PathBuf> {
    if log.exists() {
        return Some(log.to_path_buf());
    }
    let name = log.file_stem()?.to_str()?;
    let mut dated: Vec<PathBuf> = fs::read_dir(log.parent()?)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|file| file.to_str())
                .is_some_and(|file| {
                    file.starts_with(name) && file.len() > name.len() + 4 && file.contains("20")
                })
        })
        .collect();
    dated.sort();
    dated.pop()
}

/// One call to the admin API: status and body.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let text = get(address, method, path, body)?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .context("an answer has a status")?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A whole answer as text, from a server that closes behind it.
pub(crate) fn get(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ADMIN_TIMEOUT)?;
    stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
    let body = body.map(Value::to_string);
    let framing = body.as_ref().map_or_else(String::new, |body| {
        format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        )
    });
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{framing}\r\n{}",
        body.unwrap_or_default()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The value of one series of a metrics page; 0 where it is not there.
pub(crate) fn metric(page: &str, series: &str) -> f64 {
    let value = |line: &str| line.strip_prefix(series)?.trim().parse().ok();
    page.lines().find_map(value).unwrap_or(0.0)
}
