//! The flags by which faces speak TLS, whatever they are called: each table has them first by these names.

use std::path::PathBuf;
use std::sync::Arc;

use super::args::Parsed;
use super::credentials;
use crate::net::tls::{ClientTls, Identity};
use crate::net::{Address, AddressError};

/// The flags `--cacert`, `--cert`, `--key` and `--insecure-skip-tls-verify`; where none is given, what was logged in with.
///
/// # Errors
/// What is wrong with them.
pub fn of(parsed: &Parsed) -> Result<Arc<ClientTls>, String> {
    let path = |flag: &str| parsed.value(flag).filter(|value| !value.is_empty()).map(PathBuf::from);
    let insecure = parsed.truth("insecure-skip-tls-verify").map_err(|error| error.to_string())?;
    let told = told(path("cacert"), path("cert"), path("key"), insecure)?;
    let silent = told == ClientTls::default();
    Ok(Arc::new(if silent { credentials::tls() } else { told }))
}

/// The same out of values.
///
/// # Errors
/// A certificate without its key, or the other way round.
pub fn told(
    trusted_ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    insecure: bool,
) -> Result<ClientTls, String> {
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        _ => return Err("a certificate and its key go together: give both files or neither".to_owned()),
    };
    Ok(ClientTls { trusted_ca, identity, insecure, ..ClientTls::default() })
}

/// A URL as people give it. One that does not say how it is spoken to is spoken to by TLS where files for that are given.
///
/// # Errors
/// [`AddressError`].
pub fn address(tls: &Arc<ClientTls>, url: &str) -> Result<Address, AddressError> {
    let given = tls.trusted_ca.is_some() || tls.identity.is_some();
    let bare = !url.contains("://") && !url.starts_with('/') && !url.starts_with("unix:");
    let found = if given && bare { Address::from_url(&format!("https://{url}")) } else { Address::from_url(url) };
    found.map(|address| address.secured(tls))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_decide_where_the_url_does_not() {
        let none = Arc::<ClientTls>::default();
        let some = Arc::new(told(Some("ca.pem".into()), None, None, false).unwrap());
        let cases = [
            ("h:1", &none, "h:1"),
            ("h:1", &some, "https://h:1"),
            ("http://h:1", &some, "h:1"),
            ("https://h:1", &none, "https://h:1"),
            ("unix:///s", &some, "unix:/s"),
            ("/s", &some, "unix:/s"),
        ];
        for (url, tls, expected) in cases {
            let found = address(tls, url).unwrap();
            assert_eq!(found.to_string(), expected);
            assert!(!matches!(found, Address::Tls { tls: carried, .. } if &carried != tls));
        }
        told(None, Some("cert.pem".into()), None, false).unwrap_err();
    }
}
