//! Whose a certificate is.

use x509_parser::parse_x509_certificate;

/// The common name of a certificate's subject; of several the last, as Go has it; empty where there is none.
pub fn common_name(certificate: &[u8]) -> String {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return String::new() };
    let name = parsed.subject().iter_common_name().last();
    name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}
