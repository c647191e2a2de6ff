//! Servers that are taken without a list of authorities: by the hash of the one that vouches for them, where nothing else is known
//! yet, or without any check of whom one talks to, for those who ask for it; whoever is in between may read that.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::authority::{Fingerprint, fingerprint};

/// Whom to take. That the other side has the key of its certificate is checked in any case.
#[derive(Debug)]
pub enum Taken {
    Anyone,
    /// Who comes with the authority of this hash, if it vouches for him.
    VouchedForBy(Fingerprint),
}

/// A check of servers that needs no list of authorities.
#[derive(Debug)]
pub struct Unlisted {
    pub taken: Taken,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unlisted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Taken::VouchedForBy(hash) = self.taken else { return Ok(ServerCertVerified::assertion()) };
        let authority = intermediates.iter().find(|certificate| fingerprint(certificate) == hash);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        // Between it and the server there may be the authority that follows it.
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
