//! Why a socket could not be had.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use pcs_models::{Endpoint, FailureKind, Host};
use thiserror::Error;

/// Why a name, a TCP connection or a TLS session could not be had. The text names the place, never a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetError {
    /// The resolver has no address for a name, or cannot be asked.
    #[error("could not resolve {name}")]
    Resolve {
        /// The name.
        name: Host,
        /// What the resolver said; shared by everybody who waited for the same lookup.
        source: Arc<io::Error>,
    },
    /// An address could not be connected to. Where several were tried this is the most telling one.
    #[error("could not connect to {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The connection did not stand by the deadline.
    #[error("connecting to {endpoint} took too long")]
    Timeout {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The address is one of our own listeners.
    #[error("{address} is a listener of this very process")]
    Loop {
        /// The address.
        address: SocketAddr,
    },
    /// The TLS handshake was not over by the deadline.
    #[error("the TLS handshake with {host} took too long")]
    TlsTimeout {
        /// With whom.
        host: Host,
    },
    /// The peer's TLS or its certificate is not acceptable, or it ended the connection amid the handshake.
    #[error("the TLS handshake with {host} went wrong")]
    Tls {
        /// With whom.
        host: Host,
        /// What rustls or the connection said.
        source: io::Error,
    },
    /// The name to prove is none that a certificate could bear.
    #[error("`{name}` is no name that a certificate can prove")]
    ServerName {
        /// The configured name or the hop's host.
        name: String,
    },
    /// The configured CA file cannot be read or holds no certificate.
    #[error("the CA file {} cannot be used", path.display())]
    CaFile {
        /// The configured path.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// TLS cannot be set up at all (no trust roots, no cryptography).
    #[error("TLS cannot be set up")]
    TlsSetup {
        /// What is missing.
        source: io::Error,
    },
}

impl NetError {
    pub(super) fn timeout(endpoint: &Endpoint) -> Self {
        Self::Timeout {
            endpoint: endpoint.clone(),
        }
    }

    /// What went wrong, in the words of every other failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Resolve { source, .. } if is_shortage(source) => FailureKind::Local,
            Self::Resolve { .. } => FailureKind::Dns,
            Self::Connect { address, source } => connect_kind(*address, source),
            Self::Timeout { .. } | Self::TlsTimeout { .. } => FailureKind::Timeout,
            Self::Loop { .. } => FailureKind::Loop,
            Self::Tls { source, .. } => tls_kind(source),
            Self::ServerName { .. } => FailureKind::Tls,
            Self::CaFile { .. } | Self::TlsSetup { .. } => FailureKind::Local,
        }
    }

    /// Whether TLS itself went well, but not the proof of who the peer is.
    #[must_use]
    pub fn is_certificate(&self) -> bool {
        match self {
            Self::Tls { source, .. } => {
                let cause = source.get_ref().and_then(|cause| cause.downcast_ref());
                matches!(
                    cause,
                    Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
                )
            }
            Self::ServerName { .. } => true,
            _ => false,
        }
    }
}

fn connect_kind(address: SocketAddr, error: &io::Error) -> FailureKind {
    if is_shortage(error) {
        return FailureKind::Local;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureKind::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            FailureKind::Reset
        }
        io::ErrorKind::TimedOut => FailureKind::Timeout,
        // A firewall of this machine.
        io::ErrorKind::PermissionDenied => FailureKind::Local,
        // Out of local ports. For IPv6 it rather says that this machine has no such address at all.
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse if address.is_ipv4() => FailureKind::Local,
        _ => FailureKind::Unreachable,
    }
}

fn tls_kind(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => FailureKind::Reset,
        _ => FailureKind::Tls,
    }
}

/// Whether the error says that this process or machine is out of descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| SHORTAGE.contains(&code))
}

/// `EMFILE`, `ENFILE` and `ENOBUFS`: errors that have no [`io::ErrorKind`] of their own.
const SHORTAGE: &[i32] = if cfg!(windows) {
    &[10024, 10055]
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    &[24, 23, 105]
} else {
    &[24, 23, 55]
};

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn each_failure_has_its_kind() {
        let v4: SocketAddr = "192.0.2.1:3128".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:3128".parse().unwrap();
        let cases = [
            (
                v4,
                io::Error::from(io::ErrorKind::ConnectionRefused),
                FailureKind::Refused,
            ),
            (
                v4,
                io::Error::from(io::ErrorKind::ConnectionReset),
                FailureKind::Reset,
            ),
            (v4, io::Error::from(io::ErrorKind::TimedOut), FailureKind::Timeout),
            (
                v4,
                io::Error::from(io::ErrorKind::HostUnreachable),
                FailureKind::Unreachable,
            ),
            (
                v4,
                io::Error::from(io::ErrorKind::NetworkUnreachable),
                FailureKind::Unreachable,
            ),
            (
                v4,
                io::Error::from(io::ErrorKind::PermissionDenied),
                FailureKind::Local,
            ),
            (
                v4,
                io::Error::from(io::ErrorKind::AddrNotAvailable),
                FailureKind::Local,
            ),
            (
                v6,
                io::Error::from(io::ErrorKind::AddrNotAvailable),
                FailureKind::Unreachable,
            ),
            (v4, io::Error::from_raw_os_error(SHORTAGE[0]), FailureKind::Local),
            (v4, io::Error::from_raw_os_error(SHORTAGE[2]), FailureKind::Local),
        ];
        for (address, source, kind) in cases {
            let text = source.to_string();
            assert_eq!(NetError::Connect { address, source }.kind(), kind, "{text}");
        }
    }

    #[test]
    fn the_text_names_the_place_and_leaves_the_cause_to_source() {
        let address = "192.0.2.1:3128".parse().unwrap();
        let error = NetError::Connect {
            address,
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(error.to_string(), "could not connect to 192.0.2.1:3128");
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }

    #[test]
    fn a_certificate_that_proves_nothing_is_told_from_tls_that_breaks() {
        let tls = |cause| NetError::Tls {
            host: "h.example".parse().unwrap(),
            source: io::Error::new(io::ErrorKind::InvalidData, cause),
        };
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(tls(unknown).is_certificate());
        assert!(!tls(rustls::Error::DecryptError).is_certificate());
    }

    #[test]
    fn an_error_stays_small() {
        assert!(size_of::<NetError>() <= 64, "{}", size_of::<NetError>());
    }
}
