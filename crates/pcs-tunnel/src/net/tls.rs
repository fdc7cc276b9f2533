//! TLS towards hops: rustls with its cryptography named, one client set-up per trust.

mod listed;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use pcs_models::{Host, TlsOptions};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::listed::TrustListed;
use super::NetError;
use crate::ChainStream;

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
compile_error!("pcs-tunnel needs one of the features `tls-ring` and `tls-aws-lc`");

/// What a client set-up depends on. The server's name is told per handshake, so hops that trust alike share one
/// set-up and its session tickets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    /// The system's authorities.
    System,
    /// The authorities and servers of this file, in place of the system's authorities.
    File(PathBuf),
    /// Anybody.
    Anybody,
}

/// Client set-ups by trust, each made once when it is first needed.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<Trust, Arc<OnceCell<TlsConnector>>>>);

impl Clients {
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(super) async fn connect(
        &self,
        stream: ChainStream,
        host: &Host,
        options: &TlsOptions,
    ) -> Result<TlsStream<ChainStream>, NetError> {
        let name = server_name(host, options)?;
        let connector = self.connector(options).await?;
        connector
            .connect(name, stream)
            .await
            .map_err(|source| NetError::Tls {
                host: host.clone(),
                source,
            })
    }

    async fn connector(&self, options: &TlsOptions) -> Result<TlsConnector, NetError> {
        let trust = match (&options.ca_file, options.insecure_skip_verify) {
            (_, true) => Trust::Anybody,
            (Some(path), false) => Trust::File(path.clone()),
            (None, false) => Trust::System,
        };
        let cell = self.cell(&trust);
        // A failure is not remembered: a CA file that is put right is used at the next handshake.
        let connector = cell.get_or_try_init(|| async move {
            let make = tokio::task::spawn_blocking(move || make(trust));
            make.await.unwrap_or_else(|error| {
                Err(NetError::TlsSetup {
                    source: io::Error::other(error),
                })
            })
        });
        connector.await.cloned()
    }

    fn cell(&self, trust: &Trust) -> Arc<OnceCell<TlsConnector>> {
        let mut clients = self.0.lock();
        if let Some(cell) = clients.get(trust) {
            return Arc::clone(cell);
        }
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        Arc::clone(clients.entry(trust.clone()).or_default())
    }
}

/// The name to ask for and to prove. A trailing dot is no part of it (RFC 6066 §3).
fn server_name(host: &Host, options: &TlsOptions) -> Result<ServerName<'static>, NetError> {
    let refuse = |name: &str| NetError::ServerName {
        name: name.to_owned(),
    };
    match (&options.server_name, host) {
        (Some(name), _) => ServerName::try_from(name.clone()).map_err(|_| refuse(name)),
        (None, Host::Ip(ip)) => Ok(ServerName::from(ip.to_canonical())),
        (None, Host::Name(name)) => {
            let stem = name.strip_suffix('.').unwrap_or(name);
            ServerName::try_from(stem.to_owned()).map_err(|_| refuse(stem))
        }
    }
}

/// Reads the trust roots (blocking) and makes a client set-up of them.
fn make(trust: Trust) -> Result<TlsConnector, NetError> {
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::TlsSetup {
            source: io::Error::other(error),
        })?;
    let mut config = match trust {
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnybody(provider)))
            .with_no_client_auth(),
        Trust::System => builder
            .with_root_certificates(system_roots())
            .with_no_client_auth(),
        Trust::File(path) => {
            let trust = file_trust(&path, provider).map_err(|source| NetError::CaFile { path, source })?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(trust))
                .with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(MAX_SESSIONS);
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(feature = "tls-aws-lc")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "tls-ring", not(feature = "tls-aws-lc")))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// The system's authorities; Mozilla's, which are compiled in, where it has none (a scratch image).
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn file_trust(path: &Path, provider: Arc<CryptoProvider>) -> io::Result<TrustListed> {
    let pem = std::fs::read(path)?;
    let listed = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut roots = RootCertStore::empty();
    // Bundles of companies hold old oddities; one of them must not take the rest away.
    roots.add_parsable_certificates(listed.iter().cloned());
    if roots.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it holds no usable certificate in PEM form",
        ));
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(TrustListed { authorities, listed })
}

/// `insecure_skip_verify`: the certificate proves nothing, yet the handshake must be sound.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Different trusts at once. Their number is that of distinct CA files in the configuration; a reload that changes
/// them again and again starts over.
const MAX_CLIENTS: usize = 64;

/// Servers whose session tickets are remembered, per trust.
const MAX_SESSIONS: usize = 1024;
