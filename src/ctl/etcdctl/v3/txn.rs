//! `etcdctl txn`: three blocks of lines on standard input — compares, then, else — each ended by an empty line.

use std::io::BufRead;

use bytes::Bytes;

use super::format::shown;
use super::{Context, Failed, arguments, connected, del_request, exit, get_request, print_kv, put_request, within};
use crate::ctl::args;
use crate::ctl::etcdctl::{FLAGS, V3_FLAGS};
use crate::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::etcdserverpb::{Compare, RequestOp, ResponseOp, TxnRequest};

pub async fn run(context: &Context) -> Result<u8, Failed> {
    if context.parsed.words.len() > 1 {
        return Err(arguments("txn command does not accept argument"));
    }
    let prompts = context.parsed.truth("interactive")?;
    let request = read(std::io::stdin().lock(), prompts)?;
    let response = within(context, KvClient::new(connected(context).await?).txn(request)).await?;
    if shown(context, &response)? {
        return Ok(0);
    }
    println!("{}", if response.succeeded { "SUCCESS" } else { "FAILURE" });
    for reply in &response.responses {
        println!();
        print_reply(context, reply)?;
    }
    Ok(0)
}

fn print_reply(context: &Context, reply: &ResponseOp) -> Result<(), Failed> {
    match &reply.response {
        Some(Response::ResponsePut(put)) => {
            println!("OK");
            put.prev_kv.iter().try_for_each(|kv| print_kv(context, kv))
        }
        Some(Response::ResponseRange(range)) => range.kvs.iter().try_for_each(|kv| print_kv(context, kv)),
        Some(Response::ResponseDeleteRange(deleted)) => {
            println!("{}", deleted.deleted);
            deleted.prev_kvs.iter().try_for_each(|kv| print_kv(context, kv))
        }
        _ => Ok(()),
    }
}

fn read(mut input: impl BufRead, prompts: bool) -> Result<TxnRequest, Failed> {
    let mut block = |title: &str| -> Result<Vec<String>, Failed> {
        if prompts {
            println!("{title}:");
        }
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = input.read_line(&mut line);
            read.map_err(|error| Failed::with(exit::INPUT, format!("reading the transaction: {error}")))?;
            match (line.is_empty(), line.trim()) {
                (true, _) => return Err(Failed::with(exit::INPUT, "EOF")),
                (false, "") => return Ok(lines),
                (false, text) => lines.push(text.to_owned()),
            }
        }
    };
    // What is wrong is said as soon as its block is read.
    let wrong = |message: String| Failed::with(exit::INPUT, message);
    let compares: Result<_, String> = block("compares")?.iter().map(|line| compare(line)).collect();
    let compare = compares.map_err(wrong)?;
    let mut operations =
        |title| -> Result<Vec<RequestOp>, Failed> { block(title)?.iter().map(|line| operation(line)).collect() };
    let success = operations("success requests (get, put, del)")?;
    let failure = operations("failure requests (get, put, del)")?;
    Ok(TxnRequest { compare, success, failure })
}

/// `target("key") relation "value"`, for example `mod("a") > "0"`.
fn compare(line: &str) -> Result<Compare, String> {
    let malformed = || format!("malformed comparison: {line}");
    let (target, rest) = line.split_once('(').ok_or_else(malformed)?;
    let wrong = || format!("{}; got {target}(\"\")  \"\"", malformed());
    let (key, rest) = rest.split_once(')').ok_or_else(wrong)?;
    let mut words = rest.split_whitespace();
    let (relation, value) = (words.next().ok_or_else(wrong)?, words.collect::<Vec<_>>().join(" "));
    let (key, value) = (unquoted(key)?, unquoted(&value)?);
    let number = || value.parse::<i64>().map_err(|_| format!("invalid txn compare request: {line}"));
    let (target, union) = match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(value))),
        "lease" => {
            let lease = i64::from_str_radix(&value, 16);
            let lease = lease.map_err(|_| format!("invalid txn compare request: {line}"))?;
            (CompareTarget::Lease, TargetUnion::Lease(lease))
        }
        other => return Err(format!("{} (unknown target {other})", malformed())),
    };
    let result = match relation {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(wrong()),
    };
    Ok(Compare {
        result: result as i32,
        target: target as i32,
        key: Bytes::from(key),
        range_end: Bytes::new(),
        target_union: Some(union),
    })
}

fn split_words(line: &str) -> Result<Vec<String>, String> {
    shlex::split(line).ok_or_else(|| format!("`{line}`: a quote is not closed"))
}

fn unquoted(text: &str) -> Result<String, String> {
    let words = split_words(text.trim())?;
    Ok(words.concat())
}

/// `put`, `get` or `del` with their arguments and flags, as on the command line.
fn operation(line: &str) -> Result<RequestOp, Failed> {
    let invalid = || Failed::with(exit::INPUT, format!("invalid txn compare request: {line}"));
    let words = shlex::split(line).filter(|words| words.len() > 1).ok_or_else(invalid)?;
    let parsed = args::parse(&words, &[FLAGS, V3_FLAGS], &|_| None)?;
    let request = match parsed.words.first().map(String::as_str) {
        Some("put") => Request::RequestPut(put_request(&parsed, || Err(invalid()))?),
        Some("get") => Request::RequestRange(get_request(&parsed)?),
        Some("del") => Request::RequestDeleteRange(del_request(&parsed)?),
        _ => return Err(invalid()),
    };
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn three_blocks_make_a_transaction() {
        let text = "mod(\"a\") > \"0\"\nvalue(b) = \"x y\"\n\nput a \"over written\"\n\nget --prefix a\ndel b\n\n";
        let txn = read(text.as_bytes(), false).unwrap();
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(txn.compare[1].target_union, Some(TargetUnion::Value(Bytes::from("x y"))));
        assert_eq!((txn.success.len(), txn.failure.len()), (1, 2));
        let Some(Request::RequestPut(put)) = &txn.success[0].request else { panic!("not a put") };
        assert_eq!(put.value, "over written");
    }

    #[test]
    fn mistakes_name_the_line() {
        for bad in ["mod(a) > 0\nnope\n\n", "speed(a) = 1\n\n", "\nput a\n\n", "\njump a\n\n", "mod(a) = x\n\n"] {
            let failed = read(bad.as_bytes(), false).unwrap_err();
            let line = bad.lines().rfind(|line| !line.is_empty()).unwrap();
            assert!(failed.message.contains(line), "{bad}: {}", failed.message);
        }
        assert_eq!(read("\nput a 1\n".as_bytes(), false).unwrap_err().message, "EOF");
    }
}
