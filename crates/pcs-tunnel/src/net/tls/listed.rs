//! Trust in a file of certificates: authorities, and servers that are listed themselves.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Trusts what an authority of a file has issued, and a server that shows just a certificate of the file.
///
/// The second is how home-made proxies have it: one self-signed certificate is the server's own and what clients are
/// told to trust. `openssl req -x509` marks it as an authority's, which RFC 5280 §4.2.1.9 keeps from being a server's.
#[derive(Debug)]
pub(super) struct TrustListed {
    pub(super) authorities: Arc<WebPkiServerVerifier>,
    pub(super) listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for TrustListed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let proven =
            self.authorities
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match proven {
            Err(error)
                if is_for_want_of_an_issuer(&error)
                    && self.listed.iter().any(|known| known == end_entity)
                    && may_be_a_server(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            proven => proven,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether nothing but the way to an authority is missing. Both are said only after the times of the certificate were
/// found good.
fn is_for_want_of_an_issuer(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => true,
        // It has no variant of its own in rustls. Another text after an update would refuse, not trust.
        Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string() == "CaUsedAsEndEntity",
        _ => false,
    }
}

/// Whether the purposes of a certificate, where it names any, hold that of a server (RFC 5280 §4.2.1.12): they are not
/// looked at in one that is an authority's. The bytes are those of a file of the operator, so looking for the object
/// identifiers is as good as reading the structure.
fn may_be_a_server(certificate: &[u8]) -> bool {
    let after = |bytes: &[u8], what: &[u8]| {
        bytes
            .windows(what.len())
            .position(|window| window == what)
            .map(|at| at + what.len())
    };
    match after(certificate, EXTENDED_KEY_USAGE) {
        Some(at) => after(certificate.get(at..).unwrap_or_default(), SERVER_AUTH).is_some(),
        None => true,
    }
}

/// `id-ce-extKeyUsage`, 2.5.29.37, in DER.
const EXTENDED_KEY_USAGE: &[u8] = &[6, 3, 0x55, 0x1d, 0x25];

/// `id-kp-serverAuth`, 1.3.6.1.5.5.7.3.1, in DER.
const SERVER_AUTH: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
