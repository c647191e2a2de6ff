//! `etcdctl txn`: three blocks of lines on standard input — compares, then, else — each ended by an empty line.

use bytes::Bytes;

use super::{Context, Failed, connected, print_kv, within};
use crate::kv::prefix_end;
use crate::wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::response_op::Response;
use crate::wire::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseOp, TxnRequest,
};

pub async fn run(context: &Context) -> Result<u8, Failed> {
    let text = std::io::read_to_string(std::io::stdin())
        .map_err(|error| Failed::usage(format!("reading the transaction from standard input: {error}")))?;
    let request = parse(&text).map_err(Failed::usage)?;
    let response = within(context, KvClient::new(connected(context).await?).txn(request)).await?;
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
            Ok(())
        }
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Result<TxnRequest, String> {
    let mut blocks = [Vec::new(), Vec::new(), Vec::new()];
    let mut at = 0;
    for line in text.lines().map(str::trim) {
        match (line.is_empty(), blocks.get_mut(at)) {
            (true, _) => at += 1,
            (false, Some(block)) => block.push(line),
            (false, None) => return Err(format!("`{line}`: stands behind the third block")),
        }
    }
    let [compares, success, failure] = blocks;
    let ops = |lines: Vec<&str>| lines.into_iter().map(operation).collect::<Result<Vec<RequestOp>, String>>();
    Ok(TxnRequest {
        compare: compares.into_iter().map(compare).collect::<Result<_, String>>()?,
        success: ops(success)?,
        failure: ops(failure)?,
    })
}

/// `target("key") relation "value"`, for example `mod("a") > "0"`.
fn compare(line: &str) -> Result<Compare, String> {
    let wrong = || format!("malformed comparison: {line}; got a form other than `target(\"key\") relation \"value\"`");
    let (target, rest) = line.split_once('(').ok_or_else(wrong)?;
    let (key, rest) = rest.split_once(')').ok_or_else(wrong)?;
    let mut words = rest.split_whitespace();
    let (relation, value) = (words.next().ok_or_else(wrong)?, words.collect::<Vec<_>>().join(" "));
    let (key, value) = (unquoted(key)?, unquoted(&value)?);
    let number = || value.parse::<i64>().map_err(|_| format!("{line}: `{value}` is no number"));
    let (target, union) = match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(value))),
        "lease" => {
            let lease = i64::from_str_radix(&value, 16).map_err(|_| format!("{line}: `{value}` is no lease ID"))?;
            (CompareTarget::Lease, TargetUnion::Lease(lease))
        }
        other => return Err(format!("malformed comparison: {line}; unknown target `{other}`")),
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

/// `put KEY VALUE`, `get KEY [END]`, `del KEY [END]`, with `--prefix` for the last two.
fn operation(line: &str) -> Result<RequestOp, String> {
    let words = split_words(line)?;
    let prefix = words.iter().any(|word| word == "--prefix");
    let mut words = words.into_iter().filter(|word| !word.starts_with("--"));
    let verb = words.next().unwrap_or_default();
    let key = words.next().ok_or_else(|| format!("`{line}` names no key"))?;
    let second = words.next();
    let end = || match (&second, prefix) {
        (Some(end), _) => Bytes::from(end.clone()),
        (None, true) => prefix_end(key.as_bytes()),
        (None, false) => Bytes::new(),
    };
    let request = match verb.as_str() {
        "put" => {
            let value = second.clone().ok_or_else(|| format!("`{line}` has no value"))?;
            Request::RequestPut(PutRequest {
                key: Bytes::from(key),
                value: Bytes::from(value),
                ..PutRequest::default()
            })
        }
        "get" => {
            let range_end = end();
            Request::RequestRange(RangeRequest { key: Bytes::from(key), range_end, ..RangeRequest::default() })
        }
        "del" => {
            let range_end = end();
            Request::RequestDeleteRange(DeleteRangeRequest { key: Bytes::from(key), range_end, prev_kv: false })
        }
        _ => return Err(format!("`{line}`: write put, get or del")),
    };
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn three_blocks_make_a_transaction() {
        let txn =
            parse("mod(\"a\") > \"0\"\nvalue(b) = \"x y\"\n\nput a \"over written\"\n\nget --prefix a\ndel b\n\n")
                .unwrap();
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(txn.compare[1].target_union, Some(TargetUnion::Value(Bytes::from("x y"))));
        assert_eq!((txn.success.len(), txn.failure.len()), (1, 2));
        let Some(Request::RequestPut(put)) = &txn.success[0].request else { panic!("not a put") };
        assert_eq!(put.value, "over written");
    }

    #[test]
    fn mistakes_name_the_line() {
        for bad in ["mod(a) > 0\nnope\n", "speed(a) = 1\n", "\nput a\n", "\njump a\n", "mod(a) = x\n"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
