//! The side that connects: whom it trusts and as whom it comes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::Fingerprint;
use super::revoked::{Listed, Revoked};
use super::unlisted::{Taken, Unlisted};
use super::{Identity, Protocol, TlsError, files, provider};

/// Whom to trust and as whom to come. The files are read at each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Who may vouch for servers; `None`: those whom this machine trusts.
    pub trusted_ca: Option<PathBuf>,
    /// Shown to servers that ask.
    pub identity: Option<Identity>,
    /// Takes any server for the one that is meant.
    pub insecure: bool,
    /// The authority that must vouch for the server, by its hash; it counts before `trusted_ca`.
    pub pinned: Option<Fingerprint>,
    /// Serial numbers of certificates that are taken no more; it goes with `trusted_ca`.
    pub revoked: Option<PathBuf>,
}

impl ClientTls {
    fn config(&self, protocol: Protocol) -> Result<ClientConfig, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::NotMade(error.to_string()))?;
        let unlisted = match self.pinned {
            _ if self.insecure => Some(Taken::Anyone),
            pinned => pinned.map(Taken::VouchedForBy),
        };
        let builder = match (unlisted, &self.trusted_ca) {
            (Some(taken), _) => {
                let unlisted = Unlisted { taken, provider: provider() };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(unlisted))
            }
            (None, Some(file)) => match &self.revoked {
                None => builder.with_root_certificates(files::authorities(file)?),
                Some(revoked) => {
                    let roots = Arc::new(files::authorities(file)?);
                    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
                    let inner = inner.map_err(|error| TlsError::NotMade(error.to_string()))?;
                    let inner: Arc<dyn ServerCertVerifier> = inner;
                    let listed = Listed { revoked: Revoked::read(revoked)?, inner };
                    builder.dangerous().with_custom_certificate_verifier(Arc::new(listed))
                }
            },
            (None, None) => builder.with_root_certificates(files::system_authorities()?),
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(shown(files::identity(identity)?)),
        };
        config.alpn_protocols = vec![protocol.name()];
        Ok(config)
    }

    /// Speaks TLS on a connection to `host`, a name or an IP address, which the server's certificate must be for.
    ///
    /// # Errors
    /// Files that cannot be used, a server that is not trusted, or one that does not speak TLS.
    pub async fn connect(&self, stream: TcpStream, host: &str, protocol: Protocol) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config(protocol).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn shown(identity: Arc<CertifiedKey>) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(identity))
}
