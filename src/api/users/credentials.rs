//! What comes with a request to say who asks.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderMap};
use hyper::http::Extensions;
use tonic::metadata::MetadataMap;

/// The common name of the certificate that a client came with, as the name of a user. The connection puts it into the
/// extensions of each request.
#[derive(Clone)]
pub struct CertificateName(pub Arc<str>);

/// With a request whose certificate the cluster itself gave out, or that came by a socket whose mode says who may: the name
/// counts at every door.
#[derive(Clone, Copy)]
pub struct Vouched;

/// Not believed yet.
#[derive(Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    /// A request of the v2 API that names nobody: it may what the role `guest` may, if there is one.
    Guest,
    /// What logging in gave.
    Token(String),
    /// HTTP's basic authentication, which the v2 API uses.
    Basic { user: String, password: String },
    /// Whom the client's certificate names; it was checked when the connection came about.
    Certificate(String),
    /// This user, who was believed at the beginning of what goes on. No request brings it along.
    Believed(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no credentials",
            Self::Guest => "a guest",
            Self::Token(_) => "a token",
            Self::Basic { .. } => "a name and a password",
            Self::Certificate(_) => "a certificate",
            Self::Believed(_) => "a user",
        })
    }
}

impl Credentials {
    /// Of a request of the v3 API: a token, or else the client's certificate.
    pub fn of_call<T>(request: &tonic::Request<T>) -> Self {
        Self::of_metadata(request.metadata()).or_certificate(request.extensions())
    }

    /// The token in `token`, or else in `authorization`, with or without `Bearer` before it.
    pub fn of_metadata(metadata: &MetadataMap) -> Self {
        let found = metadata.get("token").or_else(|| metadata.get("authorization"));
        let Some(text) = found.and_then(|value| value.to_str().ok()) else {
            return Self::None;
        };
        let bearer = text.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer "));
        Self::Token(bearer.map_or(text, |(_, token)| token).trim().to_owned())
    }

    /// Of a request over HTTP that is of neither API of etcd's: a name and a password, a token, or the certificate.
    pub fn of_http<B>(request: &hyper::Request<B>) -> Self {
        let said = Self::basic(request.headers());
        said.unwrap_or_else(|| Self::of_metadata(&MetadataMap::from_headers(request.headers().clone())))
            .or_certificate(request.extensions())
    }

    /// Of a request of the v2 API: a name and a password, or the certificate; without either, a guest's.
    pub fn of_v2<B>(request: &hyper::Request<B>) -> Self {
        let headers = request.headers();
        match headers.get(header::AUTHORIZATION) {
            Some(given) if !given.is_empty() => Self::basic(headers).unwrap_or_default(),
            _ => match Self::None.or_certificate(request.extensions()) {
                Self::None => Self::Guest,
                certificate => certificate,
            },
        }
    }

    /// Whom the request names, for a log of what was done.
    pub fn told(&self) -> String {
        match self {
            Self::Basic { user, .. } | Self::Certificate(user) | Self::Believed(user) => user.clone(),
            Self::Token(_) => "a user with a token".to_owned(),
            Self::None | Self::Guest => "somebody who was not asked for a name".to_owned(),
        }
    }

    fn or_certificate(self, extensions: &Extensions) -> Self {
        match (&self, extensions.get::<CertificateName>()) {
            (Self::None, Some(CertificateName(name))) => Self::Certificate(name.to_string()),
            _ => self,
        }
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
