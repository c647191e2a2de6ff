//! The v3 API over a real connection: gRPC through the generated clients, and the JSON gateway.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use crate::api::test_store::{House, MEMBER, Talk, house, soon};
use crate::base::LeaseId;
use crate::kv::{Op, Space, is_v2_lease};
use crate::wire::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

async fn channel(house: &House) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", house.address)).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn key(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

#[tokio::test]
async fn puts_and_ranges_carry_revisions() {
    let house = house().await;
    let mut kv = KvClient::new(channel(&house).await);
    let header = kv.put(put("a", "1")).await.unwrap().into_inner().header.unwrap();
    assert_eq!((header.revision, header.raft_term, header.member_id), (2, 2, MEMBER.0));
    let replaced = kv.put(pb::PutRequest { prev_kv: true, ..put("a", "2") }).await.unwrap().into_inner();
    assert_eq!(replaced.prev_kv.unwrap().value, "1");
    let found = kv.range(key("a")).await.unwrap().into_inner();
    assert_eq!((found.count, found.kvs[0].mod_revision, found.kvs[0].version), (1, 3, 2));
    let gone = pb::DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: true };
    assert_eq!(kv.delete_range(gone).await.unwrap().into_inner().prev_kvs.len(), 1);
}

#[tokio::test]
async fn transactions_answer_each_operation() {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    use pb::request_op::Request as Op;
    let house = house().await;
    let mut kv = KvClient::new(channel(&house).await);
    let op = |op| pb::RequestOp { request: Some(op) };
    let request = pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Create.into(),
            key: "a".into(),
            target_union: Some(TargetUnion::CreateRevision(0)),
            ..Default::default()
        }],
        success: vec![op(Op::RequestPut(put("a", "1"))), op(Op::RequestRange(key("a")))],
        failure: vec![],
    };
    let first = kv.txn(request.clone()).await.unwrap().into_inner();
    assert!(first.succeeded && first.responses.len() == 2);
    let second = kv.txn(request).await.unwrap().into_inner();
    assert!(!second.succeeded && second.responses.is_empty());
    let empty = pb::TxnRequest { success: vec![pb::RequestOp::default()], ..Default::default() };
    let refusal = kv.txn(empty).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::InvalidArgument, "etcdserver: key not found"));
}

/// As etcd 3.4 answers the same requests: a range before the first change shows the revision before it.
#[tokio::test]
async fn each_answer_of_a_transaction_carries_the_revision_that_it_saw() {
    let house = house().await;
    house.store.apply(Op::put("a", "1"));
    let gets = r#"{"request_range":{"key":"YQ=="}}"#;
    let puts = r#"{"request_put":{"key":"YQ==","value":"Mg=="}}"#;
    let none = r#"{"request_delete_range":{"key":"enp6"}}"#;
    let within = r#"{"request_txn":{"success":[{"request_range":{"key":"enp6"}}]}}"#;
    let ask = async |ops: String| house.ask("POST", "/v3/kv/txn", &format!(r#"{{"success":[{ops}]}}"#)).await.1;
    let changed = ask(format!("{gets},{puts},{none},{within}")).await;
    let expected = [
        r#"{"response_range":{"header":{"revision":"2"}"#,
        r#"{"response_put":{"header":{"revision":"3"}}}"#,
        r#"{"response_delete_range":{"header":{"revision":"3"}}}"#,
        r#"{"response_txn":{"header":{},"succeeded":true,"responses":[{"response_range":{"header":{"revision":"3"}}}]}}"#,
    ];
    for part in expected {
        assert!(changed.contains(part), "{part}: {changed}");
    }
    let unchanged = ask(format!("{none},{gets}")).await;
    for part in
        [r#"{"response_delete_range":{"header":{"revision":"3"}}}"#, r#"{"response_range":{"header":{"revision":"3"}"#]
    {
        assert!(unchanged.contains(part), "{part}: {unchanged}");
    }
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_words() {
    let house = house().await;
    let mut kv = KvClient::new(channel(&house).await);
    kv.put(put("a", "1")).await.unwrap();
    let future = pb::RangeRequest { revision: 99, ..key("a") };
    let unsorted = pb::RangeRequest { sort_order: 7, ..key("a") };
    let leased = pb::PutRequest { lease: 77, ..put("a", "1") };
    let large = pb::PutRequest { key: "a".into(), value: Bytes::from(vec![0; 1_600_000]), ..Default::default() };
    let cases = [
        (kv.range(key("")).await.map(drop), Code::InvalidArgument, "key is not provided"),
        (kv.range(future).await.map(drop), Code::OutOfRange, "mvcc: required revision is a future revision"),
        (kv.range(unsorted).await.map(drop), Code::InvalidArgument, "invalid sort option"),
        (kv.put(leased).await.map(drop), Code::NotFound, "requested lease not found"),
        (kv.put(large).await.map(drop), Code::InvalidArgument, "request is too large"),
    ];
    for (result, code, text) in cases {
        let refusal = result.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (code, &*format!("etcdserver: {text}")));
    }
    let over = pb::PutRequest { key: "a".into(), value: Bytes::from(vec![0; 3 << 20]), ..Default::default() };
    assert!(kv.put(over).await.is_err());
}

#[tokio::test]
async fn maintenance_is_answered_in_etcds_words() {
    let house = house().await;
    let mut care = MaintenanceClient::new(channel(&house).await);
    let status = care.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.db_size, &*status.storage_version, status.is_learner), (20_480, "3.5.0", false));
    care.defragment(pb::DefragmentRequest {}).await.unwrap();
    assert!(care.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms.is_empty());
    house.store.apply(Op::put("a", "1"));
    let keys = |revision| pb::HashKvRequest { revision };
    let newest = care.hash_kv(keys(0)).await.unwrap().into_inner();
    assert_eq!((newest.compact_revision, newest.hash_revision), (-1, 2));
    assert_eq!(care.hash_kv(keys(2)).await.unwrap().into_inner().hash, newest.hash);
    assert_ne!(care.hash_kv(keys(1)).await.unwrap().into_inner().hash, newest.hash);
    assert_ne!(care.hash(pb::HashRequest {}).await.unwrap().into_inner().hash, 0);
    let target = |target_id| pb::MoveLeaderRequest { target_id };
    care.move_leader(target(MEMBER.0)).await.unwrap();
    let stranger = care.move_leader(target(7)).await;
    house.store.lead(None);
    let moved = care.move_leader(target(7)).await;
    let downgrade = |action, version: &str| pb::DowngradeRequest { action, version: version.to_owned() };
    let cases = [
        (care.hash_kv(keys(9)).await.map(drop), Code::OutOfRange, "mvcc: required revision is a future revision"),
        (stranger.map(drop), Code::FailedPrecondition, "bad leader transferee"),
        (moved.map(drop), Code::FailedPrecondition, "not leader"),
        (
            care.downgrade(downgrade(0, "3.4")).await.map(drop),
            Code::InvalidArgument,
            "invalid downgrade target version",
        ),
        (
            care.downgrade(downgrade(1, "x")).await.map(drop),
            Code::InvalidArgument,
            "wrong downgrade target version format",
        ),
        (care.downgrade(downgrade(2, "")).await.map(drop), Code::FailedPrecondition, "no inflight downgrade job"),
    ];
    for (result, code, text) in cases {
        let refusal = result.unwrap_err();
        assert_eq!((refusal.code(), refusal.message()), (code, &*format!("etcdserver: {text}")));
    }
}

#[tokio::test]
async fn a_snapshot_is_sent_in_pieces_and_sealed() {
    use crate::wire::seal::Sealed;
    use std::io::Read as _;
    let house = house().await;
    let mut care = MaintenanceClient::new(channel(&house).await);
    let pieces = care.snapshot(pb::SnapshotRequest {}).await.unwrap().into_inner();
    let pieces: Vec<_> = soon(pieces.map(Result::unwrap).collect()).await;
    let left: Vec<u64> = pieces.iter().map(|piece| piece.remaining_bytes).collect();
    assert_eq!(left, [512 + 32 - 7, 512 + 32 - 21, 0]);
    let file: Vec<u8> = pieces.iter().flat_map(|piece| piece.blob.clone()).collect();
    let mut sealed = Sealed::new(&file[..], file.len() as u64).unwrap();
    let mut content = [0; 21];
    sealed.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"a state of one moment");
    sealed.end().unwrap();
    let (code, answer) = house.ask("POST", "/v3/maintenance/snapshot", "{}").await;
    assert_eq!((code, answer.matches(r#"{"result":{"header""#).count()), (200, 3), "{answer}");
    let (code, answer) = house.ask("POST", "/v3/maintenance/transfer-leadership", r#"{"targetID":"7"}"#).await;
    assert!(code == 400 && answer.contains("etcdserver: bad leader transferee"), "{answer}");
}

#[tokio::test]
async fn without_a_leader_reads_of_the_own_state_go_on_unless_a_leader_is_required() {
    let house = house().await;
    let mut kv = KvClient::new(channel(&house).await);
    house.store.lead(None);
    let local = pb::RangeRequest { serializable: true, ..key("a") };
    kv.range(local.clone()).await.unwrap();
    let refusal = kv.range(key("a")).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut strict = Request::new(local);
    strict.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let refusal = kv.range(strict).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut care = MaintenanceClient::new(channel(&house).await);
    let status = care.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.errors), (0, vec!["etcdserver: no leader".to_owned()]));
}

#[tokio::test]
async fn leases_are_granted_within_bounds_and_kept_alive() {
    let house = house().await;
    let mut lease = LeaseClient::new(channel(&house).await);
    let granted = lease.lease_grant(pb::LeaseGrantRequest { ttl: 1, id: 0 }).await.unwrap().into_inner();
    assert!(granted.id > 0 && granted.ttl == 2);
    assert!(!is_v2_lease(LeaseId(granted.id)));
    let taken = lease.lease_grant(pb::LeaseGrantRequest { ttl: 5, id: granted.id }).await.unwrap_err();
    assert_eq!(taken.code(), Code::FailedPrecondition);
    let long = lease.lease_grant(pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await.unwrap_err();
    assert_eq!((long.code(), long.message()), (Code::OutOfRange, "etcdserver: too large lease TTL"));
    let asked = [granted.id, 4711].map(|id| pb::LeaseKeepAliveRequest { id });
    let alive = lease.lease_keep_alive(futures_util::stream::iter(asked)).await.unwrap().into_inner();
    let ttls: Vec<i64> = soon(alive.map(|answer| answer.unwrap().ttl).collect()).await;
    assert_eq!(ttls, [2, 0]);
    let mut kv = KvClient::new(channel(&house).await);
    kv.put(pb::PutRequest { lease: granted.id, ..put("l", "1") }).await.unwrap();
    let asked = pb::LeaseTimeToLiveRequest { id: granted.id, keys: true };
    let found = lease.lease_time_to_live(asked).await.unwrap().into_inner();
    assert_eq!((found.granted_ttl, found.keys), (2, vec![Bytes::from("l")]));
    let unknown = pb::LeaseTimeToLiveRequest { id: 4711, keys: false };
    assert_eq!(lease.lease_time_to_live(unknown).await.unwrap().into_inner().ttl, -1);
    lease.lease_revoke(pb::LeaseRevokeRequest { id: granted.id }).await.unwrap();
    assert!(kv.range(key("l")).await.unwrap().into_inner().kvs.is_empty());
    let gone = lease.lease_revoke(pb::LeaseRevokeRequest { id: granted.id }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

/// A watch stream and the way to speak on it.
struct Watched {
    asks: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watched {
    async fn open(house: &House, leader_required: bool) -> Self {
        let (asks, queue) = mpsc::channel(8);
        let queue = futures_util::stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
        let mut request = Request::new(queue);
        if leader_required {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        }
        let mut client = WatchClient::new(channel(house).await);
        let answers = soon(client.watch(request)).await.unwrap().into_inner();
        Self { asks, answers }
    }

    async fn ask(&self, request: RequestUnion) {
        self.asks.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(create)).await;
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        answer
    }

    async fn next(&mut self) -> pb::WatchResponse {
        soon(self.answers.message()).await.unwrap().unwrap()
    }
}

fn all() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

#[tokio::test]
async fn one_stream_carries_many_watches() {
    let house = house().await;
    let mut watched = Watched::open(&house, false).await;
    let first = watched.create(pb::WatchCreateRequest { prev_kv: true, ..all() }).await;
    assert_eq!((first.watch_id, first.header.unwrap().revision), (0, 1));
    let named = watched.create(pb::WatchCreateRequest { watch_id: 9, filters: vec![0], ..all() }).await;
    assert_eq!(named.watch_id, 9);
    let twice = watched.create(pb::WatchCreateRequest { watch_id: 9, ..all() }).await;
    assert_eq!((twice.watch_id, twice.canceled), (-1, true));
    let negative = watched.create(pb::WatchCreateRequest { start_revision: -1, ..all() }).await;
    assert_eq!((negative.watch_id, negative.canceled), (-1, true));

    house.store.apply(Op::put("a", "1"));
    let event = watched.next().await;
    assert_eq!((event.watch_id, event.events.len(), event.header.unwrap().revision), (0, 1, 2));

    watched.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let progress = watched.next().await;
    assert_eq!((progress.watch_id, progress.header.unwrap().revision), (-1, 2));

    watched.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 })).await;
    let ended = watched.next().await;
    assert_eq!((ended.watch_id, ended.canceled), (0, true));

    let delete = crate::kv::DeleteRangeRequest { key: "a".into(), ..Default::default() };
    house.store.apply(Op::DeleteRange(delete));
    let event = watched.next().await;
    assert_eq!((event.watch_id, event.events[0].r#type, event.events[0].prev_kv.is_none()), (9, 1, true));
}

#[tokio::test]
async fn a_silent_watch_tells_how_far_it_is_if_asked_for() {
    let house = house().await;
    let mut watched = Watched::open(&house, false).await;
    watched.create(pb::WatchCreateRequest { progress_notify: true, ..all() }).await;
    let notice = watched.next().await;
    assert_eq!((notice.watch_id, notice.events.len(), notice.header.unwrap().revision), (0, 0, 1));
    let deleted = crate::kv::DeleteRangeRequest { key: "absent".into(), ..Default::default() };
    house.store.apply(Op::DeleteRange(deleted));
    assert!(watched.next().await.events.is_empty());
}

#[tokio::test]
async fn a_watch_of_the_past_tells_all_of_it_or_that_it_is_gone() {
    let house = house().await;
    for value in ["1", "2", "3"] {
        house.store.apply(Op::put("a", value));
    }
    let mut watched = Watched::open(&house, false).await;
    watched.create(pb::WatchCreateRequest { start_revision: 3, ..all() }).await;
    let past = watched.next().await;
    assert_eq!(past.events.iter().map(|event| event.kv.clone().unwrap().mod_revision).collect::<Vec<_>>(), [3, 4]);
    house.store.apply(Op::Compact { space: Space::User, revision: 4 });
    watched.create(pb::WatchCreateRequest { start_revision: 2, ..all() }).await;
    let gone = watched.next().await;
    assert_eq!((gone.canceled, gone.compact_revision, gone.header.unwrap().revision), (true, 4, 0));
    watched.create(pb::WatchCreateRequest { start_revision: 6, ..all() }).await;
    house.store.apply(Op::put("a", "4"));
    assert_eq!(watched.next().await.watch_id, 0);
    house.store.apply(Op::put("a", "5"));
    let (one, other) = (watched.next().await, watched.next().await);
    assert_eq!(one.watch_id.min(other.watch_id), 0);
    assert_eq!(one.watch_id.max(other.watch_id), 2);
}

#[tokio::test]
async fn large_answers_come_in_marked_fragments_if_asked_for() {
    let house = house().await;
    let value = Bytes::from(vec![7; 700_000]);
    let ops = ["a", "b", "c", "d", "e"].map(|key| {
        let value = value.clone();
        crate::kv::TxnOp::Put(crate::kv::PutRequest { key: key.into(), value, ..Default::default() })
    });
    house.store.apply(Op::Txn(crate::kv::TxnRequest { success: ops.into(), ..Default::default() }));
    let mut watched = Watched::open(&house, false).await;
    watched.create(pb::WatchCreateRequest { start_revision: 2, fragment: true, ..all() }).await;
    let mut sizes = Vec::new();
    loop {
        let piece = watched.next().await;
        sizes.push(piece.events.len());
        if !piece.fragment {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn streams_end_when_the_doors_close() {
    let house = house().await;
    let mut watched = Watched::open(&house, true).await;
    watched.create(all()).await;
    soon(house.doors.stop()).await;
    assert_eq!(soon(watched.answers.message()).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_stream_that_requires_a_leader_ends_without_one() {
    let house = house().await;
    let mut watched = Watched::open(&house, true).await;
    watched.create(all()).await;
    house.store.lead(None);
    let end = soon(watched.answers.message()).await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test]
async fn the_gateway_speaks_json() {
    let house = house().await;
    let cases = [
        ("POST", "/v3/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#, 200, r#""revision":"2","raft_term":"2"}}"#),
        (
            "POST",
            "/v3beta/kv/range",
            r#"{"key":"YQ==","rangeEnd":"Yg==","sort_order":"DESCEND","limit":5}"#,
            200,
            r#""kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1","value":"MQ=="}],"count":"1"}"#,
        ),
        (
            "POST",
            "/v3/kv/txn",
            r#"{"compare":[{"key":"YQ==","target":"VALUE","value":"MQ=="}],"success":[{"request_delete_range":{"key":"YQ=="}}]}"#,
            200,
            r#""succeeded":true,"responses":[{"response_delete_range":{"header":{"revision":"3"},"deleted":"1"}}]}"#,
        ),
        ("POST", "/v3/lease/grant", r#"{"TTL":"60","ID":"7"}"#, 200, r#""ID":"7","TTL":"60"}"#),
        ("POST", "/v3/lease/keepalive", r#"{"ID":7}"#, 200, r#"{"result":{"header":"#),
        (
            "POST",
            "/v3/kv/range",
            r#"{"key":""}"#,
            400,
            r#"{"error":"etcdserver: key is not provided","message":"etcdserver: key is not provided","code":3}"#,
        ),
        ("POST", "/v3/kv/range", "{", 400, r#""code":3}"#),
        ("POST", "/v3/kv/range", r#"{"key":7}"#, 400, r#""code":3}"#),
        (
            "POST",
            "/v3/maintenance/alarm",
            r#"{"action":"ACTIVATE","memberID":"7","alarm":"NOSPACE"}"#,
            200,
            r#""alarms":[{"memberID":"7","alarm":"NOSPACE"}]"#,
        ),
        ("GET", "/v3/kv/range", "", 405, "Method Not Allowed"),
        ("POST", "/v3/nope", "{}", 404, "404 page not found"),
    ];
    for (method, target, body, status, expected) in cases {
        let (found, answer) = house.ask(method, target, body).await;
        assert_eq!(found, status, "{target} {body}: {answer}");
        assert!(answer.contains(expected), "{target} {body}: {answer}");
    }
}

#[tokio::test]
async fn the_gateway_watches_line_by_line() {
    let house = house().await;
    let mut talk = Talk::to(house.address).await;
    talk.say("POST", "/v3/watch", r#"{"create_request":{"key":"YQ==","start_revision":"2"}}"#).await;
    talk.hear("\"created\":true}}\n").await;
    house.store.apply(Op::put("a", "1"));
    talk.hear(
        r#""events":[{"kv":{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1","value":"MQ=="}}]}}"#,
    )
    .await;
}

/// A client that sends nothing holds nobody up.
#[tokio::test]
async fn silent_connections_do_not_delay_the_close() {
    let house = house().await;
    let _silent = Talk::to(house.address).await;
    house.ask("GET", "/version", "").await;
    let begun = std::time::Instant::now();
    soon(house.doors.stop()).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(4));
}

/// What `grpcurl list` and `grpcurl describe` ask, in both versions of the protocol.
#[tokio::test]
async fn reflection_tells_of_every_service() {
    use tonic_reflection::pb::{v1, v1alpha};
    let house = house().await;
    let services = [
        "etcdserverpb.Auth",
        "etcdserverpb.Cluster",
        "etcdserverpb.KV",
        "etcdserverpb.Lease",
        "etcdserverpb.Maintenance",
        "etcdserverpb.Watch",
        "grpc.health.v1.Health",
        "v3electionpb.Election",
        "v3lockpb.Lock",
    ];
    macro_rules! ask {
        ($version:ident, $question:expr) => {{
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let mut client = $version::server_reflection_client::ServerReflectionClient::new(channel(&house).await);
            let request = $version::ServerReflectionRequest { message_request: Some($question), ..Default::default() };
            let _: &MessageRequest = request.message_request.as_ref().unwrap();
            let answers = client.server_reflection_info(futures_util::stream::iter([request])).await.unwrap();
            let answer: MessageResponse =
                soon(answers.into_inner().message()).await.unwrap().unwrap().message_response.unwrap();
            answer
        }};
    }
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) =
        ask!(v1, v1::server_reflection_request::MessageRequest::ListServices(String::new()))
    else {
        panic!("no list")
    };
    let named: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(services.iter().all(|service| named.contains(service)), "{named:?}");
    let symbol = "etcdserverpb.RangeRequest".to_owned();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(found) =
        ask!(v1alpha, v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol))
    else {
        panic!("no descriptor")
    };
    let file = &found.file_descriptor_proto[0];
    let text = b"min_create_revision";
    assert!(file.windows(text.len()).any(|part| part == text));
}

#[test]
fn calls_whose_requests_are_a_stream_are_known() {
    let described = protox::prost_reflect::DescriptorPool::decode(crate::wire::DESCRIPTORS).unwrap();
    let mut streams = 0;
    for service in described.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            assert_eq!(super::takes_stream(&path), method.is_client_streaming(), "{path}");
            streams += usize::from(method.is_client_streaming());
        }
    }
    assert_eq!(streams, 2);
    for version in ["v1", "v1alpha"] {
        assert!(super::takes_stream(&format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")));
    }
}
