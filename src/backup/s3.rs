//! Backups in a bucket of an S3-compatible store: requests are signed by `rusty_s3` and go through our own connections.
//!
//! A backup that is larger than one part is sent in parts, and is there only when the store has put all of them together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::{Method, StatusCode};
use rusty_s3::actions::{
    AbortMultipartUpload, CompleteMultipartUpload, CompleteMultipartUploadResponse, CreateMultipartUpload,
    DeleteObject, GetObject, ListObjectsV2, PutObject, UploadPart,
};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::target::S3Terms;
use super::{BackupError, Listed, Name, credentials};
use crate::base::limits::{BACKUP_PART_BYTES, BACKUP_PARTS_MAX, BACKUP_REQUEST_MS_MAX};
use crate::net::Address;
use crate::net::http::{self, Answer};

/// How long a signed request is good for: clocks may differ by some minutes, and a part may take its time.
const SIGNED_FOR: Duration = Duration::from_secs(3_600);
const REQUEST_WITHIN: Duration = Duration::from_millis(BACKUP_REQUEST_MS_MAX);

/// A bucket, and what stands before the names of backups in it.
#[derive(Clone, Debug)]
pub struct S3 {
    bucket: Bucket,
    /// Empty, or ends with a slash.
    prefix: String,
    credentials_file: Option<PathBuf>,
}

/// A request that is ready to be sent.
struct Signed {
    method: Method,
    address: Address,
    path: String,
    doing: &'static str,
}

impl S3 {
    /// `BUCKET[/PREFIX]`.
    pub fn new(place: &str, terms: &S3Terms) -> Result<Self, String> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() {
            return Err("write s3://BUCKET/PREFIX".to_owned());
        }
        if prefix.split('/').any(|part| part == "." || part == "..") {
            return Err("the prefix may not have `.` or `..` as a part".to_owned());
        }
        let region = if terms.region.is_empty() { "us-east-1" } else { &terms.region };
        let (endpoint, style) = match terms.endpoint.as_str() {
            // Names with dots are in no certificate as parts of the host.
            "" if !bucket.contains('.') => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::VirtualHost),
            "" => (format!("https://s3.{region}.amazonaws.com"), UrlStyle::Path),
            given => (given.to_owned(), UrlStyle::Path),
        };
        let wrong = |cause: &dyn fmt::Display| format!("{endpoint} with bucket {bucket}: {cause}");
        let url = endpoint.parse().map_err(|error| wrong(&error))?;
        let bucket = Bucket::new(url, style, bucket.to_owned(), region.to_owned()).map_err(|error| wrong(&error))?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket, prefix, credentials_file: terms.credentials_file.clone() })
    }

    fn key(&self, name: &Name) -> String {
        format!("{}{name}", self.prefix)
    }

    fn credentials(&self) -> Result<Credentials, BackupError> {
        credentials::read(self.credentials_file.as_deref())
    }

    fn failed(&self, doing: &str, cause: &dyn fmt::Display) -> BackupError {
        BackupError::Remote(format!("{self}: {doing}: {cause}"))
    }

    fn sign<'a, A: S3Action<'a>>(&self, action: &A, doing: &'static str) -> Result<Signed, BackupError> {
        let url = action.sign(SIGNED_FOR);
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(self.failed(doing, &"the endpoint has no host"));
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let address = match url.scheme() {
            "https" => Address::Tls { host, port, tls: std::sync::Arc::default() },
            _ => Address::Tcp { host, port },
        };
        let method = Method::from_bytes(A::METHOD.to_str().as_bytes()).map_err(|error| self.failed(doing, &error))?;
        let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        Ok(Signed { method, address, path, doing })
    }

    /// Sends a request that must succeed.
    async fn call(&self, signed: Signed, content: Option<Vec<u8>>) -> Result<Answer, BackupError> {
        let Signed { method, address, path, doing } = signed;
        let content = content.map(|content| ("application/octet-stream", content));
        let answer = http::call(&address, method, &path, content, REQUEST_WITHIN).await;
        let answer = answer.map_err(|error| self.failed(doing, &error))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(self.refused(doing, answer.status, &answer.body))
    }

    fn refused(&self, doing: &str, status: StatusCode, body: &[u8]) -> BackupError {
        let body = String::from_utf8_lossy(body);
        let field = |name: &str| {
            let after = body.split_once(&format!("<{name}>"))?.1;
            after.split_once('<').map(|(text, _)| text.to_owned())
        };
        let said = [field("Code"), field("Message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
        self.failed(doing, &format!("{status} {said}").trim_end())
    }

    /// Sends a file.
    pub async fn put(&self, name: &Name, file: &Path) -> Result<(), BackupError> {
        let (key, credentials) = (self.key(name), self.credentials()?);
        let unread = |cause| BackupError::io(file.display(), "reading a backup", cause);
        let bytes = tokio::fs::metadata(file).await.map_err(unread)?.len();
        if bytes <= BACKUP_PART_BYTES {
            let content = tokio::fs::read(file).await.map_err(unread)?;
            let action = PutObject::new(&self.bucket, Some(&credentials), &key);
            return self.call(self.sign(&action, "sending a backup")?, Some(content)).await.map(drop);
        }
        if bytes.div_ceil(BACKUP_PART_BYTES) > BACKUP_PARTS_MAX {
            return Err(
                self.failed("sending a backup", &format!("{bytes} bytes are more than {BACKUP_PARTS_MAX} parts"))
            );
        }
        let action = CreateMultipartUpload::new(&self.bucket, Some(&credentials), &key);
        let answer = self.call(self.sign(&action, "beginning to send a backup")?, None).await?;
        let begun = CreateMultipartUpload::parse_response(&String::from_utf8_lossy(&answer.body));
        let begun = begun.map_err(|error| self.failed("beginning to send a backup", &error))?;
        let sent = self.put_parts(&credentials, &key, begun.upload_id(), file).await;
        if sent.is_err() {
            let action = AbortMultipartUpload::new(&self.bucket, Some(&credentials), &key, begun.upload_id());
            if let Err(error) = self.call(self.sign(&action, "taking back a backup's parts")?, None).await {
                tracing::warn!("{error}");
            }
        }
        sent
    }

    async fn put_parts(
        &self,
        credentials: &Credentials,
        key: &str,
        upload: &str,
        file: &Path,
    ) -> Result<(), BackupError> {
        let unread = |cause| BackupError::io(file.display(), "reading a backup", cause);
        let mut source = tokio::fs::File::open(file).await.map_err(unread)?;
        let mut tags = Vec::new();
        for number in 1_u16.. {
            let mut part = Vec::new();
            (&mut source).take(BACKUP_PART_BYTES).read_to_end(&mut part).await.map_err(unread)?;
            if part.is_empty() {
                break;
            }
            let action = UploadPart::new(&self.bucket, Some(credentials), key, number, upload);
            let answer = self.call(self.sign(&action, "sending a part of a backup")?, Some(part)).await?;
            let tag = answer.headers.get(hyper::header::ETAG).and_then(|tag| tag.to_str().ok());
            let tag = tag.ok_or_else(|| self.failed("sending a part of a backup", &"the answer has no ETag"))?;
            tags.push(tag.to_owned());
        }
        let doing = "putting a backup's parts together";
        let tags = tags.iter().map(String::as_str);
        let action = CompleteMultipartUpload::new(&self.bucket, Some(credentials), key, upload, tags);
        let signed = self.sign(&action, doing)?;
        let answer = self.call(signed, Some(action.body().into_bytes())).await?;
        // A store may answer 200 before it knows, and say in the body that it failed.
        let said = CompleteMultipartUploadResponse::parse(&String::from_utf8_lossy(&answer.body));
        said.map(drop).map_err(|_| self.refused(doing, answer.status, &answer.body))
    }

    /// What has a backup's name below the prefix.
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let doing = "listing backups";
        let credentials = self.credentials()?;
        let (mut found, mut from): (Vec<Listed>, Option<String>) = (Vec::new(), None);
        loop {
            let mut action = ListObjectsV2::new(&self.bucket, Some(&credentials));
            action.with_prefix(self.prefix.as_str());
            if let Some(token) = &from {
                action.with_continuation_token(token.as_str());
            }
            let answer = self.call(self.sign(&action, doing)?, None).await?;
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&answer.body));
            let page = page.map_err(|error| self.failed(doing, &error))?;
            found.extend(page.contents.iter().filter_map(|object| {
                let name = object.key.strip_prefix(&self.prefix)?.parse().ok()?;
                Some(Listed { name, bytes: object.size.unwrap_or(0) })
            }));
            match page.next_continuation_token {
                Some(token) if from.as_deref() != Some(token.as_str()) => from = Some(token),
                _ => return Ok(found),
            }
        }
    }

    /// Writes one into a file.
    pub async fn fetch(&self, name: &Name, into: &Path) -> Result<(), BackupError> {
        let doing = "fetching a backup";
        let (key, credentials) = (self.key(name), self.credentials()?);
        let signed = self.sign(&GetObject::new(&self.bucket, Some(&credentials), &key), doing)?;
        let unwritten = |cause| BackupError::io(into.display(), "writing a backup", cause);
        let late = |_| self.failed(doing, &format!("nothing came within {REQUEST_WITHIN:?}"));
        let opening = http::open(&signed.address, signed.method, &signed.path, None);
        let opened = tokio::time::timeout(REQUEST_WITHIN, opening).await.map_err(late)?;
        let mut answer = opened.map_err(|error| self.failed(doing, &error))?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(BackupError::Absent { place: self.to_string(), name: name.to_string() });
        }
        if !answer.status.is_success() {
            return Err(self.refused(doing, answer.status, b""));
        }
        let mut out = tokio::fs::File::create(into).await.map_err(unwritten)?;
        loop {
            let next = tokio::time::timeout(REQUEST_WITHIN, answer.next()).await.map_err(late)?;
            match next.map_err(|error| self.failed(doing, &error))? {
                Some(piece) => out.write_all(&piece).await.map_err(unwritten)?,
                None => break,
            }
        }
        out.flush().await.map_err(unwritten)?;
        out.sync_all().await.map_err(unwritten)
    }

    /// Removes one; one that is not there is none that must be removed.
    pub async fn remove(&self, name: &Name) -> Result<(), BackupError> {
        let (key, credentials) = (self.key(name), self.credentials()?);
        let action = DeleteObject::new(&self.bucket, Some(&credentials), &key);
        self.call(self.sign(&action, "removing a backup")?, None).await.map(drop)
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket.name())?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix.trim_end_matches('/')) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn places_are_understood() {
        let terms = |endpoint: &str| S3Terms { endpoint: endpoint.into(), region: "eu".into(), credentials_file: None };
        for (place, endpoint, key, url) in [
            ("b", "", "k", "https://b.s3.eu.amazonaws.com/k"),
            ("b.c/p", "", "p/k", "https://s3.eu.amazonaws.com/b.c/p/k"),
            ("b/p/q/", "http://127.0.0.1:9000", "p/q/k", "http://127.0.0.1:9000/b/p/q/k"),
        ] {
            let store = S3::new(place, &terms(endpoint)).unwrap();
            assert_eq!(format!("{}k", store.prefix), key);
            assert_eq!(store.bucket.object_url(key).to_string(), url, "{place}");
            assert_eq!(store.to_string(), format!("s3://{}", place.trim_end_matches('/')));
        }
        for (place, endpoint) in [("", ""), ("/p", ""), ("b/../c", ""), ("b", "nowhere"), ("b", "ftp://h")] {
            assert!(S3::new(place, &terms(endpoint)).is_err(), "{place} {endpoint}");
        }
    }

    /// What botocore 1.44, Amazon's own library, made of the same requests.
    #[test]
    fn requests_are_signed_as_amazon_signs_them() {
        let terms = S3Terms { endpoint: "http://127.0.0.1:5756".into(), ..S3Terms::default() };
        let store = S3::new("backups/pre", &terms).unwrap();
        let keys = Credentials::new("S3RVER", "wrong");
        let at = "2026-11-21T11:43:15Z".parse().unwrap();
        let key = |name: &str| store.key(&name.parse().unwrap());
        let [first, second] = ["20261121T114314.527Z", "20261121T114315.038Z"]
            .map(|made| key(&format!("{made}-3164f74a40fbad2a.snapshot")));
        let mut list = ListObjectsV2::new(&store.bucket, Some(&keys));
        list.with_prefix(store.prefix.as_str());
        for (url, expected) in [
            (
                GetObject::new(&store.bucket, Some(&keys), &first).sign_with_time(SIGNED_FOR, &at),
                "016007a1749d2846ca662b81a7b48380d02d82e5f31d3bc927149ba989d27ee9",
            ),
            (
                PutObject::new(&store.bucket, Some(&keys), &second).sign_with_time(SIGNED_FOR, &at),
                "56299564b95dd68f60dfc3057968e755096d1f3bff57d497c8cf2c77f1e9f4da",
            ),
            (list.sign_with_time(SIGNED_FOR, &at), "5c1d29eeaf41728fcc758c982ddf70a98fa3b1a070c05d9577722d82a9629f9f"),
        ] {
            assert!(url.as_str().ends_with(expected), "{url}");
        }
    }
}
