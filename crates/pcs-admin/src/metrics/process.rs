//! What the operating system knows of this process.

/// The figures of `process_*`; `None` where the system does not tell them.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) threads: Option<u64>,
}

/// Reads them: from `/proc` on Linux, nothing elsewhere.
#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn read() -> Process {
    /// Linux tells user programs a hundred ticks a second on every machine.
    const TICKS: f64 = 100.0;
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let stat = text("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; what follows it does not.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .skip(1)
                .map(|field| field.parse().unwrap_or(0))
                .collect()
        })
        .unwrap_or_default();
    let field = |at: usize| fields.get(at - 4).copied();
    let resident = text("/proc/self/status").and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    let max_fds = text("/proc/self/limits").and_then(|limits| {
        let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
        line.split_whitespace().nth(3)?.parse().ok()
    });
    Process {
        cpu_seconds: field(14)
            .zip(field(15))
            .map(|(user, system)| (user + system) as f64 / TICKS),
        threads: field(20),
        virtual_bytes: field(23),
        resident_bytes: resident.map(|kib| kib * 1024),
        open_fds: std::fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count() as u64),
        max_fds,
    }
}

/// Reads them: from `/proc` on Linux, nothing elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn read() -> Process {
    Process::default()
}
