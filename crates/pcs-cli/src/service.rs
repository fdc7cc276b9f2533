//! What a service manager wants to know (systemd's `Type=notify`).

/// The server serves.
#[cfg(target_os = "linux")]
pub(crate) fn ready() {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// The server drains.
#[cfg(target_os = "linux")]
pub(crate) fn stopping() {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
}

/// The server serves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn ready() {}

/// The server drains.
#[cfg(not(target_os = "linux"))]
pub(crate) fn stopping() {}
