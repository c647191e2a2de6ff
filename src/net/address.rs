//! Where to connect to: `host:port` or a unix socket, as people write it in settings and on command lines.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place that can be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A name or an IP address (without brackets), and a port.
    Tcp { host: String, port: u16 },
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
    /// An address as people give it to a client: as [`Address::from_str`] has it, or `http://host:port/`.
    ///
    /// # Errors
    /// [`AddressError`]. `https://` is refused: what asks for TLS is not answered in plain text.
    pub fn from_url(text: &str) -> Result<Self, AddressError> {
        if text.starts_with("https://") {
            return Err(AddressError {
                text: text.to_owned(),
                why: "it asks for TLS, and this build speaks plain http only",
            });
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        if bare.starts_with('/') { bare.parse() } else { bare.trim_end_matches('/').parse() }
    }
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
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
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
    fn reads_urls_without_tls() {
        for text in ["http://10.0.0.1:2379", "http://10.0.0.1:2379/", "10.0.0.1:2379"] {
            assert_eq!(Address::from_url(text).unwrap().to_string(), "10.0.0.1:2379", "{text}");
        }
        assert_eq!(Address::from_url("/run/x.sock").unwrap().to_string(), "unix:/run/x.sock");
        let error = Address::from_url("https://10.0.0.1:2379").unwrap_err().to_string();
        assert!(error.contains("https://10.0.0.1:2379") && error.contains("plain http only"), "{error}");
    }

    #[test]
    fn an_error_names_the_text_and_the_remedy() {
        let error = "host".parse::<Address>().unwrap_err().to_string();
        assert!(error.contains("`host`") && error.contains("HOST:PORT"), "{error}");
    }
}
