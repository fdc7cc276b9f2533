//! The process's own limits.

use std::path::Path;

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

/// The memory limit of this process's control group, or of one around it, in bytes, where one is set.
#[must_use]
pub(crate) fn memory_limit() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup"))?;
    limit_of(&groups, read)
}

/// The least limit of the groups that `/proc/self/cgroup` names (cgroups(7)) and of those around them. In a container
/// the names may be the host's, of which only the top is there.
fn limit_of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let files = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            return None;
        };
        let path = Path::new(path.trim_start_matches('/'));
        Some(
            path.ancestors()
                .map(move |group| Path::new(root).join(group).join(file)),
        )
    });
    // "max", and version 1's rounded-up "no limit", mean none.
    let limits = files
        .flatten()
        .filter_map(|file| read(&file)?.trim().parse::<u64>().ok());
    limits.filter(|bytes| *bytes < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_counts() {
        type Case = (&'static str, &'static [(&'static str, &'static str)], Option<u64>);
        let cases: [Case; 5] = [
            (
                "0::/system.slice/pcs.service\n",
                &[
                    ("/sys/fs/cgroup/system.slice/pcs.service/memory.max", "1000\n"),
                    ("/sys/fs/cgroup/system.slice/memory.max", "max\n"),
                ],
                Some(1000),
            ),
            (
                "0::/system.slice/pcs.service\n",
                &[
                    ("/sys/fs/cgroup/system.slice/pcs.service/memory.max", "max\n"),
                    ("/sys/fs/cgroup/system.slice/memory.max", "500\n"),
                ],
                Some(500),
            ),
            ("0::/\n", &[("/sys/fs/cgroup/memory.max", "700\n")], Some(700)),
            (
                "8:pids:/x\n4:cpu,memory:/docker/abc\n0::/\n",
                &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "900\n")],
                Some(900),
            ),
            (
                "4:memory:/a\n",
                &[(
                    "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                    "9223372036854771712\n",
                )],
                None,
            ),
        ];
        for (groups, files, expected) in cases {
            let read = |path: &Path| {
                let file = files.iter().find(|(name, _)| Path::new(name) == path);
                file.map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(limit_of(groups, read), expected, "{groups}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        use rustix::process::{Resource, getrlimit};
        let said = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(said, Some(limit.current.unwrap_or(u64::MAX)));
    }
}
