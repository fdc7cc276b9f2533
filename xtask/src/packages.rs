//! The Debian packages that the tests against real peers need: the one list of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// Package, and what it is there for.
const PACKAGES: &[(&str, &str)] = &[
    ("squid", "corporate and rotating proxy, Basic and NTLM"),
    ("tinyproxy-bin", "rotating proxy"),
    ("dante-server", "SOCKS5 proxy"),
    ("microsocks", "SOCKS5 proxy with a password"),
    ("stunnel4", "TLS in front of a proxy"),
    ("haproxy", "what others do, for comparison"),
    ("strace", "counts system calls for the benchmark"),
    ("valgrind", "counts instructions for the regression guard"),
    ("prometheus", "promtool, and a scrape of the metrics"),
    ("chromium", "pages that must not get at the admin port"),
    ("curl", "client"),
    ("git", "client"),
    ("nodejs", "client"),
    ("python3", "client, and the NTLM helper of Squid"),
    ("python3-requests", "client"),
    ("python3-venv", "room for the validators of deploy/"),
    ("python3-yaml", "reads the manifests under deploy/"),
    ("systemd", "judges the unit under deploy/"),
    ("openssl", "hashes the passwords of Squid's Basic helper"),
    ("iproute2", "network namespaces"),
    ("nftables", "counts packets that leak"),
    ("procps", "process figures"),
];

/// Installs what is missing where that can be done, and says where it cannot: whoever misses something says so itself.
pub(crate) fn try_install() {
    if let Err(error) = install() {
        println!("SKIPPED installing packages: {error:#}");
    }
}

/// Installs what is missing where that is possible: Debian, as root.
///
/// # Errors
///
/// It is possible, and fails.
pub(crate) fn install() -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        println!("SKIPPED installing packages: this is no Debian; tests whose peers are missing will say so");
        return Ok(());
    }
    let missing: Vec<&str> = PACKAGES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        println!("packages: all {} are there", PACKAGES.len());
        return Ok(());
    }
    if !is_root() {
        println!(
            "SKIPPED installing packages: not root; missing: {}",
            missing.join(" ")
        );
        return Ok(());
    }
    // The lists may be missing or too old; a failed update matters only if the installation then fails.
    let _ = shell::run(
        Command::new("apt-get")
            .args(["update", "-q"])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    );
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(&missing);
    // Run level 1: the tests start their peers themselves, on ports of their own.
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    if shell::run(&mut install).is_err() {
        bail!("apt-get could not install {}", missing.join(" "));
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${Status}", package]);
    query
        .output()
        .is_ok_and(|output| output.stdout.ends_with(b"ok installed"))
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
