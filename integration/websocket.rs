//! Websockets on the JSON gateway's streams, by a published client: against etcd and against ours, message by message.

#![allow(clippy::unwrap_used)]

#[path = "common/member.rs"]
mod member;

use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use member::{ETCD, ETCDCTL, Server, compare, original, ours};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const WITHIN: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(server: &Server, path: &str, protocol: Option<&str>) -> Socket {
    let url = format!("{}{path}", server.client.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    tokio::time::timeout(WITHIN, connect_async(request)).await.unwrap().unwrap().0
}

async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
}

/// The next message without what differs between clusters; `end` where there is none.
async fn hear(socket: &mut Socket) -> String {
    let next = tokio::time::timeout(WITHIN, socket.next()).await.expect("no message in time");
    let Some(Ok(Message::Text(text))) = next else { return "end".to_owned() };
    assert!(!text.ends_with('\n'), "{text:?}");
    let mut value: Value = serde_json::from_str(&text).unwrap();
    if let Some(header) = value["result"]["header"].as_object_mut() {
        header.remove("cluster_id");
        header.remove("member_id");
        header.remove("raft_term");
    }
    if value["error"].is_object() {
        // The gateways of etcd's versions tell errors in different ways; the text is the same.
        value = value["error"]["message"].clone();
    }
    value.to_string()
}

async fn ctl(server: &Server, words: &[&str]) {
    let (said, code) = server.say(Path::new(ETCDCTL), words, "");
    assert_eq!(code, Some(0), "{words:?}: {said}");
}

/// What is heard, in order.
async fn conversation(server: &Server) -> Vec<String> {
    let mut heard = Vec::new();
    let mut watch = open(server, "/v3/watch", None).await;
    // Keys in base64: `a`, and all that begin with `d`.
    say(&mut watch, r#"{"create_request":{"key":"YQ=="}}"#).await;
    heard.push(hear(&mut watch).await);
    ctl(server, &["put", "a", "1"]).await;
    heard.push(hear(&mut watch).await);
    say(&mut watch, r#"{"create_request":{"key":"ZA==","range_end":"ZQ==","prev_kv":true}}"#).await;
    heard.push(hear(&mut watch).await);
    ctl(server, &["put", "dir", "1"]).await;
    heard.push(hear(&mut watch).await);
    ctl(server, &["del", "dir"]).await;
    heard.push(hear(&mut watch).await);
    say(&mut watch, r#"{"cancel_request":{"watch_id":"0"}}"#).await;
    heard.push(hear(&mut watch).await);
    ctl(server, &["put", "a", "2"]).await;
    ctl(server, &["put", "dir", "2"]).await;
    heard.push(hear(&mut watch).await);
    watch.close(None).await.unwrap();

    let mut past = open(server, "/v3/watch", None).await;
    say(&mut past, r#"{"create_request":{"key":"YQ==","start_revision":"2"}}"#).await;
    heard.extend([hear(&mut past).await, hear(&mut past).await]);
    past.close(None).await.unwrap();

    let mut grant = open(server, "/v3/lease/grant", None).await;
    say(&mut grant, r#"{"TTL":"600","ID":"4660"}"#).await;
    let granted = tokio::time::timeout(WITHIN, grant.next()).await.unwrap().unwrap().unwrap();
    assert!(granted.to_string().contains(r#""ID":"4660""#), "{granted}");
    let mut alive = open(server, "/v3/lease/keepalive", None).await;
    for _ in 0..2 {
        say(&mut alive, r#"{"ID":"4660"}"#).await;
        heard.push(hear(&mut alive).await);
    }
    alive.close(None).await.unwrap();
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_message_by_message_as_by_etcd() {
    if !original() {
        return;
    }
    let (_folder, link) = ours();
    let theirs = Server::start(Path::new(ETCD), &[]);
    let expected = conversation(&theirs).await;
    drop(theirs);
    let node = Server::start(&link, &[]);
    compare(&expected, &conversation(&node).await);
    assert!(expected.iter().any(|message| message.contains("prev_kv")), "{expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_brings_its_token_as_a_subprotocol() {
    if !original() {
        return;
    }
    let (_folder, link) = ours();
    let node = Server::start(&link, &["--bcrypt-cost", "4"]);
    for words in ["user add root:r", "role add root", "user grant-role root root", "auth enable"] {
        ctl(&node, &words.split(' ').collect::<Vec<_>>()).await;
    }
    let mut nobody = open(&node, "/v3/watch", None).await;
    say(&mut nobody, r#"{"create_request":{"key":"YQ=="}}"#).await;
    let refused = hear(&mut nobody).await;
    assert!(refused.contains("user name is empty") || refused.contains("permission denied"), "{refused}");

    let mut door = open(&node, "/v3/auth/authenticate", None).await;
    say(&mut door, r#"{"name":"root","password":"r"}"#).await;
    let answer = tokio::time::timeout(WITHIN, door.next()).await.unwrap().unwrap().unwrap();
    let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
    let protocol = format!("Bearer, {}", answer["token"].as_str().unwrap());
    let mut watch = open(&node, "/v3/watch", Some(&protocol)).await;
    say(&mut watch, r#"{"create_request":{"key":"YQ=="}}"#).await;
    assert!(hear(&mut watch).await.contains(r#""created":true"#));
    ctl(&node, &["--user", "root:r", "put", "a", "1"]).await;
    assert!(hear(&mut watch).await.contains(r#""value":"MQ==""#));
    // etcd is silent then.
    say(&mut watch, "no JSON").await;
    while hear(&mut watch).await != "end" {}
}
