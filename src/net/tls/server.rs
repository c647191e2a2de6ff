//! The side that is connected to: its certificate, and whose certificates it asks for.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::files::{self, Stamp};
use super::name::common_name;
use super::{Identity, Protocol, TlsError, provider};

/// What a server shows and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub identity: Identity,
    /// Clients must come with a certificate that one of these vouches for; `None`: they need none.
    pub trusted_ca: Option<PathBuf>,
    /// Certificates that are taken no more.
    pub revoked: Option<PathBuf>,
    /// The only common name that is let in.
    pub allowed_name: Option<String>,
    /// Who comes without a certificate is let in as nobody; one that is shown must be vouched for all the same.
    pub admits_strangers: bool,
    /// Nothing older than TLS 1.3 is spoken.
    pub newest_only: bool,
    /// What is spoken within, best first; empty: one protocol of our own.
    pub protocols: Vec<Protocol>,
}

impl Terms {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let Identity { certificate, key } = &self.identity;
        [certificate, key].into_iter().chain(&self.trusted_ca).chain(&self.revoked)
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let versions = if self.newest_only { &[&rustls::version::TLS13][..] } else { rustls::DEFAULT_VERSIONS };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::NotMade(error.to_string()))?;
        let builder = match &self.trusted_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(files::authorities(file)?);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                if self.admits_strangers {
                    verifier = verifier.allow_unauthenticated();
                }
                if let Some(revoked) = &self.revoked {
                    // As etcd: the list is of the certificates that clients come with, whoever gave it out.
                    verifier = verifier
                        .with_crls(files::revoked(revoked)?)
                        .only_check_end_entity_revocation()
                        .allow_unknown_revocation_status();
                }
                let unusable =
                    |error: &dyn std::fmt::Display| TlsError::Unusable { file: file.clone(), cause: error.to_string() };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
            }
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(files::identity(&self.identity)?));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.name()).collect();
        Ok(config)
    }
}

/// Accepts connections on [`Terms`]. Files that change count from the next connection on; where they cannot be used, what
/// was there before does.
pub struct ServerTls {
    terms: Terms,
    current: Mutex<Current>,
}

struct Current {
    stamps: Vec<Stamp>,
    config: Arc<ServerConfig>,
}

/// A connection, and who came.
pub struct Accepted<S> {
    pub stream: TlsStream<S>,
    /// The common name of the client's certificate, if it came with one; empty where that has none.
    pub name: Option<String>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn new(terms: Terms) -> Result<Self, TlsError> {
        let stamps = files::stamps(terms.files());
        let config = Arc::new(terms.config()?);
        Ok(Self { terms, current: Mutex::new(Current { stamps, config }) })
    }

    fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = files::stamps(self.terms.files());
        if stamps != current.stamps {
            current.stamps = stamps;
            let certificate = self.terms.identity.certificate.display();
            match self.terms.config() {
                Ok(config) => {
                    tracing::info!(%certificate, "certificates were read anew");
                    current.config = Arc::new(config);
                }
                Err(error) => {
                    tracing::warn!(%certificate, %error, "changed certificates cannot be used; those of before still are");
                }
            }
        }
        current.config.clone()
    }

    /// Speaks TLS on a connection that came in. The caller bounds the wait.
    ///
    /// # Errors
    /// What the handshake failed on.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Accepted<S>> {
        let stream = TlsAcceptor::from(self.config()).accept(stream).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        let name = certificates.and_then(|chain| chain.first()).map(|certificate| common_name(certificate));
        if let Some(allowed) = &self.terms.allowed_name
            && name.as_ref() != Some(allowed)
        {
            let came = name.as_deref().unwrap_or("nobody");
            return Err(io::Error::other(format!("the certificate is of {came}, and only {allowed} is let in")));
        }
        Ok(Accepted { stream, name })
    }
}
