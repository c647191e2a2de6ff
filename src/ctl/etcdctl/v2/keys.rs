//! Commands that read and write keys.

use hyper::{HeaderMap, Method, StatusCode};

use super::client::Client;
use super::line::Line;
use super::print::{self, Reply};
use super::request::{Asked, key_path};
use super::{Failed, exit};
use crate::ctl::http::Answer;
use crate::wire::v2::Failure;

const NOT_ETCD: &str = "client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint";

/// `set`, `get` and the like.
pub async fn run(verb: &str, line: &Line, client: &Client) -> Result<u8, Failed> {
    match verb {
        "get" => get(line, client).await,
        "ls" => ls(line, client).await,
        "rm" | "rmdir" => remove(verb, line, client).await,
        _ => write(verb, line, client).await,
    }
}

pub fn key(line: &Line) -> Result<&str, Failed> {
    line.words.first().map(String::as_str).ok_or_else(|| Failed::error(1, "key required"))
}

async fn ask(client: &Client, asked: &Asked) -> Result<Reply, Failed> {
    let answer = client.ask(asked).await.map_err(|trouble| trouble.failed(exit::SERVER))?;
    reply(&answer)
}

/// A good answer; a bad one is how the command fails.
pub fn reply(answer: &Answer) -> Result<Reply, Failed> {
    let not_etcd = |_| Failed::error(exit::SERVER, NOT_ETCD);
    if !matches!(answer.status, StatusCode::OK | StatusCode::CREATED) {
        let failure: Failure = serde_json::from_slice(&answer.body).map_err(not_etcd)?;
        let Failure { error_code, message, cause, index } = failure;
        return Err(Failed::error(exit::SERVER, format!("{error_code}: {message} ({cause}) [{index}]")));
    }
    let index = |headers: &HeaderMap| headers.get("x-etcd-index")?.to_str().ok()?.parse().ok();
    let told = serde_json::from_slice(&answer.body).map_err(not_etcd)?;
    Ok(Reply { answer: told, index: index(&answer.headers).unwrap_or(0) })
}

fn reading(key: &str, line: &Line) -> Asked {
    let flags = ["quorum", "recursive", "sort"].map(|flag| line.truth(flag).to_string());
    let [quorum, recursive, sorted] = flags;
    Asked::get(key_path(key, &[("quorum", quorum), ("recursive", recursive), ("sorted", sorted)]))
}

async fn get(line: &Line, client: &Client) -> Result<u8, Failed> {
    let reply = ask(client, &reading(key(line)?, line)).await?;
    if reply.node().dir {
        return Err(Failed::bare(format!("{}: is a directory", reply.node().key)));
    }
    print::key(line, &reply);
    Ok(0)
}

async fn ls(line: &Line, client: &Client) -> Result<u8, Failed> {
    let reply = ask(client, &reading(line.words.first().map_or("/", String::as_str), line)).await?;
    print::listing(line, &reply);
    Ok(0)
}

/// What has to hold: in the query, as the original sends it.
fn conditions(line: &Line, value: &str, index: &str) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    if !line.text(value).is_empty() {
        query.push(("prevValue", line.text(value).to_owned()));
    }
    if line.whole(index) != 0 {
        // Go turns the number into one without sign.
        query.push(("prevIndex", line.whole(index).cast_unsigned().to_string()));
    }
    query
}

async fn write(verb: &str, line: &Line, client: &Client) -> Result<u8, Failed> {
    let key = key(line)?;
    let directory = verb.ends_with("dir");
    let mut fields = Vec::new();
    let mut query = conditions(line, "swap-with-value", "swap-with-index");
    match directory {
        true => query.push(("dir", "true".to_owned())),
        false => fields.push(("value", value(line)?)),
    }
    if line.whole("ttl") > 0 {
        fields.push(("ttl", line.whole("ttl").to_string()));
    }
    let in_order = line.truth("in-order");
    match verb {
        "mk" | "mkdir" if !in_order => query.push(("prevExist", "false".to_owned())),
        "update" | "updatedir" => query.push(("prevExist", "true".to_owned())),
        _ => {}
    }
    let method = if in_order { Method::POST } else { Method::PUT };
    let mut asked = Asked::with_form(method, key_path(key, &query), &fields);
    asked.once = verb.starts_with("mk") && !in_order;
    let reply = ask(client, &asked).await?;
    if !directory || print::format(line) != "simple" {
        print::key(line, &reply);
    }
    Ok(0)
}

/// The value: the second word, or what comes in on standard input.
fn value(line: &Line) -> Result<String, Failed> {
    let read = || std::io::read_to_string(std::io::stdin()).ok().filter(|text| !text.is_empty());
    line.words.get(1).cloned().or_else(read).ok_or_else(|| Failed::error(1, "value required"))
}

async fn remove(verb: &str, line: &Line, client: &Client) -> Result<u8, Failed> {
    let key = key(line)?;
    let mut query = conditions(line, "with-value", "with-index");
    if verb == "rmdir" || line.truth("dir") {
        query.push(("dir", "true".to_owned()));
    }
    if line.truth("recursive") {
        query.push(("recursive", "true".to_owned()));
    }
    let asked = Asked { method: Method::DELETE, once: true, ..Asked::get(key_path(key, &query)) };
    let reply = ask(client, &asked).await?;
    if !reply.node().dir || print::format(line) != "simple" {
        print::key(line, &reply);
    }
    Ok(0)
}
