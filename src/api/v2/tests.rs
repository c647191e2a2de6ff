//! The v2 API over a real connection, against what etcd 3.4 answers.

#![allow(clippy::unwrap_used)]

use crate::api::test_store::{Talk, house, soon};
use crate::base::LeaseId;
use crate::kv::{Op, PutRequest, Space};

/// Request, status, and the body that etcd sends.
#[tokio::test]
async fn keys_answer_as_etcd_does() {
    let house = house().await;
    let cases = [
        ("GET", "/v2/keys/", "", 200, r#"{"action":"get","node":{"dir":true}}"#),
        (
            "PUT",
            "/v2/keys/a",
            "value=%3Cx%3E%26y",
            201,
            r#"{"action":"set","node":{"key":"/a","value":"\u003cx\u003e\u0026y","modifiedIndex":4,"createdIndex":4}}"#,
        ),
        (
            "PUT",
            "/v2/keys/a?value=q",
            "value=2",
            200,
            r#"{"action":"set","node":{"key":"/a","value":"2","modifiedIndex":5,"createdIndex":5},"prevNode":{"key":"/a","value":"\u003cx\u003e\u0026y","modifiedIndex":4,"createdIndex":4}}"#,
        ),
        (
            "PUT",
            "/v2/keys/a",
            "value=3&prevValue=1",
            412,
            r#"{"errorCode":101,"message":"Compare failed","cause":"[1 != 2]","index":5}"#,
        ),
        (
            "PUT",
            "/v2/keys/a",
            "value=3&prevExist=false",
            412,
            r#"{"errorCode":105,"message":"Key already exists","cause":"/a","index":5}"#,
        ),
        (
            "PUT",
            "/v2/keys/t",
            "value=1&ttl=100",
            201,
            r#"{"action":"set","node":{"key":"/t","value":"1","expiration":"2026-11-21T01:05:00Z","ttl":100,"modifiedIndex":6,"createdIndex":6}}"#,
        ),
        (
            "PUT",
            "/v2/keys/t",
            "ttl=200&refresh=true&prevExist=true",
            200,
            r#"{"action":"update","node":{"key":"/t","value":"1","expiration":"2026-11-21T01:06:40Z","ttl":200,"modifiedIndex":7,"createdIndex":6},"prevNode":{"key":"/t","value":"1","expiration":"2026-11-21T01:05:00Z","ttl":100,"modifiedIndex":6,"createdIndex":6}}"#,
        ),
        (
            "POST",
            "/v2/keys/q",
            "value=1",
            201,
            r#"{"action":"create","node":{"key":"/q/00000000000000000008","value":"1","modifiedIndex":8,"createdIndex":8}}"#,
        ),
        ("DELETE", "/v2/keys/q", "", 403, r#"{"errorCode":102,"message":"Not a file","cause":"/q","index":8}"#),
        (
            "DELETE",
            "/v2/keys/q?recursive=true",
            "",
            200,
            r#"{"action":"delete","node":{"key":"/q","dir":true,"modifiedIndex":9,"createdIndex":8},"prevNode":{"key":"/q","dir":true,"modifiedIndex":8,"createdIndex":8}}"#,
        ),
        ("PUT", "/v2/keys/n?noValueOnSuccess=true", "value=1", 201, r#"{"action":"set"}"#),
        (
            "PUT",
            "/v2/keys/",
            "value=1",
            400,
            r#"{"errorCode":107,"message":"Root is read only","cause":"/","index":10}"#,
        ),
        ("GET", "/v2/keys/a%2Fb", "", 400, r#"{"errorCode":104,"message":"Not a directory","cause":"/a","index":10}"#),
        (
            "GET",
            "/v2/keys/a?quorum=",
            "",
            400,
            r#"{"errorCode":209,"message":"Invalid field","cause":"invalid value for \"quorum\"","index":0}"#,
        ),
        (
            "PUT",
            "/v2/keys/a",
            "v=%zz",
            400,
            r#"{"errorCode":210,"message":"Invalid POST form","cause":"invalid URL escape \"%zz\"","index":0}"#,
        ),
    ];
    for (method, target, body, status, expected) in cases {
        let (found, answer) = house.ask(method, target, body).await;
        assert_eq!(found, status, "{method} {target} {body}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, format!("{expected}\n"), "{method} {target}");
        assert!(head.contains("X-Etcd-Cluster-Id: cdf818194e3a8c32"), "{head}");
        assert!(head.contains("Access-Control-Allow-Origin: *"), "{head}");
        assert_eq!(head.contains("X-Raft-Index: "), status < 300, "{head}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_answer_as_etcd_does() {
    let house = house().await;
    let cases = [
        ("PATCH", "/v2/keys/a", 405, "Allow: HEAD,GET,PUT,POST,DELETE"),
        ("GET", "/v2/keys//a/../b?x=1", 301, "Location: /v2/keys/b?x=1"),
        ("GET", "/v2/keysfoo", 404, "404 page not found\n"),
        ("OPTIONS", "/anything", 200, "Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE"),
        ("GET", "/v2/machines", 200, "\r\n\r\nhttp://localhost:2379"),
        ("GET", "/v2/members", 200, "{\"members\":[{\"id\":\"8e9e05c52164694d\",\"name\":\"default\","),
        ("GET", "/v2/members/leader", 200, "{\"id\":\"8e9e05c52164694d\""),
        ("GET", "/v2/members/ffff", 404, "{\"message\":\"Not found\"}"),
        ("GET", "/v2/stats/leader", 200, "{\"leader\":\"8e9e05c52164694d\",\"followers\":{}}"),
        ("GET", "/v2/stats/store", 200, "\"getsSuccess\":0"),
        ("GET", "/health", 200, "{\"health\":\"true\",\"reason\":\"\"}"),
        ("GET", "/version", 200, "{\"etcdserver\":\"3.5.21\",\"etcdcluster\":\"3.5.0\"}"),
        ("GET", "/metrics", 200, "\netcd_server_has_leader 1\n"),
        ("GET", "/metrics", 200, "\netcd_server_leader_changes_seen_total 1\n"),
        ("GET", "/metrics", 200, "\nprocess_resident_memory_bytes "),
        ("GET", "/livez", 200, "\r\n\r\nok\n"),
        ("GET", "/readyz?verbose", 200, "[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"),
        ("GET", "/readyz?verbose&exclude=non_learner", 200, "[+]non_learner excluded: ok\nok\n"),
        ("GET", "/readyz/data_corruption", 200, "ok\n"),
        ("GET", "/livez/linearizable_read", 404, "404 page not found\n"),
        ("POST", "/version", 405, "Allow: GET"),
    ];
    for (method, target, status, expected) in cases {
        let (found, answer) = house.ask(method, target, "").await;
        assert_eq!(found, status, "{method} {target}: {answer}");
        assert!(answer.contains(expected), "{method} {target}: {answer}");
    }
    house.store.lead(None);
    let cases = [
        ("GET", "/health", 503, "\"health\":\"false\""),
        ("GET", "/livez", 200, "ok\n"),
        ("GET", "/readyz", 503, "[-]linearizable_read failed: RAFT NO LEADER\n"),
        ("GET", "/v2/members/leader", 503, "{\"message\":\"During election\"}"),
        ("PUT", "/v2/keys/a", 500, "\"errorCode\":301,\"message\":\"During Leader Election\""),
        ("GET", "/v2/keys/a", 404, "\"errorCode\":100"),
    ];
    for (method, target, status, expected) in cases {
        let (found, answer) = house.ask(method, target, "").await;
        assert_eq!(found, status, "{method} {target}: {answer}");
        assert!(answer.contains(expected), "{method} {target}: {answer}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_refused() {
    let house = house().await;
    let mut talk = Talk::to(house.address).await;
    let head = "PUT /v2/keys/a HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 99999999999\r\n\r\nvalue=";
    soon(tokio::io::AsyncWriteExt::write_all(&mut talk.stream, head.as_bytes())).await.unwrap();
    talk.hear("http: POST too large").await;
}

#[tokio::test]
async fn a_long_poll_sends_its_headers_at_once_and_then_the_event() {
    let house = house().await;
    let mut poll = Talk::to(house.address).await;
    poll.say("GET", "/v2/keys/d?wait=true&recursive=true", "").await;
    poll.hear("X-Etcd-Index: 3\r\n").await;
    house.ask("PUT", "/v2/keys/other", "value=1").await;
    house.ask("PUT", "/v2/keys/d/_hidden", "value=1").await;
    house.ask("PUT", "/v2/keys/d/x", "value=2").await;
    let answer = poll.rest().await;
    let event = r#"{"action":"set","node":{"key":"/d/x","value":"2","modifiedIndex":6,"createdIndex":6}}"#;
    assert!(answer.contains(event), "{answer}");
    assert_eq!(answer.matches("action").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_stream_tells_the_past_and_then_the_present_until_the_doors_close() {
    let house = house().await;
    house.ask("PUT", "/v2/keys/a", "value=1").await;
    house.ask("PUT", "/v2/keys/a", "value=2").await;
    let mut poll = Talk::to(house.address).await;
    poll.say("GET", "/v2/keys/a?wait=true&stream=true&waitIndex=4", "").await;
    poll.hear("\"value\":\"2\"").await;
    house.store.apply(Op::Put(PutRequest {
        space: Space::User,
        key: "/a".into(),
        value: "v3".into(),
        lease: LeaseId::NONE,
        ..PutRequest::default()
    }));
    poll.hear("\"value\":\"v3\"").await;
    soon(house.doors.stop()).await;
    let answer = poll.rest().await;
    assert_eq!(answer.matches("\"action\":\"set\"").count(), 3, "{answer}");
}

#[tokio::test]
async fn history_that_is_gone_is_told_with_its_oldest_index() {
    let house = house().await;
    for value in 0..5 {
        house.ask("PUT", "/v2/keys/a", &format!("value={value}")).await;
    }
    house.store.apply(Op::Compact { space: Space::User, revision: 5 });
    let (status, answer) = house.ask("GET", "/v2/keys/a?wait=true&waitIndex=4", "").await;
    assert_eq!(status, 400, "{answer}");
    let expected = "\"errorCode\":401,\"message\":\"The event in requested index is outdated and cleared\",\
                    \"cause\":\"the requested history has been cleared [7/4]\",\"index\":8}";
    assert!(answer.contains(expected), "{answer}");
}

#[tokio::test]
async fn expiry_is_an_event() {
    let house = house().await;
    house.ask("PUT", "/v2/keys/t", "value=1&ttl=5").await;
    let mut poll = Talk::to(house.address).await;
    poll.say("GET", "/v2/keys/t?wait=true", "").await;
    poll.hear("\r\n\r\n").await;
    house.clock.now.fetch_add(6_000, std::sync::atomic::Ordering::Relaxed);
    house.store.expire_v2(crate::base::Clock::now(&*house.clock));
    assert!(poll.rest().await.contains("\"action\":\"expire\""));
}
