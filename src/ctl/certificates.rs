//! `node ctl cert list|revoke`: the certificates that the cluster gave out, and those that it takes no more.

use anyhow::ensure;
use hyper::Method;

use super::args::Parsed;
use super::contact::Contact;
use super::node_ctl::{ANSWER_WITHIN, misunderstood};
use super::token::read;
use crate::base::UnixMillis;
use crate::wire::joining::{CERTIFICATES_PATH, Certificates};

/// Carries out `cert …`.
///
/// # Errors
/// What the node refuses.
pub async fn run(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let words: Vec<&str> = parsed.words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["list"] | [] => list(at).await,
        ["revoke", word] => revoke(at, word).await,
        _ => Ok(misunderstood("`cert` takes `list` or `revoke NAME-OR-SERIAL`")),
    }
}

/// A time as it is printed.
pub(super) fn shown(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.0).map(|at| format!("{at:.0}")).unwrap_or_default()
}

async fn list(at: &Contact) -> anyhow::Result<u8> {
    let listed: Certificates = read(at, &at.call(Method::GET, CERTIFICATES_PATH, None, ANSWER_WITHIN).await?)?;
    println!("{:40}  {:7}  {:6}  {:20}  NAME", "SERIAL", "STATE", "OF", "UNTIL");
    for one in listed.certificates {
        let of = if one.member.is_some() { "member" } else { "client" };
        println!("{:40}  {:7}  {of:6}  {:20}  {}", one.serial, one.state, shown(one.until), one.name);
    }
    Ok(0)
}

async fn revoke(at: &Contact, word: &str) -> anyhow::Result<u8> {
    ensure!(
        !word.is_empty() && !word.contains(['/', '?', '#', '%', ' ']),
        "`{word}` is neither a name nor a serial number; `node ctl cert list` has them"
    );
    let answer = at.call(Method::DELETE, &format!("{CERTIFICATES_PATH}/{word}"), None, ANSWER_WITHIN).await?;
    let revoked: Certificates = read(at, &answer)?;
    for one in revoked.certificates {
        println!("{} of {} is taken no more", one.serial, one.name);
    }
    Ok(0)
}
