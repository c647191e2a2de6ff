//! Certificates, keys and lists of revoked ones from PEM files, and whether those have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Identity, TlsError, provider};

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|cause| TlsError::File { file: file.to_owned(), cause })
}

fn unusable(file: &Path, cause: impl std::fmt::Display) -> TlsError {
    TlsError::Unusable { file: file.to_owned(), cause: cause.to_string() }
}

/// All objects of a kind in a file, at least one.
pub(super) fn objects<T: PemObject>(file: &Path, wanted: &'static str) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<T>, PemError> = T::pem_slice_iter(&read(file)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Empty { file: file.to_owned(), wanted }),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(file, error)),
    }
}

/// A certificate that fits its key.
pub fn identity(of: &Identity) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = objects(&of.certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&read(&of.key)?).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::Empty { file: of.key.clone(), wanted: "private key" },
        error => unusable(&of.key, error),
    })?;
    let certified = CertifiedKey::from_der(chain, key, &provider());
    Ok(Arc::new(certified.map_err(|error| unusable(&of.certificate, format!("{error} ({})", of.key.display())))?))
}

/// The certificate authorities in a file.
pub fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in objects::<CertificateDer<'static>>(file, "certificate")? {
        roots.add(certificate).map_err(|error| unusable(file, error))?;
    }
    Ok(roots)
}

/// The certificate authorities that this machine trusts.
pub fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(why.join("; ")));
    }
    Ok(roots)
}

/// Lists of revoked certificates: PEM, or one list in DER.
pub fn revoked(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read(file)?;
    if !bytes.starts_with(b"-----BEGIN") && bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    objects(file, "list of revoked certificates")
}

/// What tells a file from what was there before.
pub type Stamp = Option<(SystemTime, u64, u64)>;

/// How the files are now.
pub fn stamps<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    files
        .map(|file| {
            let about = std::fs::metadata(file).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        })
        .collect()
}
