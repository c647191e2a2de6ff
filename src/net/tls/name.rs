//! Whose a certificate is, and for how long.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::parse_x509_certificate;

use super::TlsError;
use super::files::objects;
use crate::base::UnixMillis;

/// The common name of a certificate's subject; of several the last, as Go has it; empty where there is none.
pub fn common_name(certificate: &[u8]) -> String {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return String::new() };
    let name = parsed.subject().iter_common_name().last();
    name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

/// What the cluster notes of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// In hex, without zeros before it.
    pub serial: String,
    pub name: String,
    pub begins: UnixMillis,
    pub ends: UnixMillis,
}

/// What stands in a certificate.
///
/// # Errors
/// It is none.
pub fn about(certificate: &[u8]) -> Result<About, TlsError> {
    let (_, parsed) =
        parse_x509_certificate(certificate).map_err(|error| TlsError::NotMade(format!("no certificate: {error}")))?;
    let [begins, ends] = [parsed.validity().not_before, parsed.validity().not_after]
        .map(|time| UnixMillis(time.timestamp().saturating_mul(1_000)));
    Ok(About { serial: serial_text(parsed.raw_serial()), name: common_name(certificate), begins, ends })
}

/// The same of the first certificate of a PEM text.
///
/// # Errors
/// It holds none.
pub fn about_pem(pem: &str) -> Result<About, TlsError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes());
    about(&der.map_err(|error| TlsError::NotMade(format!("no certificate: {error}")))?)
}

/// A serial number as it is written down.
fn serial_text(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.trim_start_matches('0').to_owned()
}

/// The key that a certificate is for, as it stands there.
pub fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(parsed.public_key().subject_public_key.data.to_vec())
}

/// From when until when the certificates of a PEM file are good: of several the one that ends first.
///
/// # Errors
/// A file that cannot be read, or holds none.
pub fn validity(file: &Path) -> Result<(UnixMillis, UnixMillis), TlsError> {
    let unusable = |cause: String| TlsError::Unusable { file: file.to_owned(), cause };
    let mut soonest: Option<(UnixMillis, UnixMillis)> = None;
    for certificate in objects::<CertificateDer<'static>>(file, "certificate")? {
        let About { begins, ends, .. } = about(&certificate).map_err(|error| unusable(error.to_string()))?;
        if soonest.is_none_or(|(_, end)| ends < end) {
            soonest = Some((begins, ends));
        }
    }
    soonest.ok_or_else(|| unusable("it holds no certificate".to_owned()))
}
