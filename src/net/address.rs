//! Where to connect to: `host:port` or a unix socket, as people write it in settings and on command lines.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::tls::ClientTls;

/// A place that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A name or an IP address (without brackets), and a port.
    Tcp { host: String, port: u16 },
    /// The same within TLS: the certificate there must be for `host`.
    Tls { host: String, port: u16, tls: Arc<ClientTls> },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// The text is neither `host:port` nor a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address: {why}; write HOST:PORT, [IPV6]:PORT or unix:/PATH")]
pub struct AddressError {
    pub text: String,
    pub why: &'static str,
}

impl Address {
    /// An address as people give it to a client: as [`Address::from_str`] has it, or `http://host:port/`, or
    /// `https://host:port/`, by whose certificate whoever this machine trusts vouches for.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn from_url(text: &str) -> Result<Self, AddressError> {
        if let Some(rest) = text.strip_prefix("https://") {
            return match rest.trim_end_matches('/').parse()? {
                Address::Tcp { host, port } => Ok(Address::Tls { host, port, tls: Arc::default() }),
                _ => Err(AddressError { text: text.to_owned(), why: "TLS is spoken over TCP only" }),
            };
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        if bare.starts_with('/') { bare.parse() } else { bare.trim_end_matches('/').parse() }
    }

    /// The same, with these to trust and to come as, if it is spoken to within TLS.
    #[must_use]
    pub fn secured(self, tls: &Arc<ClientTls>) -> Self {
        match self {
            Address::Tls { host, port, .. } => Address::Tls { host, port, tls: tls.clone() },
            other => other,
        }
    }

    /// For HTTP's `Host` header: without the port where it is the protocol's own, as URLs have it.
    pub fn host(&self) -> String {
        let authority = self.authority();
        match self {
            Address::Tcp { port: 80, .. } | Address::Tls { port: 443, .. } => {
                authority.rsplit_once(':').map_or_else(String::new, |(host, _)| host.to_owned())
            }
            _ => authority,
        }
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        match self {
            Address::Tcp { host, port } | Address::Tls { host, port, .. } => bracketed(host, *port),
            Address::Unix(_) => "localhost".to_owned(),
        }
    }
}

fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Accepts `host:port`, `[v6]:port`, `unix:/path`, `unix:///path` and `/path`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |why| AddressError { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("unix://").or(text.strip_prefix("unix:")) {
            return unix(path).ok_or_else(|| fail("the path of the socket must be absolute"));
        }
        if text.starts_with('/') {
            return unix(text).ok_or_else(|| fail("the path of the socket must be absolute"));
        }
        let (host, port) = split_host_port(text).ok_or_else(|| fail("it has no port"))?;
        let port = port.parse().map_err(|_| fail("its port is not a number from 0 to 65535"))?;
        if host.is_empty() {
            return Err(fail("it has no host"));
        }
        Ok(Address::Tcp { host: host.to_owned(), port })
    }
}

fn unix(path: &str) -> Option<Address> {
    path.starts_with('/').then(|| Address::Unix(path.into()))
}

/// Splits at the last colon; an IPv6 address must be in brackets, which are taken off.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[') {
        return Some((inner.strip_suffix(']')?, port));
    }
    (!host.contains(':')).then_some((host, port))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { .. } => f.write_str(&self.authority()),
            Address::Tls { .. } => write!(f, "https://{}", self.authority()),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("a:1", Some("a:1")),
            ("10.0.0.1:2380", Some("10.0.0.1:2380")),
            ("[::1]:2380", Some("[::1]:2380")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("unix:///run/x.sock", Some("unix:/run/x.sock")),
            ("/run/x.sock", Some("unix:/run/x.sock")),
            ("::1:2380", None),
            ("[::1:2380", None),
            ("host", None),
            (":2380", None),
            ("host:", None),
            ("host:65536", None),
            ("unix:x.sock", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let got = text.parse::<Address>().ok().map(|a| a.to_string());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn reads_urls() {
        for text in ["http://10.0.0.1:2379", "http://10.0.0.1:2379/", "10.0.0.1:2379"] {
            assert_eq!(Address::from_url(text).unwrap().to_string(), "10.0.0.1:2379", "{text}");
        }
        assert_eq!(Address::from_url("/run/x.sock").unwrap().to_string(), "unix:/run/x.sock");
        let within = Address::from_url("https://[::1]:2379/").unwrap();
        assert_eq!((within.to_string(), within.authority()), ("https://[::1]:2379".into(), "[::1]:2379".into()));
        for (url, host) in
            [("https://a:443", "a"), ("http://[::1]:80", "[::1]"), ("https://a:80", "a:80"), ("/s", "localhost")]
        {
            assert_eq!(Address::from_url(url).unwrap().host(), host, "{url}");
        }
        let insecure = Arc::new(ClientTls { insecure: true, ..ClientTls::default() });
        assert!(matches!(within.secured(&insecure), Address::Tls { tls, .. } if tls.insecure));
        for text in ["https:///run/x.sock", "https://host"] {
            Address::from_url(text).unwrap_err();
        }
    }

    #[test]
    fn an_error_names_the_text_and_the_remedy() {
        let error = "host".parse::<Address>().unwrap_err().to_string();
        assert!(error.contains("`host`") && error.contains("HOST:PORT"), "{error}");
    }
}
