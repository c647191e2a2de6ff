//! What comes with a request to say who asks.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap};
use tonic::metadata::MetadataMap;

/// Not believed yet. The place where the common name of a client's certificate comes in, once there is TLS.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    /// What logging in gave.
    Token(String),
    /// HTTP's basic authentication, which the v2 API uses.
    Basic { user: String, password: String },
    /// This user, who was believed at the beginning of what goes on. No request brings it along.
    Believed(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no credentials",
            Self::Token(_) => "a token",
            Self::Basic { .. } => "a name and a password",
            Self::Believed(_) => "a user",
        })
    }
}

impl Credentials {
    /// Of a request of the v3 API: the token in `token`, or else in `authorization`, with or without `Bearer` before it.
    pub fn of_call(metadata: &MetadataMap) -> Self {
        let found = metadata.get("token").or_else(|| metadata.get("authorization"));
        let Some(text) = found.and_then(|value| value.to_str().ok()) else {
            return Self::None;
        };
        let bearer = text.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer "));
        Self::Token(bearer.map_or(text, |(_, token)| token).trim().to_owned())
    }

    /// Of a request over HTTP that is of neither API of etcd's: a name and a password, or a token.
    pub fn of_http(headers: &HeaderMap) -> Self {
        Self::basic(headers).unwrap_or_else(|| Self::of_call(&MetadataMap::from_headers(headers.clone())))
    }

    /// Of a request of the v2 API.
    pub fn of_v2(headers: &HeaderMap) -> Self {
        Self::basic(headers).unwrap_or_default()
    }

    fn basic(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some(Self::Basic { user: user.to_owned(), password: password.to_owned() })
    }
}
