//! The store against a real etcd where one is installed, and its refusals anywhere.

#![allow(clippy::unwrap_used)]

#[path = "../../integration/common/ports.rs"]
mod ports;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ports::free_addresses;

use super::*;
use crate::base::LeaseId;
use crate::kv::{
    Consistency, EventKind, KvError, Op, RangeRequest, Reply, Space, Store, StoreError, TxnOp, TxnRequest, WatchEnd,
    WatchRequest, WatchStart, prefix_end,
};

const WAIT: Duration = Duration::from_secs(5);

/// An etcd of its own, gone with the value. `None` where none is installed.
struct Etcd {
    child: Child,
    address: Address,
    _data: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tcp(address: SocketAddr) -> Address {
    Address::Tcp { host: address.ip().to_string(), port: address.port() }
}

async fn etcd() -> Option<Etcd> {
    let data = tempfile::tempdir().unwrap();
    let [client, peer] = free_addresses(2).try_into().unwrap();
    let client_url = format!("http://{client}");
    let child = Command::new("etcd")
        .args(["--data-dir", &data.path().to_string_lossy()])
        .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
        .args(["--listen-peer-urls", &format!("http://{peer}"), "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let address = tcp(client);
    let etcd = Etcd { child, address: address.clone(), _data: data };
    let store = RemoteStore::new(vec![address], Duration::from_secs(1));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !store.refresh_status().await.is_ok_and(|status| status.leader.is_some()) {
        assert!(Instant::now() < deadline, "etcd does not come up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Some(etcd)
}

fn everything() -> RangeRequest {
    RangeRequest { key: "/".into(), range_end: prefix_end(b"/"), ..RangeRequest::default() }
}

#[tokio::test]
async fn nobody_there_is_said_with_every_address() {
    let addresses: Vec<Address> = free_addresses(2).into_iter().map(tcp).collect();
    let store = RemoteStore::new(addresses.clone(), WAIT);
    let error = store.range(everything(), Consistency::Linearizable).await.unwrap_err().to_string();
    for address in addresses {
        assert!(error.contains(&address.to_string()), "{error}");
    }
    let system = RangeRequest { space: Space::System, ..everything() };
    let refused = store.range(system, Consistency::Linearizable).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unsupported(_)), "{refused}");
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_left_for_one_that_answers() {
    let Some(etcd) = etcd().await else { return };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = tcp(silent.local_addr().unwrap());
    let store = RemoteStore::new(vec![hung, etcd.address.clone()], Duration::from_millis(500));
    let (position, reply) = store.range(everything(), Consistency::Linearizable).await.unwrap();
    assert!(position.revision > 0 && reply.kvs.is_empty());
}

#[tokio::test]
async fn reads_and_writes_as_a_store_does() {
    let Some(etcd) = etcd().await else { return };
    let store = RemoteStore::new(vec![etcd.address.clone()], WAIT);
    store.write(Op::LeaseGrant { id: LeaseId(77), ttl_ms: 59_500 }).await.unwrap().result.unwrap();
    let put = store.write(Op::put("/a", "1")).await.unwrap();
    assert_eq!(put.result.unwrap(), Reply::Put { prev: None });
    let (position, reply) = store.range(everything(), Consistency::Linearizable).await.unwrap();
    assert_eq!((position.revision, reply.count, &reply.kvs[0].value[..]), (put.position.revision, 1, b"1".as_slice()));
    let txn = TxnRequest {
        success: vec![TxnOp::Range(everything()), TxnOp::Put(put_leased("/b", 77)), TxnOp::Txn(TxnRequest::default())],
        ..TxnRequest::default()
    };
    let Reply::Txn(reply) = store.write(Op::Txn(txn)).await.unwrap().result.unwrap() else { panic!("no txn") };
    assert!(reply.succeeded && reply.replies.len() == 3);
    assert_eq!(store.keep_alive(LeaseId(77)).await.unwrap(), 60_000);
    assert_eq!(store.keep_alive(LeaseId(78)).await.unwrap(), 0);
    let (lease, left, keys) = store.lease_time_to_live(LeaseId(77), true).await.unwrap().unwrap();
    assert_eq!((lease.ttl_ms, keys), (60_000, vec!["/b".into()]));
    assert!(left > 0);
    assert_eq!(store.lease_time_to_live(LeaseId(78), false).await.unwrap(), None);
    assert_eq!(store.leases().await.unwrap(), [LeaseId(77)]);
    assert_eq!(store.members().await.unwrap().len(), 1);
    let refused = store.write(Op::LeaseRevoke { id: LeaseId(78) }).await.unwrap();
    assert_eq!(refused.result, Err(KvError::LeaseNotFound));
    let future = RangeRequest { revision: 1_000, ..everything() };
    let refused = store.range(future, Consistency::Linearizable).await.unwrap_err();
    assert_eq!(refused, StoreError::Refused(KvError::FutureRevision));
}

fn put_leased(key: &'static str, lease: i64) -> crate::kv::PutRequest {
    crate::kv::PutRequest { key: key.into(), lease: LeaseId(lease), ..crate::kv::PutRequest::default() }
}

#[tokio::test]
async fn watches_from_the_past_and_ends_where_it_is_compacted() {
    let Some(etcd) = etcd().await else { return };
    let store = RemoteStore::new(vec![etcd.address.clone()], WAIT);
    let first = store.write(Op::put("/a", "1")).await.unwrap().position.revision;
    store.write(Op::put("/a", "2")).await.unwrap();
    let request = |revision| WatchRequest {
        start: WatchStart::Revision(revision),
        key: "/".into(),
        range_end: prefix_end(b"/"),
        ..WatchRequest::default()
    };
    let mut watch = store.watch(request(first)).await.unwrap();
    let mut values = Vec::new();
    while values.len() < 2 {
        let batch = watch.next().await.unwrap();
        values.extend(batch.events.into_iter().map(|event| (event.kind, event.kv.value)));
    }
    assert_eq!(values, [(EventKind::Put, "1".into()), (EventKind::Put, "2".into())]);
    let delete = crate::kv::DeleteRangeRequest { key: "/a".into(), ..crate::kv::DeleteRangeRequest::default() };
    let deleted = store.write(Op::DeleteRange(delete)).await.unwrap().position.revision;
    let batch = watch.next().await.unwrap();
    assert_eq!((batch.revision, batch.events[0].kind), (deleted, EventKind::Delete));
    assert_eq!(batch.events[0].prev.as_ref().map(|prev| prev.value.clone()), Some("2".into()));
    store.write(Op::Compact { space: Space::User, revision: deleted }).await.unwrap().result.unwrap();
    let mut watch = store.watch(request(first)).await.unwrap();
    assert!(matches!(watch.next().await, Err(WatchEnd::Compacted { .. })));
    drop(etcd);
    let mut open = store.watch(request(deleted + 1)).await;
    if let Ok(watch) = &mut open {
        assert!(matches!(watch.next().await, Err(WatchEnd::Closed(_))));
    }
}
