//! `node ctl kv`: keys as they were, who changed them and when, and what differs between two moments.

mod command;
pub(in crate::ctl) mod moment;
mod show;

use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use command::{Ask, Output, What};
pub use command::{Command, FLAGS, HELP, understand};

use super::contact::Contact;
use super::http;
use super::node_ctl::ANSWER_WITHIN;
use crate::wire::history::{Data, News, Page, Refusal};

/// Carries out a command. Returns the exit code: 1 where the one key that is asked for is not there.
///
/// # Errors
/// What the node refuses, in its words, or that it does not answer.
pub async fn run(at: &Contact, command: Command) -> anyhow::Result<u8> {
    match command.what {
        What::Watch => watch(at, &command).await,
        What::Put { value } => put(at, &command.ask, &value).await,
        What::Delete => delete(at, &command.ask).await,
        What::Get | What::History | What::Diff => read(at, &command).await,
    }
}

/// The path and query that ask for this.
fn target(path: &str, ask: &Ask) -> String {
    let encoded = |bytes: &[u8]| percent_encode(bytes, NON_ALPHANUMERIC).to_string();
    let mut target = format!("/kv/v1/{path}?key={}", encoded(ask.key.as_bytes()));
    if ask.prefix {
        target.push_str("&prefix=true");
    }
    for (name, moment) in &ask.moments {
        target.push_str(&format!("&{name}={}", encoded(moment.as_bytes())));
    }
    target
}

/// Pages of keys, changes or differences, until their end or the limit.
async fn read(at: &Contact, command: &Command) -> anyhow::Result<u8> {
    let (path, ask) = (command.what.path(), &command.ask);
    let base = target(path, ask);
    let mut left = ask.limit.unwrap_or(usize::MAX);
    let mut whole = Page::default();
    let (mut page_of, mut found, mut first) = (String::new(), 0, true);
    loop {
        let limit = if ask.limit.is_some() { format!("&limit={left}") } else { String::new() };
        let mut page: Page = get(at, &format!("{base}{limit}{page_of}")).await?;
        // A revision's changes are not split by the node.
        page.changes.truncate(left);
        left -= page.changes.len();
        found += page.changes.len();
        let next = page.next.take().filter(|_| left > 0);
        match command.output {
            Output::Text => print!("{}", show::page(&command.what, &page, first)),
            Output::Value => show::values(&page)?,
            Output::Json if first => whole = page,
            Output::Json => whole.changes.extend(page.changes),
        }
        first = false;
        match next {
            Some(token) => page_of = format!("&page={token}"),
            None => break,
        }
    }
    if command.output == Output::Json {
        println!("{}", serde_json::to_string(&whole)?);
    }
    let one = !ask.prefix && !matches!(command.what, What::Diff);
    if one && found == 0 {
        eprintln!("node ctl kv: {}", command.what.nothing(&ask.key));
    }
    Ok(u8::from(one && found == 0))
}

async fn get(at: &Contact, target: &str) -> anyhow::Result<Page> {
    let answer = at.call(Method::GET, target, None, ANSWER_WITHIN).await.map_err(in_its_words)?;
    let not_ours = || anyhow::anyhow!("{at}: {}: this is no node that keeps history for people", answer.status);
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map_err(|_| not_ours()),
        _ => match serde_json::from_slice::<Refusal>(&answer.body) {
            Ok(refusal) if !refusal.error.is_empty() => Err(anyhow::anyhow!("{}", refusal.error)),
            _ => Err(not_ours()),
        },
    }
}

/// The error's text has its causes in it already.
fn in_its_words(error: http::HttpError) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

/// Prints changes as they come, until the node ends the watch.
async fn watch(at: &Contact, command: &Command) -> anyhow::Result<u8> {
    let target = target("watch", &command.ask);
    let open = tokio::time::timeout(ANSWER_WITHIN, at.open_stream(Method::GET, &target)).await;
    let mut stream =
        open.map_err(|_| anyhow::anyhow!("{at}: no answer within {ANSWER_WITHIN:?}"))?.map_err(in_its_words)?;
    if stream.status != StatusCode::OK {
        // It says why.
        get(at, &target).await?;
        anyhow::bail!("{at}: {}", stream.status);
    }
    let mut resume = None;
    let why = loop {
        let lines = match stream.lines().await {
            Ok(Some(lines)) => lines,
            Ok(None) => break "the node has ended the watch".to_owned(),
            Err(error) => break error.to_string(),
        };
        let mut ended = None;
        for line in lines {
            let news: News = serde_json::from_slice(&line)?;
            if let Some(from) = news.from {
                resume = Some(from);
            }
            if let Some(change) = &news.change {
                resume = Some(change.revision + 1);
                match command.output {
                    Output::Text => print!("{}", show::change(change)),
                    Output::Value => show::value(change)?,
                    Output::Json => println!("{}", serde_json::to_string(change)?),
                }
            }
            ended = news.error.or(ended);
        }
        if let Some(why) = ended {
            break why;
        }
    };
    match resume {
        Some(revision) => anyhow::bail!("{at}: {why}; go on with --from {revision}"),
        None => anyhow::bail!("{at}: {why}"),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn revision(answer: &Value) -> &str {
    answer["header"]["revision"].as_str().unwrap_or("?")
}

async fn put(at: &Contact, ask: &Ask, value: &str) -> anyhow::Result<u8> {
    let message = json!({ "key": base64(ask.key.as_bytes()), "value": base64(value.as_bytes()) });
    let answer = at.tell("/v3/kv/put", &message, ANSWER_WITHIN).await?;
    println!("revision {}", revision(&answer));
    Ok(0)
}

async fn delete(at: &Contact, ask: &Ask) -> anyhow::Result<u8> {
    let key = ask.key.as_bytes();
    let end = if ask.prefix { crate::kv::prefix_end(key) } else { bytes::Bytes::new() };
    let message = json!({ "key": base64(key), "range_end": base64(&end) });
    let answer = at.tell("/v3/kv/deleterange", &message, ANSWER_WITHIN).await?;
    let deleted = answer["deleted"].as_str().unwrap_or("0");
    if deleted == "0" && !ask.prefix {
        eprintln!("node ctl kv: there is no key {}", show::data(&Data::Text(ask.key.clone())));
        return Ok(1);
    }
    println!("deleted {deleted}, revision {}", revision(&answer));
    Ok(0)
}
