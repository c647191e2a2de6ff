//! `node ctl ca show|rotate|finish`: who vouches for members and clients, and how another one takes over.

use std::time::{Duration, Instant};

use anyhow::bail;
use hyper::Method;

use super::args::{Flag, Parsed};
use super::certificates::shown;
use super::contact::Contact;
use super::node_ctl::{ANSWER_WITHIN, misunderstood};
use super::token::read;
use crate::unit::value::{TimeSpan, time_span};
use crate::wire::joining::{AUTHORITY_FINISH_PATH, AUTHORITY_PATH, AuthorityState, Finish, Former, Rotate};

pub const FLAGS: &[Flag] = &[
    Flag { names: &["keep-old"], value: true, variable: None, help: "ca rotate: how long the old one stays trusted" },
    Flag { names: &["anew"], value: false, variable: None, help: "ca rotate: the key of the new one was lost" },
    Flag { names: &["wait"], value: true, variable: None, help: "ca rotate: how long to wait for all members" },
    Flag { names: &["pem"], value: false, variable: None, help: "ca show: print all that are trusted" },
    Flag { names: &["force"], value: false, variable: None, help: "ca finish: shut out members that are away" },
];

/// Carries out `ca …`.
///
/// # Errors
/// What the node refuses, and members that do not go over in time.
pub async fn run(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let words: Vec<&str> = parsed.words.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["show"] | [] => show(at, parsed).await,
        ["rotate"] => rotate(at, parsed).await,
        ["finish"] => finish(at, parsed).await,
        _ => Ok(misunderstood("`ca` takes `show`, `rotate` or `finish`")),
    }
}

fn time(parsed: &Parsed, flag: &str, otherwise: &str) -> anyhow::Result<Duration> {
    let text = parsed.value(flag).unwrap_or(otherwise);
    let Ok(TimeSpan::Finite(time)) = time_span(text) else { bail!("--{flag} is `{text}`: write a time such as 7d") };
    Ok(time)
}

async fn state(at: &Contact, changed: Option<i64>) -> anyhow::Result<AuthorityState> {
    let path = changed.map_or(AUTHORITY_PATH.to_owned(), |changed| format!("{AUTHORITY_PATH}?changed={changed}"));
    read(at, &at.call(Method::GET, &path, None, ANSWER_WITHIN).await?)
}

async fn show(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let state = state(at, None).await?;
    println!("authority  {} until {}", state.hash, shown(state.until));
    if let Some(former) = &state.former {
        println!(
            "former     {}, replaced since {}, trusted until {}",
            former.hash,
            shown(former.begun),
            shown(former.keep_until)
        );
        println!("missing    {}", names(former));
    }
    if parsed.value("pem").is_some() {
        print!("{}", state.trusted);
    }
    Ok(0)
}

/// The members that have not gone over.
fn names(former: &Former) -> String {
    match former.missing.as_slice() {
        [] => "nobody: every member has a certificate of the new one".to_owned(),
        missing => missing
            .iter()
            .map(|peer| if peer.name.is_empty() { peer.id.to_string() } else { peer.name.clone() })
            .collect::<Vec<_>>()
            .join(", "),
    }
}

async fn rotate(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let (keep, wait) = (time(parsed, "keep-old", "7d")?, time(parsed, "wait", "60s")?);
    let keep_former_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let asked = Rotate { keep_former_ms, anew: parsed.value("anew").is_some() };
    let body = Some(("application/json", serde_json::to_vec(&asked)?));
    let mut now: AuthorityState = read(at, &at.call(Method::POST, AUTHORITY_PATH, body, ANSWER_WITHIN).await?)?;
    println!("another authority takes over: {}", now.hash);
    let (deadline, hash) = (Instant::now() + wait, now.hash.clone());
    let mut told = String::new();
    while let Some(former) = now.former.as_ref().filter(|_| now.hash == hash) {
        let missing = names(former);
        if former.missing.is_empty() && !keep.is_zero() {
            println!(
                "every member has a certificate of the new one; the old one is trusted until {}",
                shown(former.keep_until)
            );
            println!(
                "until then whoever has logged in logs in again: `node ctl login`; `node ctl ca finish` ends the time at once"
            );
            return Ok(0);
        }
        if Instant::now() > deadline {
            eprintln!(
                "not yet gone over: {missing}. They do so by themselves when they are back, and the old one stays trusted until then; for \
                 machines that are gone for good: `etcdctl member remove`, or `node ctl ca finish --force`"
            );
            return Ok(1);
        }
        if missing != told {
            println!("waiting for {missing}");
            told = missing;
        }
        now = state(at, Some(now.revision)).await?;
    }
    println!("the old one is trusted no more");
    Ok(0)
}

async fn finish(at: &Contact, parsed: &Parsed) -> anyhow::Result<u8> {
    let asked = Finish { force: parsed.value("force").is_some() };
    let body = Some(("application/json", serde_json::to_vec(&asked)?));
    let _: AuthorityState = read(at, &at.call(Method::POST, AUTHORITY_FINISH_PATH, body, ANSWER_WITHIN).await?)?;
    println!("the old authority is trusted no more");
    Ok(0)
}
