//! Children that end with us, and what /proc says of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

use super::load::Credentials;
use super::load::tunnels::{Pace, Tunnels};
use super::socket::loopback;

/// The kernel's unit of CPU time in `/proc/PID/stat`, in nanoseconds: 100 Hz on every Linux of today.
const TICK_NS: u64 = 10_000_000;
/// What rounding to ticks can make up.
const TICK_NOISE_NS: u64 = 3 * TICK_NS;

/// Raises the soft limit of open files to the hard one, for us and what we start.
pub(crate) fn raise_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// A child that is killed, by its own process id, when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    /// Before it was spawned: the spawning itself may come back after the child has begun to listen.
    begun: Instant,
}

impl Process {
    /// Starts a program with its standard error in `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let begun = Instant::now();
        let child = command
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
            begun,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id is positive")?, signal)?)
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub(crate) fn ends_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("{} does not end within {} s", self.name, limit.as_secs())
    }

    /// Waits until it has carried a first tunnel; the time from its start to then.
    ///
    /// A connection alone proves little: PCS first claims its port with a socket that it closes again, and a dial to
    /// a port that nobody holds may meet itself.
    pub(crate) fn serves_on(
        &mut self,
        port: u16,
        credentials: Credentials,
        limit: Duration,
    ) -> Result<Duration> {
        let first = Tunnels {
            address: loopback(port),
            connect: Some(credentials),
            pace: Pace::Together(1),
            total: 1,
            hold: false,
        };
        while self.begun.elapsed() < limit {
            if first.run()?.0.done == 1 {
                return Ok(self.begun.elapsed());
            }
            if !self.runs() {
                bail!("{} ended at its start", self.name);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        bail!("{} carries nothing on port {port}", self.name)
    }

    /// User and system time of its process tree so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        for pid in tree(self.child.id()) {
            cpu.add(pid);
        }
        cpu
    }

    /// Resident bytes of its process tree.
    pub(crate) fn resident(&self) -> u64 {
        tree(self.child.id()).into_iter().filter_map(resident).sum()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nothing more to do about it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time at one moment. Two of them make a difference.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cpu {
    /// What the scheduler says of the threads that live: exact, but a thread takes its share with it when it ends.
    scheduler_ns: u64,
    /// What the process has used, ended threads included, in coarse ticks.
    ticks_ns: u64,
}

impl Cpu {
    fn add(&mut self, pid: u32) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let run = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            self.scheduler_ns += run
                .split(' ')
                .next()
                .and_then(|ns| ns.parse::<u64>().ok())
                .unwrap_or(0);
        }
        let ticks: u64 = fields(pid)
            .iter()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        self.ticks_ns += ticks * TICK_NS;
    }

    /// Nanoseconds used since an earlier moment.
    pub(crate) fn since(self, earlier: Self) -> u64 {
        let exact = self.scheduler_ns.saturating_sub(earlier.scheduler_ns);
        let coarse = self.ticks_ns.saturating_sub(earlier.ticks_ns);
        if coarse > exact + TICK_NOISE_NS {
            coarse
        } else {
            exact
        }
    }
}

/// The fields of `/proc/PID/stat` behind the program's name: state first.
fn fields(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(str::to_owned).collect()
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// A process and all that descend from it.
fn tree(root: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let parent = fields(pid).get(1).and_then(|parent| parent.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.get(pid).cloned().unwrap_or_default());
        next += 1;
    }
    found
}

/// A child of our own binary that talks by lines: what it says first are its addresses.
#[derive(Debug)]
pub(crate) struct Scripted {
    process: Process,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Scripted {
    pub(crate) fn start(name: &str, arguments: &[String], log: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Process::start(name, &mut command, log)?;
        let stdin = process.stdin().context("its input is a pipe")?;
        let stdout = BufReader::new(process.stdout().context("its output is a pipe")?);
        Ok(Self {
            process,
            stdin,
            stdout,
        })
    }

    /// One line of what it says.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(anyhow!("{} ended", self.process.name));
        }
        Ok(line.trim_end().to_owned())
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.stdin, "{line}")?)
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
