//! `node ctl secret create|list|remove`: what containers are given by `Secret=`.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use hyper::Method;
use serde_json::Value;

use super::args::{Flag, Parsed};
use super::contact::Contact;
use super::node_ctl::{ANSWER_WITHIN, misunderstood};
use crate::base::limits::SECRET_BYTES_MAX;
use crate::unit::container::is_secret_name;

pub const FLAGS: &[Flag] = &[Flag {
    names: &["replace"],
    value: false,
    variable: None,
    help: "secret create: in the place of the one there is",
}];

const PATH: &str = "/secrets/v1";

/// Carries out `secret …`.
///
/// # Errors
/// A file that cannot be read, and what the node refuses.
pub async fn run(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let words: Vec<&str> = parsed.words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["create", name, from @ ..] if from.len() < 2 && is_secret_name(name) => {
            let query = if parsed.truth("replace")? { "?replace=true" } else { "" };
            let body = Some(("application/octet-stream", value(from.first().copied().unwrap_or("-"))?));
            ask(at, Method::PUT, &format!("{PATH}/{name}{query}"), body).await?;
        }
        ["list"] => {
            let listed = ask(at, Method::GET, PATH, None).await?;
            println!("{:32}  VERSION", "NAME");
            for secret in listed["secrets"].as_array().into_iter().flatten() {
                println!("{:32}  {}", secret["name"].as_str().unwrap_or("?"), secret["version"]);
            }
        }
        ["remove", name] if is_secret_name(name) => {
            ask(at, Method::DELETE, &format!("{PATH}/{name}"), None).await?;
        }
        ["create" | "remove", name, ..] if !is_secret_name(name) => {
            let what = format!("`{name}` is no secret's name; use letters, digits, \"_\", \".\" and \"-\"");
            return Ok(misunderstood(&what));
        }
        _ => return Ok(misunderstood("`secret` takes `create NAME [FILE]`, `list` or `remove NAME`")),
    }
    Ok(0)
}

/// The bytes of a file, or of standard input.
fn value(from: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than is taken, so that too much is noticed here.
    let most = SECRET_BYTES_MAX as u64 + 1;
    match from {
        "-" => std::io::stdin().take(most).read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    }
    .with_context(|| from.to_owned())?;
    if bytes.len() > SECRET_BYTES_MAX {
        bail!("{from}: a secret has at most {SECRET_BYTES_MAX} bytes");
    }
    Ok(bytes)
}

async fn ask(at: &Contact, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> anyhow::Result<Value> {
    let answer = at.call(method, path, body, ANSWER_WITHIN).await?;
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        return Ok(said);
    }
    // The doors' own refusals have a text within.
    let error = said["error"].as_str().or(said["error"]["message"].as_str()).unwrap_or_default();
    bail!("{at}: {} {error}", answer.status)
}
