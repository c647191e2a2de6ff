//! Locks, elections and health over a real connection.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::api::test_store::{House, MEMBER, Talk, house, soon};
use crate::base::LeaseId;
use crate::kv::{Consistency, Op, RangeRequest, Store, WatchRequest, WatchStart, WatchStream, prefix_end};
use crate::wire::grpc::health::v1 as health;
use crate::wire::v3electionpb as election;
use crate::wire::v3lockpb as lock;
use election::election_client::ElectionClient;
use health::health_check_response::ServingStatus;
use lock::lock_client::LockClient;

async fn channel(house: &House) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", house.address)).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

fn grant(house: &House, id: i64) {
    house.store.apply(Op::LeaseGrant { id: LeaseId(id), ttl_ms: 60_000 }).result.unwrap();
}

fn lock_request(lease: i64) -> lock::LockRequest {
    lock::LockRequest { name: "l".into(), lease }
}

/// Keys below `l/`, in their order.
async fn keys(house: &House) -> Vec<Bytes> {
    let prefix = Bytes::from("l/");
    let range = RangeRequest { range_end: prefix_end(&prefix), key: prefix, ..RangeRequest::default() };
    let (_, reply) = house.store.range(range, Consistency::Serializable).await.unwrap();
    reply.kvs.into_iter().map(|kv| kv.key).collect()
}

/// A watch of everything below `l/`, from the beginning.
async fn everything(house: &House) -> Box<dyn WatchStream> {
    let key = Bytes::from("l/");
    let start = WatchStart::Revision(1);
    house
        .store
        .watch(WatchRequest { range_end: prefix_end(&key), key, start, ..WatchRequest::default() })
        .await
        .unwrap()
}

/// Waits until `count` changes have been seen in all.
async fn until(changes: &mut Box<dyn WatchStream>, count: usize, seen: &mut usize) {
    while *seen < count {
        *seen += soon(changes.next()).await.unwrap().events.len();
    }
}

type Waiting = tokio::task::JoinHandle<Result<lock::LockResponse, Status>>;

async fn lock_in_background(house: &House, lease: i64) -> Waiting {
    let mut client = LockClient::new(channel(house).await);
    tokio::spawn(async move { Ok(client.lock(lock_request(lease)).await?.into_inner()) })
}

#[tokio::test]
async fn locks_are_given_in_the_order_of_asking() {
    let house = house().await;
    (7..=9).for_each(|id| grant(&house, id));
    let (mut changes, mut seen) = (everything(&house).await, 0);
    let mut client = LockClient::new(channel(&house).await);
    let held = client.lock(lock_request(7)).await.unwrap().into_inner();
    assert_eq!((&held.key[..], held.header.unwrap().revision), (&b"l/7"[..], 2));
    // The same lease has the lock already.
    assert_eq!(soon(client.lock(lock_request(7))).await.unwrap().into_inner().key, "l/7");
    let second = lock_in_background(&house, 8).await;
    until(&mut changes, 2, &mut seen).await;
    let third = lock_in_background(&house, 9).await;
    until(&mut changes, 3, &mut seen).await;
    assert!(!second.is_finished() && !third.is_finished());
    let unlock = |key: &'static str| lock::UnlockRequest { key: key.into() };
    client.unlock(unlock("l/7")).await.unwrap();
    let second = soon(second).await.unwrap().unwrap();
    assert_eq!((&second.key[..], second.header.unwrap().revision), (&b"l/8"[..], 5));
    assert!(!third.is_finished());
    // A holder whose lease ends makes room as well.
    house.store.apply(Op::LeaseExpire { ids: vec![LeaseId(8)] });
    assert_eq!(soon(third).await.unwrap().unwrap().key, "l/9");
}

#[tokio::test]
async fn a_lock_without_a_lease_gets_one_of_sixty_seconds() {
    let house = house().await;
    let mut client = LockClient::new(channel(&house).await);
    let held = client.lock(lock_request(0)).await.unwrap().into_inner();
    let leases = house.store.leases().await.unwrap();
    let [lease] = leases[..] else { panic!("{leases:?}") };
    assert_eq!(held.key, format!("l/{:x}", lease.0));
    let (lease, _, keys) = house.store.lease_time_to_live(lease, true).await.unwrap().unwrap();
    assert_eq!((lease.ttl_ms, keys), (60_000, vec![held.key]));
}

/// What Jepsen found in etcd: a lock was reported as held although its lease had ended in the queue.
#[tokio::test]
async fn a_lease_that_ends_in_the_queue_is_an_error() {
    let house = house().await;
    (7..=8).for_each(|id| grant(&house, id));
    let (mut changes, mut seen) = (everything(&house).await, 0);
    LockClient::new(channel(&house).await).lock(lock_request(7)).await.unwrap();
    let waiting = lock_in_background(&house, 8).await;
    until(&mut changes, 2, &mut seen).await;
    house.store.apply(Op::LeaseExpire { ids: vec![LeaseId(8)] });
    let refusal = soon(waiting).await.unwrap().unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unknown, "mutex: session is expired"));
    assert_eq!(keys(&house).await, ["l/7"]);
}

#[tokio::test]
async fn who_leaves_while_waiting_leaves_nothing_behind() {
    let house = house().await;
    (7..=8).for_each(|id| grant(&house, id));
    let (mut changes, mut seen) = (everything(&house).await, 0);
    LockClient::new(channel(&house).await).lock(lock_request(7)).await.unwrap();
    let named = lock_in_background(&house, 8).await;
    until(&mut changes, 2, &mut seen).await;
    let nameless = lock_in_background(&house, 0).await;
    until(&mut changes, 3, &mut seen).await;
    named.abort();
    nameless.abort();
    until(&mut changes, 5, &mut seen).await;
    assert_eq!(keys(&house).await, ["l/7"]);
    assert_eq!(house.store.leases().await.unwrap(), [LeaseId(7), LeaseId(8)]);
}

#[tokio::test]
async fn who_waits_while_the_doors_close_is_told_and_leaves_nothing_behind() {
    let house = house().await;
    (7..=8).for_each(|id| grant(&house, id));
    let (mut changes, mut seen) = (everything(&house).await, 0);
    LockClient::new(channel(&house).await).lock(lock_request(7)).await.unwrap();
    let waiting = lock_in_background(&house, 8).await;
    until(&mut changes, 2, &mut seen).await;
    let House { store, doors, .. } = house;
    soon(doors.stop()).await;
    // Either the answer or the end of the connection comes first.
    soon(waiting).await.unwrap().unwrap_err();
    until(&mut changes, 3, &mut seen).await;
    drop(store);
}

#[tokio::test]
async fn history_that_is_compacted_while_waiting_does_not_matter() {
    let house = house().await;
    (7..=8).for_each(|id| grant(&house, id));
    let (mut changes, mut seen) = (everything(&house).await, 0);
    let mut client = LockClient::new(channel(&house).await);
    client.lock(lock_request(7)).await.unwrap();
    let waiting = lock_in_background(&house, 8).await;
    until(&mut changes, 2, &mut seen).await;
    for n in 0..3 {
        let revision = house.store.apply(Op::put("other", format!("{n}"))).position.revision;
        house.store.apply(Op::Compact { space: crate::kv::Space::User, revision });
    }
    client.unlock(lock::UnlockRequest { key: "l/7".into() }).await.unwrap();
    assert_eq!(soon(waiting).await.unwrap().unwrap().key, "l/8");
}

#[tokio::test]
async fn refusals_are_those_of_etcd() {
    let house = house().await;
    let mut locks = LockClient::new(channel(&house).await);
    let mut elections = ElectionClient::new(channel(&house).await);
    let nobody = election::LeaderRequest { name: "nobody".into() };
    let stranger = Some(election::LeaderKey { name: "e".into(), key: "e/7".into(), rev: 99, lease: 0 });
    let cases = [
        (locks.lock(lock_request(77)).await.map(drop), Code::NotFound, "etcdserver: requested lease not found"),
        (
            locks.unlock(lock::UnlockRequest::default()).await.map(drop),
            Code::InvalidArgument,
            "etcdserver: key is not provided",
        ),
        (elections.leader(nobody).await.map(drop), Code::Unknown, "election: no leader"),
        (
            elections.proclaim(election::ProclaimRequest::default()).await.map(drop),
            Code::Unknown,
            "\"leader\" field must be provided",
        ),
        (
            elections.resign(election::ResignRequest::default()).await.map(drop),
            Code::Unknown,
            "\"leader\" field must be provided",
        ),
        (
            elections.proclaim(election::ProclaimRequest { leader: stranger, value: "v".into() }).await.map(drop),
            Code::Unknown,
            "election: not leader",
        ),
    ];
    for (result, code, text) in cases {
        let refusal = result.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (code, text));
    }
    assert!(keys(&house).await.is_empty() && house.store.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_observer_hears_of_each_leader_and_what_it_says() {
    let house = house().await;
    (7..=8).for_each(|id| grant(&house, id));
    let mut client = ElectionClient::new(channel(&house).await);
    let name = election::LeaderRequest { name: "e".into() };
    let mut observed = client.observe(name.clone()).await.unwrap().into_inner();
    let campaign =
        |lease, value: &'static str| election::CampaignRequest { name: "e".into(), lease, value: value.into() };
    let won = soon(client.campaign(campaign(7, "a"))).await.unwrap().into_inner().leader.unwrap();
    assert_eq!((&won.key[..], won.rev, won.lease), (&b"e/7"[..], 2, 7));
    let mut hear = async || {
        let answer = soon(observed.message()).await.unwrap().unwrap();
        let kv = answer.kv.unwrap();
        (answer.header.unwrap().revision, kv.key, kv.value)
    };
    assert_eq!(hear().await, (2, "e/7".into(), "a".into()));
    let says = |leader, value: &'static str| election::ProclaimRequest { leader: Some(leader), value: value.into() };
    client.proclaim(says(won.clone(), "b")).await.unwrap();
    assert_eq!(hear().await, (3, "e/7".into(), "b".into()));
    // Campaigning again under the same lease says something else.
    client.campaign(campaign(7, "c")).await.unwrap();
    assert_eq!(hear().await, (4, "e/7".into(), "c".into()));
    assert_eq!(client.leader(name).await.unwrap().into_inner().kv.unwrap().value, "c");
    let mut other = ElectionClient::new(channel(&house).await);
    let waiting = tokio::spawn(async move { other.campaign(campaign(8, "d")).await });
    while house.store.position().revision < 5 {
        tokio::task::yield_now().await;
    }
    client.resign(election::ResignRequest { leader: Some(won.clone()) }).await.unwrap();
    let next = soon(waiting).await.unwrap().unwrap().into_inner().leader.unwrap();
    assert_eq!((&next.key[..], next.rev), (&b"e/8"[..], 5));
    let (_, key, value) = hear().await;
    assert_eq!((&key[..], &value[..]), (&b"e/8"[..], &b"d"[..]));
    let late = client.proclaim(says(won, "z")).await.unwrap_err();
    assert_eq!(late.message(), "election: not leader");
}

#[tokio::test]
async fn the_gateway_locks_and_elects() {
    let house = house().await;
    grant(&house, 7);
    let cases = [
        ("/v3/lock/lock", r#"{"name":"YQ==","lease":"7"}"#, 200, r#""raft_term":"2"},"key":"YS83"}"#),
        ("/v3beta/lock/unlock", r#"{"key":"YS83"}"#, 200, r#""raft_term":"2"}}"#),
        (
            "/v3/election/campaign",
            r#"{"name":"ZQ==","lease":7,"value":"djE="}"#,
            200,
            r#""leader":{"name":"ZQ==","key":"ZS83","rev":"4","lease":"7"}}"#,
        ),
        (
            "/v3/election/leader",
            r#"{"name":"ZQ=="}"#,
            200,
            r#""kv":{"key":"ZS83","create_revision":"4","mod_revision":"4","version":"1","value":"djE=","lease":"7"}}"#,
        ),
        ("/v3/election/leader", r#"{"name":"enp6"}"#, 500, r#""message":"election: no leader","code":2}"#),
    ];
    for (target, body, status, expected) in cases {
        let (found, answer) = house.ask("POST", target, body).await;
        assert_eq!(found, status, "{target} {body}: {answer}");
        assert!(answer.contains(expected), "{target} {body}: {answer}");
    }
    let mut talk = Talk::to(house.address).await;
    talk.say("POST", "/v3/election/observe", r#"{"name":"ZQ=="}"#).await;
    talk.hear(r#""value":"djE=","lease":"7"}}}"#).await;
}

#[tokio::test]
async fn health_follows_the_leader() {
    let house = house().await;
    let mut client = health::health_client::HealthClient::new(channel(&house).await);
    let whole = health::HealthCheckRequest::default();
    let check = client.check(whole.clone()).await.unwrap().into_inner();
    assert_eq!(check.status(), ServingStatus::Serving);
    let other = health::HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(client.check(other.clone()).await.unwrap_err().code(), Code::NotFound);
    let mut watched = client.watch(whole.clone()).await.unwrap().into_inner();
    let mut hear = async || soon(watched.message()).await.unwrap().map(|answer| answer.status());
    assert_eq!(hear().await, Some(ServingStatus::Serving));
    house.store.lead(None);
    assert_eq!(hear().await, Some(ServingStatus::NotServing));
    assert_eq!(client.check(whole).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    house.store.lead(Some(MEMBER));
    assert_eq!(hear().await, Some(ServingStatus::Serving));
    let mut unknown = client.watch(other).await.unwrap().into_inner();
    assert_eq!(soon(unknown.message()).await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    let closing = tokio::spawn(house.doors.stop());
    assert_eq!(hear().await, Some(ServingStatus::NotServing));
    soon(closing).await.unwrap();
}

/// Many who want the same lock get it one after the other, and nobody twice.
#[tokio::test]
async fn a_lock_has_one_holder_at_a_time() {
    const CONTENDERS: i64 = 30;
    let house = house().await;
    (1..=CONTENDERS).for_each(|id| grant(&house, id));
    let channel = channel(&house).await;
    let holders = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (1..=CONTENDERS)
        .map(|id| {
            let (mut client, holders) = (LockClient::new(channel.clone()), holders.clone());
            tokio::spawn(async move {
                let held = client.lock(lock_request(id)).await.unwrap().into_inner();
                assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                tokio::time::sleep(Duration::from_millis(1)).await;
                holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                client.unlock(lock::UnlockRequest { key: held.key }).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        soon(task).await.unwrap();
    }
    assert!(keys(&house).await.is_empty());
}
