//! Prometheus, which scrapes, and promtool, which finds fault.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{LOOPBACK, Peer, Unavailable, find, write};

/// A Prometheus to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Prometheus {
    target: SocketAddr,
    path: String,
}

impl Prometheus {
    /// Scrapes this address and path every second, under the job name `pcs`.
    pub fn new(target: SocketAddr, path: &str) -> Self {
        Self {
            target,
            path: path.to_owned(),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// It is missing, or does not start.
    pub fn start(self) -> Result<Peer, Unavailable> {
        let prometheus = find("prometheus", "prometheus")?;
        Peer::start("prometheus", LOOPBACK, |dir, address| {
            let conf = format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
                 scrape_configs:\n- job_name: pcs\n  metrics_path: {}\n  static_configs:\n  - targets: [\"{}\"]\n",
                self.path, self.target
            );
            let file = write(dir, "prometheus.yml", &conf);
            let mut command = Command::new(&prometheus);
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--storage.tsdb.path={}", dir.join("data").display()));
            command.arg(format!("--web.listen-address={address}"));
            command
        })
    }
}

/// What `promtool check metrics` has to say about a page of metrics: nothing, at best.
///
/// # Errors
///
/// promtool is missing or does not run.
pub fn check_metrics(page: &str) -> Result<Vec<String>, Unavailable> {
    let mut promtool = Command::new(find("promtool", "prometheus")?);
    promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |error: std::io::Error| Unavailable::Failed {
        program: "promtool".to_owned(),
        log: error.to_string(),
    };
    let mut child = promtool.spawn().map_err(failed)?;
    let mut stdin = child.stdin.take().expect("its input was asked for");
    let written = stdin.write_all(page.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    written.map_err(failed)?;
    Ok(remarks(&output))
}

/// What `promtool test rules` has to say about a file of rule tests: nothing, at best.
///
/// # Errors
///
/// promtool is missing or does not run.
pub fn check_rules(file: &Path) -> Result<Vec<String>, Unavailable> {
    let output = Command::new(find("promtool", "prometheus")?)
        .args(["test", "rules"])
        .arg(file)
        .output();
    let output = output.map_err(|error| Unavailable::Failed {
        program: "promtool".to_owned(),
        log: error.to_string(),
    })?;
    Ok(if output.status.success() {
        Vec::new()
    } else {
        remarks(&output)
    })
}

fn remarks(output: &std::process::Output) -> Vec<String> {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let mut lines: Vec<String> = String::from_utf8_lossy(&said)
        .lines()
        .map(str::to_owned)
        .collect();
    if lines.is_empty() && !output.status.success() {
        lines.push(format!("promtool ended with {}", output.status));
    }
    lines
}
