//! A running `pcs`, and the configurations it is given.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use pcs_testkit::real::{Peer, Signal, signal};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::clients::{Answer, dial};

/// How long it may take to be ready, or to end.
const LIMIT: Duration = Duration::from_secs(30);
/// How long its members may take to be as a test waits for: several rounds of checks on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `pcs` in a folder of its own. Dropping it kills it.
pub(crate) struct Pcs {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
    admin: Option<SocketAddr>,
}

/// A call of `pcs` with a configuration, the environment of the machine left out.
pub(crate) struct Call {
    dir: TempDir,
    prefix: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Call {
    /// A call with this configuration file.
    pub(crate) fn with(config: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        // It holds passwords: others may not read it, or there is a warning.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            dir,
            prefix: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Runs it by way of another program.
    pub(crate) fn by(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// More arguments.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// One variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder it will run in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, verb: &str) -> Command {
        let words: Vec<&str> = self
            .prefix
            .iter()
            .map(String::as_str)
            .chain([env!("CARGO_BIN_EXE_pcs")])
            .collect();
        let (program, before) = words.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(before).arg(verb).args(&self.arguments);
        if ["run", "check", "probe", "healthcheck", "stats", "reload"].contains(&verb) {
            command.arg("--config").arg(self.dir.path().join("config.yaml"));
        }
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `pcs VERB` to its end: exit status, standard output, standard error.
    pub(crate) async fn output(self, verb: &str) -> (i32, String, String) {
        let mut command = self.command(verb);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        drop(self);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// Starts `pcs VERB` and does not wait.
    pub(crate) fn launch(self, verb: &str) -> Pcs {
        let log = fs::File::create(self.dir.path().join("pcs.log")).unwrap();
        let mut command = self.command(verb);
        let child = command
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Pcs {
            child,
            dir: self.dir,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            admin: None,
        }
    }

    /// Runs `pcs run` and waits until it is ready.
    pub(crate) async fn start(self) -> Pcs {
        let mut pcs = self.launch("run");
        let deadline = Instant::now() + LIMIT;
        while !pcs.events().iter().any(|event| event["event"] == "ready") {
            let ended = pcs.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "not ready, {ended:?}:\n{}",
                pcs.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pcs.address = pcs.listener("proxy").expect("the proxy listens once it is ready");
        pcs.admin = pcs.listener("admin");
        pcs
    }
}

impl Pcs {
    /// Starts one with this configuration.
    pub(crate) async fn start(config: &str) -> Self {
        Call::with(config).start().await
    }

    /// Where its proxy port is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its proxy port as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where one of its listeners is: `proxy`, `admin` or `metrics`.
    pub(crate) fn listener(&self, name: &str) -> Option<SocketAddr> {
        let events = self.events();
        let event = events
            .iter()
            .find(|event| event["event"] == "listening" && event["listener"] == name)?;
        event["addr"].as_str()?.parse().ok()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file it was configured by.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All it said: standard output and standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("pcs.log")).unwrap_or_default()
    }

    /// The JSON lines it said.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The first event of this name, once there is one.
    pub(crate) async fn event(&self, name: &str) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let events = self.events();
            if let Some(event) = events.into_iter().find(|event| event["event"] == name) {
                return event;
            }
            assert!(Instant::now() < deadline, "no {name}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The access events, once there are at least so many.
    pub(crate) async fn accesses(&self, at_least: usize) -> Vec<Value> {
        self.told("access", at_least, |_| true).await
    }

    /// The events of this name that are as wanted, once there are at least so many.
    pub(crate) async fn told(
        &self,
        name: &str,
        at_least: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut events = self.events();
            events.retain(|event| event["event"] == name && wanted(event));
            if events.len() >= at_least {
                return events;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {at_least} {name} events:\n{}",
                events.len(),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// One call of the admin API: status and body.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, said, _) = self.api_by(method, path, body).await;
        (status, said)
    }

    /// The same, and the address it was made from.
    pub(crate) async fn api_by(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value, SocketAddr) {
        let admin = self.admin.expect("the admin API is on");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let length = body.len();
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{kind}\
             Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = dial(admin).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut stream).await;
        let said = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        (answer.status(), said, stream.local_addr().unwrap())
    }

    /// The ids of its members, sorted.
    pub(crate) async fn ids(&self) -> Vec<String> {
        let listed = self.proxies().await;
        let ids = listed
            .iter()
            .map(|proxy| proxy["id"].as_str().unwrap().to_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        ids
    }

    /// Every member as the admin API has it.
    pub(crate) async fn proxies(&self) -> Vec<Value> {
        let (status, listing) = self.api("GET", "proxies", None).await;
        assert_eq!(status, 200, "{listing}");
        listing["proxies"].as_array().unwrap().clone()
    }

    /// Waits until the admin API says so of the members: those members, and when they were last asked for and were
    /// not so yet.
    pub(crate) async fn until(
        &self,
        what: &str,
        condition: impl Fn(&[Value]) -> bool,
    ) -> (Vec<Value>, Instant) {
        let deadline = Instant::now() + PATIENCE;
        let mut not_yet = Instant::now();
        loop {
            let asked = Instant::now();
            let listed = self.proxies().await;
            if condition(&listed) {
                return (listed, not_yet);
            }
            not_yet = asked;
            assert!(Instant::now() < deadline, "never {what}: {listed:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, what: Signal) {
        signal(self.id(), what);
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Pcs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("the last of what pcs said:\n{}", tail.join("\n"));
        }
    }
}

/// A proxy of a configuration, in one line of YAML.
pub(crate) fn entry(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

/// A proxy of this protocol at this address, with an id and perhaps credentials.
pub(crate) fn member(id: &str, protocol: &str, address: SocketAddr, login: Option<(&str, &str)>) -> String {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut fields = vec![
        ("id", id),
        ("protocol", protocol),
        ("host", &host),
        ("port", &port),
    ];
    if let Some((user, password)) = login {
        fields.extend([("username", user), ("password", password)]);
    }
    entry(&fields)
}

/// A corporate proxy: [`member`] without an id, with further fields.
pub(crate) fn corporate(
    protocol: &str,
    address: SocketAddr,
    login: Option<(&str, &str)>,
    more: &[(&str, &str)],
) -> String {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut fields = vec![("protocol", protocol), ("host", &host), ("port", &port)];
    if let Some((user, password)) = login {
        fields.extend([("username", user), ("password", password)]);
    }
    fields.extend(more);
    entry(&fields)
}

/// A whole configuration: port 0 everywhere, no checks in the background; `more` comes last.
pub(crate) fn config(corporate: Option<&str>, members: &[String], more: &str) -> String {
    let corporate = corporate.unwrap_or("null");
    let members: String = members.iter().map(|member| format!("\n    - {member}")).collect();
    let members = if members.is_empty() {
        " []".to_owned()
    } else {
        members
    };
    format!(
        "server: {{port: 0, timeout_seconds: 10, shutdown_grace_seconds: 10}}\n\
         corporate_proxy: {corporate}\n\
         rotation:\n  strategy: round_robin\n  proxies:{members}\n\
         tunnel:\n  connect_timeout_seconds: 10\n  read_timeout_seconds: 10\n\
         health_check: {{enabled: false}}\n\
         metrics: {{port: 0}}\n\
         admin: {{port: 0}}\n\
         {more}\n"
    )
}

/// The same where hops are waited for so many seconds only: for tests that wait for one that says nothing. All others
/// leave a busy machine its time.
pub(crate) fn silence_after(config: &str, seconds: u32) -> String {
    let short = config.replace(
        "read_timeout_seconds: 10",
        &format!("read_timeout_seconds: {seconds}"),
    );
    assert_ne!(short, config, "no time to change");
    short
}

/// The user and the password of the corporate proxy of tests.
pub(crate) const CORPORATE: (&str, &str) = ("corp-user", "corp-s3cret-Pa");
/// The user and the password of the rotating proxies of tests.
pub(crate) const ROTATING: (&str, &str) = ("rota-user", "rota-s3cret-Pb");

/// The corporate proxy of most tests: Squid, at `peer`, with Basic.
pub(crate) fn squid(peer: &Peer) -> String {
    corporate("http", peer.address(), Some(CORPORATE), &[])
}
