//! `node ctl token create|list|revoke`: what lets machines join.

use anyhow::{Context as _, bail, ensure};
use hyper::Method;
use serde::de::DeserializeOwned;

use super::args::{Flag, Parsed};
use super::certificates::shown;
use super::contact::Contact;
use super::node_ctl::{ANSWER_WITHIN, misunderstood};
use crate::net::http::Answer;
use crate::unit::value::{TimeSpan, time_span};
use crate::wire::joining::{MadeToken, MakeToken, Refused, TOKENS_PATH, Tokens};

pub const FLAGS: &[Flag] = &[
    Flag { names: &["ttl"], value: true, variable: None, help: "token create: how long it lasts" },
    Flag { names: &["uses"], value: true, variable: None, help: "token create: how many machines may join" },
];

/// Carries out `token …`.
///
/// # Errors
/// What the node refuses.
pub async fn run(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let words: Vec<&str> = parsed.words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["create"] => create(at, parsed).await,
        ["list"] | [] => list(at).await,
        ["revoke", id] => revoke(at, id).await,
        _ => Ok(misunderstood("`token` takes `create`, `list` or `revoke ID`")),
    }
}

async fn create(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let text = parsed.value("ttl").unwrap_or("1h");
    let Ok(TimeSpan::Finite(ttl)) = time_span(text) else { bail!("--ttl is `{text}`: write a time such as 1h") };
    let asked = MakeToken {
        ttl_ms: i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX),
        uses: parsed.number("uses")?.unwrap_or(1),
    };
    let body = Some(("application/json", serde_json::to_vec(&asked)?));
    let made: MadeToken = read(at, &at.call(Method::POST, TOKENS_PATH, body, ANSWER_WITHIN).await?)?;
    println!("{}", made.token);
    Ok(0)
}

async fn list(at: &Contact) -> anyhow::Result<u8> {
    let listed: Tokens = read(at, &at.call(Method::GET, TOKENS_PATH, None, ANSWER_WITHIN).await?)?;
    println!("{:12}  {:7}  {:4}  {:4}  UNTIL", "ID", "STATE", "USED", "LEFT");
    for token in listed.tokens {
        let until = shown(token.until);
        println!("{:12}  {:7}  {:4}  {:4}  {until}", token.id, token.state, token.used, token.uses_left);
    }
    Ok(0)
}

async fn revoke(at: &Contact, id: &str) -> anyhow::Result<u8> {
    ensure!(
        id.chars().all(|c| c.is_ascii_alphanumeric()),
        "`{id}` is no id of a token; `node ctl token list` has them"
    );
    let answer = at.call(Method::DELETE, &format!("{TOKENS_PATH}/{id}"), None, ANSWER_WITHIN).await?;
    refused(at, &answer)?;
    println!("{id} lets nobody in any more");
    Ok(0)
}

/// What a node answered to a request to `/node/v1`.
pub(super) fn read<T: DeserializeOwned>(at: &Contact, answer: &Answer) -> anyhow::Result<T> {
    refused(at, answer)?;
    serde_json::from_slice(&answer.body).with_context(|| format!("{at}: its answer"))
}

fn refused(at: &Contact, answer: &Answer) -> anyhow::Result<()> {
    if answer.status.is_success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&answer.body);
    let why =
        serde_json::from_slice::<Refused>(&answer.body).map_or_else(|_| said.trim().to_owned(), |said| said.error);
    bail!("{at}: {}: {why}", answer.status)
}
