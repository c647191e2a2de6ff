//! Whose a certificate is, and for how long.

use std::path::Path;

use rustls::pki_types::CertificateDer;
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

/// From when until when the certificates of a PEM file are good: of several the one that ends first.
///
/// # Errors
/// A file that cannot be read, or holds none.
pub fn validity(file: &Path) -> Result<(UnixMillis, UnixMillis), TlsError> {
    let unusable = |cause: String| TlsError::Unusable { file: file.to_owned(), cause };
    let mut soonest: Option<(UnixMillis, UnixMillis)> = None;
    for certificate in objects::<CertificateDer<'static>>(file, "certificate")? {
        let (_, parsed) = parse_x509_certificate(&certificate).map_err(|error| unusable(error.to_string()))?;
        let [begins, ends] = [parsed.validity().not_before, parsed.validity().not_after]
            .map(|time| UnixMillis(time.timestamp().saturating_mul(1_000)));
        if soonest.is_none_or(|(_, end)| ends < end) {
            soonest = Some((begins, ends));
        }
    }
    soonest.ok_or_else(|| unusable("it holds no certificate".to_owned()))
}
