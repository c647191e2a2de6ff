//! TLS on connections, both ends, by rustls: what is trusted and who one is are files, read anew when they change.
//!
//! `client` opens · `server` accepts · `files` what both read · `name` whose a certificate is and for how long ·
//! `unlisted` servers that are taken without a list of authorities · `own` certificates that a server makes for itself · `authority` those that a cluster's
//! own authority gives out · `cluster` where a member keeps them · `revoked` those that it takes no more. TLS 1.2 and 1.3; the cryptography is ring's.

mod authority;
mod client;
mod cluster;
mod files;
mod name;
mod own;
mod revoked;
mod server;
#[cfg(test)]
mod tests;
mod unlisted;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use authority::{
    Authority, Fingerprint, MEMBER_NAME, Request, Successor, certificates_in, fingerprint_of, host_of, request,
};
pub use client::ClientTls;
pub use cluster::ClusterIdentity;
pub use name::{About, about_pem, validity};
pub use own::make_own;
pub use server::{Accepted, ServerTls, Shown, Terms};

/// A certificate with those that vouch for it, and its key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What is spoken within TLS, as both ends agree on it (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn name(self) -> Vec<u8> {
        match self {
            Self::Http1 => b"http/1.1".to_vec(),
            Self::Http2 => b"h2".to_vec(),
        }
    }
}

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {cause}", file.display())]
    File { file: PathBuf, cause: std::io::Error },
    #[error("{}: it holds no {wanted} in PEM", file.display())]
    Empty { file: PathBuf, wanted: &'static str },
    #[error("{}: {cause}", file.display())]
    Unusable { file: PathBuf, cause: String },
    #[error("no certificate authorities are installed on this machine: name a file of them ({0})")]
    NoRoots(String),
    #[error("a certificate cannot be made: {0}")]
    NotMade(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
