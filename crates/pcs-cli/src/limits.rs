//! The process's own limits.

/// Raises the soft limit of open files to the hard one. Answers the limit in force, `None` where the system has no
/// such limit to ask about.
#[cfg(unix)]
#[must_use]
pub(crate) fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // macOS refuses "unlimited" here; the limit in force then stays what it was, and is what we report.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
    Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Raises the soft limit of open files to the hard one. Answers the limit in force, `None` where the system has no
/// such limit to ask about.
#[cfg(not(unix))]
#[must_use]
pub(crate) fn raise_open_files() -> Option<u64> {
    None
}

/// Warns where `max_connections` tunnels, two sockets each, do not fit under the limit of open files.
pub(crate) fn check_open_files(limit: Option<u64>, max_connections: usize) {
    /// Listeners, logs, databases, idle upstreams.
    const RESERVE: u64 = 64;
    let wanted = 2 * max_connections as u64 + RESERVE;
    if let Some(limit) = limit.filter(|limit| *limit < wanted) {
        tracing::warn!(
            event = "open_files_limit",
            limit,
            wanted,
            max_connections,
            "The limit of open files is below two sockets a connection: raise it (ulimit -n) or lower server.max_connections"
        );
    }
}

/// The memory limit of this process's control group, in bytes, where one is set.
#[must_use]
pub(crate) fn memory_limit() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let text =
        read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))?;
    // "max", and version 1's rounded-up "no limit", mean none.
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        use rustix::process::{Resource, getrlimit};
        let said = super::raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(said, Some(limit.current.unwrap_or(u64::MAX)));
    }
}
