//! The side that is connected to: its certificate, and whose certificates it asks for.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::files::{self, Stamp};
use super::name::common_name;
use super::revoked::{Listed, Revoked};
use super::{Identity, Protocol, TlsError, provider};

/// What a server shows and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub identity: Identity,
    /// Clients must come with a certificate that one of these vouches for; `None`: they need none.
    pub trusted_ca: Option<PathBuf>,
    /// A list of certificates that are taken no more, as whoever vouches for them gives it out.
    pub revoked: Option<PathBuf>,
    /// Serial numbers of those that the cluster itself takes no more.
    pub listed: Option<PathBuf>,
    /// Who comes with one of these is let in and marked, to be told why he is not wanted.
    pub marks_listed: bool,
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
        [certificate, key].into_iter().chain(&self.trusted_ca).chain(&self.revoked).chain(&self.listed)
    }

    /// Who checks the certificates of clients, if they are asked for any.
    fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(file) = &self.trusted_ca else { return Ok(None) };
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
        Ok(Some(verifier.build().map_err(|error| unusable(&error))?))
    }

    /// What is in force with the files as they are now.
    fn current(&self) -> Result<Current, TlsError> {
        let stamps = files::stamps(self.files());
        let versions = if self.newest_only { &[&rustls::version::TLS13][..] } else { rustls::DEFAULT_VERSIONS };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::NotMade(error.to_string()))?;
        let listed = self.listed.as_deref().map(Revoked::read).transpose()?.unwrap_or_default();
        let verifier = self.verifier()?;
        let builder = match verifier.clone() {
            None => builder.with_no_client_auth(),
            Some(inner) if self.marks_listed => builder.with_client_cert_verifier(inner),
            Some(inner) => builder.with_client_cert_verifier(Arc::new(Listed { revoked: listed.clone(), inner })),
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(files::identity(&self.identity)?));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.name()).collect();
        Ok(Current { stamps, config: Arc::new(config), verifier, listed })
    }
}

/// Accepts connections on [`Terms`]. Files that change count from the next connection on; where they cannot be used, what
/// was there before does.
pub struct ServerTls {
    terms: Terms,
    current: Mutex<Current>,
    /// Changes with the files.
    changes: watch::Sender<()>,
}

#[derive(Clone)]
struct Current {
    stamps: Vec<Stamp>,
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    listed: Revoked,
}

/// A connection, and who came.
pub struct Accepted<S> {
    pub stream: TlsStream<S>,
    /// The common name of the client's certificate, if it came with one; empty where that has none.
    pub name: Option<String>,
    /// Whose certificate it is, where the cluster takes it no more and [`Terms::marks_listed`] lets it in for all that.
    pub revoked: Option<String>,
    /// For [`ServerTls::withdrawn`].
    pub shown: Shown,
}

/// What a client showed when it came.
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    changes: watch::Receiver<()>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn new(terms: Terms) -> Result<Self, TlsError> {
        let current = Mutex::new(terms.current()?);
        Ok(Self { terms, current, changes: watch::Sender::new(()) })
    }

    /// What is in force; files that have changed are read.
    fn current(&self) -> Current {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = files::stamps(self.terms.files());
        if stamps != current.stamps {
            current.stamps = stamps;
            let certificate = self.terms.identity.certificate.display();
            match self.terms.current() {
                Ok(changed) => {
                    tracing::info!(%certificate, "certificates were read anew");
                    *current = changed;
                    self.changes.send_replace(());
                }
                Err(error) => {
                    tracing::warn!(%certificate, %error, "changed certificates cannot be used; those of before still are");
                }
            }
        }
        current.clone()
    }

    /// Looks at the files without waiting for the next connection, so that [`Self::withdrawn`] notices.
    pub fn look(&self) {
        drop(self.current());
    }

    /// Completes when a client that was let in would be let in no more, with the reason.
    pub async fn withdrawn(&self, mut shown: Shown) -> String {
        loop {
            if shown.changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            let Some((own, others)) = shown.chain.split_first() else { continue };
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(holder) = current.listed.holder(own) {
                return format!("the certificate of {holder} was revoked");
            }
            let verified = current.verifier.map(|verifier| verifier.verify_client_cert(own, others, UnixTime::now()));
            if let Some(Err(error)) = verified {
                return error.to_string();
            }
        }
    }

    /// Speaks TLS on a connection that came in. The caller bounds the wait.
    ///
    /// # Errors
    /// What the handshake failed on.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Accepted<S>> {
        let changes = self.changes.subscribe();
        let current = self.current();
        let stream = TlsAcceptor::from(current.config).accept(stream).await?;
        let chain: Vec<CertificateDer<'static>> = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let name = chain.first().map(|certificate| common_name(certificate));
        if let Some(allowed) = &self.terms.allowed_name
            && name.as_ref() != Some(allowed)
        {
            let came = name.as_deref().unwrap_or("nobody");
            return Err(io::Error::other(format!("the certificate is of {came}, and only {allowed} is let in")));
        }
        let revoked = chain.first().and_then(|certificate| current.listed.holder(certificate));
        Ok(Accepted { stream, name, revoked, shown: Shown { chain, changes } })
    }
}
