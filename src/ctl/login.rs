//! `node ctl login`: a certificate for whoever asks, kept where `node ctl`, `fleetctl` and `etcdctl` look for it.

use anyhow::{Context as _, bail};
use hyper::Method;

use super::args::{Flag, Parsed};
use super::contact::Contact;
use super::credentials;
use super::node_ctl::ANSWER_WITHIN;
use crate::net::tls;
use crate::wire::joining::{CERTIFICATES_PATH, Certified, Certify, Refused};

pub const FLAGS: &[Flag] = &[
    Flag { names: &["name"], value: true, variable: None, help: "login: whom the certificate names" },
    Flag { names: &["days"], value: true, variable: None, help: "login: how long it lasts" },
];

const DAYS: u32 = 30;

/// Logs in.
///
/// # Errors
/// What the node refuses, or what cannot be kept.
pub async fn run(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let folder = credentials::folder().context("this user has no home: set NODE_CREDENTIALS to a folder")?;
    let tls::Request { key, text } = tls::request(&[])?;
    let (days, name) = (parsed.number("days")?.unwrap_or(DAYS), parsed.value("name").unwrap_or_default());
    let asked = Certify { user: name.to_owned(), request: text, days };
    let body = Some(("application/json", serde_json::to_vec(&asked)?));
    let answer = at.call(Method::POST, CERTIFICATES_PATH, body, ANSWER_WITHIN).await?;
    if !answer.status.is_success() {
        let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
        bail!("{at}: {}: {}", answer.status, refused.error);
    }
    let given: Certified = serde_json::from_slice(&answer.body).with_context(|| format!("{at}: its answer"))?;
    credentials::keep(&folder, &given.endpoints, &given.authorities, &format!("{}{key}", given.certificate))?;
    println!("{} for {days} days, at {}; kept in {}", given.user, given.endpoints.join(" "), folder.display());
    Ok(0)
}
