//! `etcdctl make-mirror`: what is below a prefix, and every change of it, into another cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Context, Failed, arguments, connected, refused, within};
use crate::ctl::tls;
use crate::kv::prefix_end;
use crate::remote::{self, Line};
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::watch_client::WatchClient;
use crate::wire::etcdserverpb::watch_request::RequestUnion;
use crate::wire::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, WatchRequest,
};
use crate::wire::mvccpb::Event;
use crate::wire::mvccpb::event::EventType;

/// Keys that are read, and operations that are written, at a time: what a transaction may hold.
const BATCH: i64 = 128;
/// How often it is told how many keys were written.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// How a key here is called there.
struct Names {
    prefix: Bytes,
    there: Option<Bytes>,
}

impl Names {
    fn there(&self, key: &Bytes) -> Bytes {
        match &self.there {
            None => key.clone(),
            Some(there) => [&there[..], key.get(self.prefix.len()..).unwrap_or_default()].concat().into(),
        }
    }
}

struct Mirror<'a> {
    context: &'a Context,
    names: Names,
    source: Line,
    destination: KvClient<Line>,
    written: u64,
}

pub async fn run(context: &Context) -> Result<u8, Failed> {
    let parsed = &context.parsed;
    let [_, to] = parsed.words.as_slice() else {
        return Err(arguments("make-mirror takes one destination argument"));
    };
    let text = |flag: &str| Bytes::from(parsed.value(flag).unwrap_or_default().to_owned());
    let (prefix, there, nowhere) = (text("prefix"), text("dest-prefix"), parsed.truth("no-dest-prefix")?);
    if nowhere && !there.is_empty() {
        return Err(arguments("`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one"));
    }
    let there = Some(there).filter(|there| nowhere || !there.is_empty());
    let file = |flag: &str| parsed.value(flag).map(PathBuf::from);
    let tls = tls::told(file("dest-cacert"), file("dest-cert"), file("dest-key"), false).map_err(arguments)?;
    let address = tls::address(&Arc::new(tls), to).map_err(|error| arguments(format!("{to}: {error}")))?;
    let opened = remote::line(&address, context.timeout, context.login.as_ref()).await;
    let destination = opened.map_err(|error| Failed::usage(format!("{to}: {error}")))?;
    let source = connected(context).await?;
    let names = Names { prefix, there };
    let mut mirror = Mirror { context, names, source, destination: KvClient::new(destination), written: 0 };
    let revision = mirror.copy().await?;
    mirror.follow(revision + 1).await
}

impl Mirror<'_> {
    /// The first key and the end of what is mirrored.
    fn range(&self) -> (Bytes, Bytes) {
        let first = if self.names.prefix.is_empty() { Bytes::from_static(b"\0") } else { self.names.prefix.clone() };
        (first, prefix_end(&self.names.prefix))
    }

    /// Writes everything there is, as of one revision, and returns that.
    async fn copy(&mut self) -> Result<i64, Failed> {
        let (mut key, range_end) = self.range();
        let mut client = KvClient::new(self.source.clone());
        let mut revision = 0;
        loop {
            let (limit, range_end) = (BATCH, range_end.clone());
            let request = RangeRequest { key: key.clone(), range_end, limit, revision, ..RangeRequest::default() };
            let page = within(self.context, client.range(request)).await?;
            if revision == 0 {
                revision = page.header.map_or(0, |header| header.revision);
            }
            let Some(last) = page.kvs.last() else { return Ok(revision) };
            key = [&last.key[..], b"\0"].concat().into();
            let puts = page.kvs.iter().map(|kv| put(self.names.there(&kv.key), kv.value.clone()));
            self.write(puts.collect()).await?;
            if !page.more {
                return Ok(revision);
            }
        }
    }

    async fn write(&mut self, success: Vec<RequestOp>) -> Result<(), Failed> {
        self.written += success.len() as u64;
        let request = TxnRequest { success, ..TxnRequest::default() };
        within(self.context, self.destination.txn(request)).await.map(|_| ())
    }

    /// Writes each revision's changes in one transaction, from `revision` on.
    async fn follow(&mut self, revision: i64) -> Result<u8, Failed> {
        let (key, range_end) = self.range();
        let create = WatchCreateRequest { key, range_end, start_revision: revision, ..WatchCreateRequest::default() };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            futures_util::StreamExt::chain(futures_util::stream::iter([request]), futures_util::stream::pending());
        let watched = WatchClient::new(self.source.clone()).watch(requests).await;
        let mut answers = watched.map_err(|status| refused(&status))?.into_inner();
        let mut telling = tokio::time::interval(TELL_EVERY);
        telling.tick().await;
        loop {
            let answer = tokio::select! {
                answer = answers.message() => answer.map_err(|status| refused(&status))?,
                _ = telling.tick() => {
                    println!("{}", self.written);
                    continue;
                }
            };
            let Some(answer) = answer else { return Err(Failed::usage("the watch ended")) };
            if answer.canceled {
                return Err(Failed::usage(format!("the watch ended: {}", answer.cancel_reason)));
            }
            for revision in answer.events.chunk_by(|a, b| modified(a) == modified(b)) {
                let operations = revision.iter().filter_map(|event| self.operation(event));
                self.write(operations.collect()).await?;
            }
        }
    }

    fn operation(&self, event: &Event) -> Option<RequestOp> {
        let kv = event.kv.as_ref()?;
        let key = self.names.there(&kv.key);
        Some(match event.r#type == EventType::Delete as i32 {
            false => put(key, kv.value.clone()),
            true => {
                let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                RequestOp { request: Some(Request::RequestDeleteRange(request)) }
            }
        })
    }
}

fn modified(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn put(key: Bytes, value: Bytes) -> RequestOp {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key, value, ..PutRequest::default() })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_called_otherwise_there() {
        let name = |prefix: &'static str, there: Option<&'static str>| {
            Names { prefix: prefix.into(), there: there.map(Bytes::from) }.there(&Bytes::from("from/a"))
        };
        assert_eq!(name("from/", Some("to/")), "to/a");
        assert_eq!(name("from/", Some("")), "a");
        assert_eq!(name("from/", None), "from/a");
        assert_eq!(name("", Some("to/")), "to/from/a");
    }
}
