//! A child process that listens, and its end.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Unavailable, free_address};

/// How long a peer may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a peer may take to end when it is asked to; then it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// What a process can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End soon: SIGTERM.
    Terminate,
    /// Ctrl+C: SIGINT.
    Interrupt,
    /// Read the configuration again: SIGHUP.
    HangUp,
    /// End at once: SIGKILL.
    Kill,
    /// Freeze: SIGSTOP.
    Stop,
    /// Go on: SIGCONT.
    Continue,
}

/// Sends a signal to a process that the test started. Does nothing where there are no signals.
pub fn signal(id: u32, signal: Signal) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal as Raw, kill_process};
        let raw = match signal {
            Signal::Terminate => Raw::TERM,
            Signal::Interrupt => Raw::INT,
            Signal::HangUp => Raw::HUP,
            Signal::Kill => Raw::KILL,
            Signal::Stop => Raw::STOP,
            Signal::Continue => Raw::CONT,
        };
        if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // A process that has ended already needs no signal.
            let _ = kill_process(id, raw);
        }
    }
    #[cfg(not(unix))]
    let _ = (id, signal);
}

/// A running program. Dropping it ends it, by its own process id.
pub struct Peer {
    child: Child,
    /// What started it, to start it again.
    command: Command,
    address: SocketAddr,
    dir: TempDir,
    log: PathBuf,
    stopped: bool,
    /// What it leaves behind when it is killed; `None` where it is asked to end.
    litter: Option<Vec<PathBuf>>,
}

impl Peer {
    /// Starts what `command` builds for a folder and an address, and waits until it listens.
    ///
    /// The port is free when it is chosen; if somebody else takes it meanwhile, another is tried.
    ///
    /// # Errors
    ///
    /// It ends, or does not listen within 20 s.
    pub fn start(
        program: &str,
        ip: IpAddr,
        command: impl FnMut(&Path, SocketAddr) -> Command,
    ) -> Result<Self, Unavailable> {
        Self::start_where(program, || free_address(ip), command, answers)
    }

    /// The same for a program whose address this process cannot bind or reach, as in another network namespace:
    /// `address` names one, `listens` finds out.
    ///
    /// # Errors
    ///
    /// It ends, or does not listen within 20 s.
    pub fn start_where(
        program: &str,
        address: impl Fn() -> SocketAddr,
        mut command: impl FnMut(&Path, SocketAddr) -> Command,
        listens: impl Fn(SocketAddr) -> bool,
    ) -> Result<Self, Unavailable> {
        let mut said = String::new();
        for _ in 0..3 {
            let dir = open_folder();
            let address = address();
            let log = dir.path().join("output.log");
            let output = std::fs::File::create(&log).expect("the folder is ours");
            let mut command = command(dir.path(), address);
            command
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a file can be shared"))
                .stderr(output);
            let child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    return Err(Unavailable::Failed {
                        program: program.to_owned(),
                        log: error.to_string(),
                    });
                }
            };
            let mut peer = Self {
                child,
                command,
                address,
                dir,
                log,
                stopped: false,
                litter: None,
            };
            if peer.wait_until_it(&listens) {
                return Ok(peer);
            }
            said = peer.log();
        }
        Err(Unavailable::Failed {
            program: program.to_owned(),
            log: said,
        })
    }

    /// Is killed at the end, for programs that take their time to say goodbye; these files are removed then.
    #[must_use]
    pub(super) fn abrupt(mut self, litter: Vec<PathBuf>) -> Self {
        self.litter = Some(litter);
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its folder: configuration, logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All that it said and logged.
    #[must_use]
    pub fn log(&self) -> String {
        let mut all = std::fs::read_to_string(&self.log).unwrap_or_default();
        let entries = std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path != self.log && path.extension().is_some_and(|extension| extension == "log") {
                all.push_str(&String::from_utf8_lossy(
                    &std::fs::read(&path).unwrap_or_default(),
                ));
            }
        }
        all
    }

    /// Ends it and waits for the end: from then on its port refuses.
    pub fn stop(&mut self) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        if self.litter.is_none() && self.ends_when_asked() {
            return;
        }
        self.end_it();
    }

    /// Ends it as `kill -9` does, in the middle of whatever it was at: from then on its port refuses.
    pub fn kill(&mut self) {
        if !std::mem::replace(&mut self.stopped, true) {
            self.end_it();
        }
    }

    /// Starts it again on its port after [`Peer::stop`] or [`Peer::kill`], and waits until it listens.
    ///
    /// Nobody keeps its port meanwhile: a peer that is to come back listens on an address of its own.
    ///
    /// # Errors
    ///
    /// It ends, or does not listen within 20 s.
    pub fn restart(&mut self) -> Result<(), Unavailable> {
        let failed = |log| Unavailable::Failed {
            program: "a restarted peer".to_owned(),
            log,
        };
        self.stop();
        self.child = self.command.spawn().map_err(|error| failed(error.to_string()))?;
        self.stopped = false;
        if self.wait_until_it(answers) {
            Ok(())
        } else {
            Err(failed(self.log()))
        }
    }

    fn end_it(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for path in self.litter.iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
    }

    fn ends_when_asked(&mut self) -> bool {
        self.thaw();
        signal(self.id(), Signal::Terminate);
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Freezes it: connections are accepted by the kernel and never answered.
    pub fn freeze(&self) {
        signal(self.id(), Signal::Stop);
    }

    /// Lets it go on after [`Peer::freeze`].
    pub fn thaw(&self) {
        signal(self.id(), Signal::Continue);
    }

    fn wait_until_it(&mut self, listens: impl Fn(SocketAddr) -> bool) -> bool {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return false;
            }
            if listens(self.address) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id())
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Whether somebody listens there.
fn answers(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// A temporary folder that programs which give up root can write to.
fn open_folder() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777))
            .expect("the folder is ours");
    }
    dir
}
