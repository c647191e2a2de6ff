//! Certificates that a server makes for itself where it is given none: nobody vouches for them.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::{Identity, TlsError};

/// The certificate and the key in a folder, made for `hosts` (names and IP addresses) if they are not there yet.
///
/// # Errors
/// What cannot be made or written.
pub fn make_own(folder: &Path, hosts: &[String]) -> Result<Identity, TlsError> {
    let identity = Identity { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    if identity.certificate.exists() && identity.key.exists() {
        return Ok(identity);
    }
    let not_made = |error: rcgen::Error| TlsError::NotMade(error.to_string());
    let key = KeyPair::generate().map_err(not_made)?;
    let mut params = CertificateParams::new(hosts.to_vec()).map_err(not_made)?;
    params.distinguished_name.push(DnType::OrganizationName, "corenode");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).map_err(not_made)?;
    std::fs::create_dir_all(folder).map_err(|cause| TlsError::File { file: folder.to_owned(), cause })?;
    // The certificate last: where both are, both are whole.
    write(&identity.key, &key.serialize_pem())?;
    write(&identity.certificate, &certificate.pem())?;
    Ok(identity)
}

/// Only the owner may read it.
fn write(file: &Path, text: &str) -> Result<(), TlsError> {
    let failed = |cause| TlsError::File { file: file.to_owned(), cause };
    let mut open = std::fs::File::options();
    let mut out = open.write(true).create(true).truncate(true).mode(0o600).open(file).map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)
}
