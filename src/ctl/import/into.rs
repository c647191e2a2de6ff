//! Into a cluster that runs: what was imported is written through its API, so it has that cluster's revisions.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tonic::{Response, Status};

use crate::base::{LeaseId, UnixMillis};
use crate::disk::Database;
use crate::kv::{self, KeyValue, RangeRequest, State};
use crate::net::Address;
use crate::remote;
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::kv_client::KvClient;
use crate::wire::etcdserverpb::lease_client::LeaseClient;
use crate::wire::etcdserverpb::request_op::Request;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Keys of one transaction, and about as many bytes: within what every etcd takes by default.
const TXN_KEYS: i64 = 100;
const TXN_BYTES: usize = 512 << 10;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub keys: u64,
    pub leases: u64,
}

/// Writes the newest state of all keys in `database`, which was filled by an import, and their leases. `now` is for those
/// that end at a certain time.
///
/// # Errors
/// A cluster that has keys already, refuses, or does not answer. What was written until then stays.
pub async fn send(database: &Database, to: &Address, now: UnixMillis) -> anyhow::Result<Sent> {
    let channel = remote::channel(to, CONNECT_WITHIN).await.with_context(|| format!("connecting to {to}"))?;
    let mut keys = KvClient::new(channel.clone());
    let all = pb::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        count_only: true,
        ..pb::RangeRequest::default()
    };
    let there = answered(to, keys.range(all)).await?.count;
    anyhow::ensure!(there == 0, "{to} has {there} keys already; name a new cluster");
    let snapshot = database.reader();
    let mut sent = Sent::default();
    let mut known: HashMap<LeaseId, i64> = HashMap::new();
    let mut leases = LeaseClient::new(channel);
    for record in State::load(&snapshot)?.leases() {
        // Those of v2 end at a certain time, and their numbers have a meaning that this cluster gives them.
        let (id, ms) = match record.ends {
            Some(ends) => (0, ends.0.saturating_sub(now.0)),
            None => (record.lease.id.0, record.lease.ttl_ms),
        };
        let ttl = (ms.max(1) + 999) / 1000;
        let granted = answered(to, leases.lease_grant(pb::LeaseGrantRequest { ttl, id })).await?;
        known.insert(record.lease.id, granted.id);
        sent.leases += 1;
    }
    let mut from = Bytes::from_static(b"\0");
    loop {
        let range = RangeRequest {
            key: from.clone(),
            range_end: Bytes::from_static(b"\0"),
            limit: TXN_KEYS,
            ..RangeRequest::default()
        };
        let (_, page) = kv::range(&snapshot, &range)?.map_err(|error| anyhow::anyhow!("{error}"))?;
        let Some(last) = page.kvs.last() else { return Ok(sent) };
        from = [&last.key[..], &[0]].concat().into();
        sent.keys += page.kvs.len() as u64;
        for part in parts(page.kvs) {
            let success = part.into_iter().map(|kv| put(kv, &known)).collect();
            answered(to, keys.txn(pb::TxnRequest { success, ..pb::TxnRequest::default() })).await?;
        }
    }
}

/// Cuts a page into what goes into one transaction each.
fn parts(page: Vec<KeyValue>) -> Vec<Vec<KeyValue>> {
    let mut parts: Vec<Vec<KeyValue>> = Vec::new();
    let mut bytes = usize::MAX;
    for kv in page {
        let own = kv.key.len() + kv.value.len();
        match parts.last_mut() {
            Some(part) if bytes.saturating_add(own) <= TXN_BYTES => {
                part.push(kv);
                bytes += own;
            }
            _ => {
                parts.push(vec![kv]);
                bytes = own;
            }
        }
    }
    parts
}

fn put(kv: KeyValue, leases: &HashMap<LeaseId, i64>) -> pb::RequestOp {
    let lease = leases.get(&kv.lease).copied().unwrap_or_default();
    let put = pb::PutRequest { key: kv.key, value: kv.value, lease, ..pb::PutRequest::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

async fn answered<T>(to: &Address, call: impl Future<Output = Result<Response<T>, Status>>) -> anyhow::Result<T> {
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(anyhow::anyhow!("{to}: {}", status.message())),
        Err(_) => Err(anyhow::anyhow!("{to}: no answer within {ANSWER_WITHIN:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_where_a_transaction_would_be_too_large() {
        let kv = |bytes: usize| KeyValue { value: vec![0; bytes].into(), ..KeyValue::default() };
        let sizes = |page: &[usize]| {
            let cut = parts(page.iter().map(|bytes| kv(*bytes)).collect());
            cut.into_iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), Vec::<usize>::new());
        assert_eq!(sizes(&[1, 2, 3]), [3]);
        assert_eq!(sizes(&[TXN_BYTES * 3, 1, TXN_BYTES - 1, 1]), [1, 2, 1]);
    }
}
