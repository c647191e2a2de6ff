//! fleet's API through its router, over a store in memory: codes, texts and bodies as fleet's clients expect them.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::Request;
use tower::ServiceExt as _;

use super::model::{News, Planned, Status};
use super::*;
use crate::api::test_store::{Fixed, TestStore};
use crate::base::limits::FLEETCTL_LOOK_MS_MAX;
use crate::base::{BoxFuture, LeaseId, MachineId};
use crate::fleet::executor::{ExecutorError, JournalQuery, JournalStream, StatusText};
use crate::fleet::inspect::InspectError;
use crate::fleet::layout::encode;
use crate::fleet::session::{Command, Session, Target};
use crate::fleet::{Cluster, Key, Machine, Scheduled, UnitState};
use crate::kv::{Op, TxnOp, TxnRequest};

const OPTIONS: &str = r#""options":[{"section":"Service","name":"ExecStart","value":"/bin/true"}]"#;

/// Machines whose units all say the same.
struct Parrot(MachineId);

struct Lines(Vec<&'static str>);

impl JournalStream for Lines {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<u8>, ExecutorError>>> {
        Box::pin(async move { self.0.pop().map(|line| Ok(line.as_bytes().to_vec())) })
    }
}

impl Inspector for Parrot {
    fn status<'a>(&'a self, machine: &'a MachineId, unit: &'a str) -> BoxFuture<'a, Result<StatusText, InspectError>> {
        Box::pin(async move {
            if machine.0 == "gone" {
                return Err(InspectError::NoSuchMachine(machine.clone()));
            }
            Ok(StatusText { text: format!("{unit} on {machine}\n"), exit_code: 3 })
        })
    }

    fn journal<'a>(
        &'a self,
        _machine: &'a MachineId,
        _unit: &'a str,
        query: JournalQuery,
    ) -> BoxFuture<'a, Result<Box<dyn JournalStream>, InspectError>> {
        Box::pin(async move {
            assert_eq!(query.lines, Some(10));
            Ok(Box::new(Lines(vec!["two\n", "one\n"])) as Box<dyn JournalStream>)
        })
    }

    fn here(&self) -> &MachineId {
        &self.0
    }

    fn exec<'a>(
        &'a self,
        target: &'a Target,
        _command: Command,
        _by: &'a str,
    ) -> BoxFuture<'a, Result<Session, InspectError>> {
        Box::pin(async { Err(InspectError::NoSuchMachine(target.machine.clone())) })
    }
}

struct Bench {
    store: Arc<TestStore>,
    router: Router,
    clock: Arc<Fixed>,
    stop: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(TestStore::new(Arc::new(Fixed::default())));
        let (clock, stop) = (Arc::new(Fixed::default()), CancellationToken::new());
        let router = router(store.clone(), Arc::new(Parrot(MachineId("m".to_owned()))), clock.clone(), stop.clone());
        Self { store, router, clock, stop }
    }

    fn put(&self, puts: Vec<TxnOp>) {
        let applied = self.store.apply(Op::Txn(TxnRequest { success: puts, ..TxnRequest::default() }));
        applied.result.unwrap();
    }

    fn machine(&self, id: &str) {
        let machine = Machine { id: MachineId(id.into()), primary_ip: "10.0.0.1".into(), ..Machine::default() };
        self.put(vec![Key::Machine(machine.id.clone()).put(encode(&machine), LeaseId::NONE)]);
    }

    fn scheduled(&self, unit: &str, machine: &str) {
        let scheduled = Scheduled { machine: MachineId(machine.into()), generation: 1, ..Default::default() };
        self.put(vec![Key::Schedule(unit.into()).put(encode(&scheduled), LeaseId::NONE)]);
    }

    fn state(&self, unit: &str, machine: &str) {
        let mut state = UnitState { hash: "h".into(), ..UnitState::default() };
        state.state.active = "active".into();
        self.put(vec![Key::State(unit.into(), MachineId(machine.into())).put(encode(&state), LeaseId::NONE)]);
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Response {
        self.send_as("curl/8", method, path, body).await
    }

    async fn send_as(&self, agent: &str, method: &str, path: &str, body: &str) -> Response {
        let mut request = Request::builder().method(method).uri(path).header(header::USER_AGENT, agent);
        if method == "PUT" {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    /// Code and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let response = self.send(method, path, body).await;
        assert_eq!(response.headers()[header::SERVER], "fleetd/1.0.0");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "").await
    }
}

fn error(code: u16, message: &str) -> (u16, String) {
    let message = serde_json::Value::from(message);
    (code, format!(r#"{{"error":{{"code":{code},"message":{message}}}}}"#))
}

fn done(code: u16) -> (u16, String) {
    (code, String::new())
}

#[tokio::test]
async fn units_are_created_changed_and_destroyed() {
    let bench = Bench::new();
    let create = format!(r#"{{"desiredState":"inactive",{OPTIONS}}}"#);
    let other = create.replace("true", "false");
    let steps = [
        ("GET", "units", String::new(), (200, "{}".to_owned())),
        ("GET", "units/a.service", String::new(), error(404, "unit does not exist")),
        ("DELETE", "units/a.service", String::new(), error(404, "unit does not exist")),
        ("PUT", "units/a.service", "{}".into(), error(409, "unit does not exist and options field empty")),
        (
            "PUT",
            "units/a.service",
            r#"{"name":"b.service"}"#.into(),
            error(400, "name in URL \"a.service\" differs from unit name in request body \"b.service\""),
        ),
        ("PUT", "units/a.foo", create.clone(), error(400, "invalid unit type: \"foo\"")),
        (
            "PUT",
            "units/a@.service",
            create.replace("inactive", "launched"),
            error(400, "cannot activate template \"a@.service\""),
        ),
        ("PUT", "units/a%401.service", create.clone(), done(201)),
        ("PUT", "units/a.service", create.clone(), done(201)),
        ("PUT", "units/a.service", create.clone(), done(204)),
        ("PUT", "units/a.service", "{}".into(), error(409, "must provide DesiredState to update existing unit")),
        ("PUT", "units/a.service", r#"{"desiredState":"launched"}"#.into(), done(204)),
        ("PUT", "units/a.service", other, done(201)),
        (
            "GET",
            "units/a.service",
            String::new(),
            (
                200,
                r#"{"currentState":"inactive","desiredState":"inactive","name":"a.service","options":[{"name":"ExecStart","section":"Service","value":"/bin/false"}]}"#.into(),
            ),
        ),
        ("POST", "restart/a.service", String::new(), done(204)),
        ("DELETE", "units/a.service", String::new(), done(204)),
        ("DELETE", "units/a.service", String::new(), error(404, "unit does not exist")),
    ];
    for (method, path, body, expected) in steps {
        assert_eq!(bench.ask(method, &format!("/fleet/v1/{path}"), &body).await, expected, "{method} {path} {body}");
    }
    let (code, body) = bench.ask("PUT", "/fleet/v1/units/a.service", "{").await;
    assert!(code == 400 && body.contains("unable to decode body: "), "{body}");
    let (code, body) = bench.ask("PUT", "/fleet/v1/units/b.service", &create.replace("inactive", "bogus")).await;
    assert!(code == 400 && body.contains("bogus"), "{body}");
}

#[tokio::test]
async fn the_first_look_of_fleets_own_fleetctl_at_a_unit_that_stops_is_too_early() {
    const FLEETCTL: &str = "google-api-go-client/0.5";
    let bench = Bench::new();
    let unit = "/fleet/v1/units/a.service";
    bench.ask("PUT", unit, &format!(r#"{{"desiredState":"launched",{OPTIONS}}}"#)).await;
    bench.machine("m");
    bench.scheduled("a.service", "m");
    let acts_on = |launched| {
        let state = UnitState { launched, ..UnitState::default() };
        bench.put(vec![Key::State("a.service".into(), MachineId("m".into())).put(encode(&state), LeaseId::NONE)]);
    };
    let starts = async || {
        bench.ask("PUT", unit, r#"{"desiredState":"launched"}"#).await;
        acts_on(Cluster::read(&*bench.store).await.unwrap().units["a.service"].launch);
    };
    let looks = async |agent: &str| {
        let body = bench.send_as(agent, "GET", unit, "").await.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["currentState"].as_str().unwrap().to_owned()
    };
    let stop = r#"{"desiredState":"loaded"}"#;
    for (agent, expected) in [(FLEETCTL, ["loaded", "launched", "loaded"]), ("curl/8", ["loaded"; 3])] {
        starts().await;
        assert_eq!(looks(FLEETCTL).await, "launched");
        assert_eq!(bench.send_as(agent, "PUT", unit, stop).await.status(), 204);
        acts_on(0);
        let found = [looks("curl/8").await, looks(FLEETCTL).await, looks(FLEETCTL).await];
        assert_eq!(found, expected, "{agent}");
    }
    // What is loaded already is not told as launched, nor is it long after.
    assert_eq!(bench.send_as(FLEETCTL, "PUT", unit, stop).await.status(), 204);
    assert_eq!(looks(FLEETCTL).await, "loaded");
    starts().await;
    assert_eq!(bench.send_as(FLEETCTL, "PUT", unit, stop).await.status(), 204);
    acts_on(0);
    bench.clock.now.fetch_add(FLEETCTL_LOOK_MS_MAX + 1, Ordering::Relaxed);
    assert_eq!(looks(FLEETCTL).await, "loaded");
}

#[tokio::test]
async fn fleets_own_fleetctl_gets_an_empty_state_where_there_is_none() {
    let bench = Bench::new();
    bench.ask("PUT", "/fleet/v1/units/a.service", &format!("{{{OPTIONS}}}")).await;
    for (agent, unit, code) in
        [("google-api-go-client/0.5", "a", 200), ("google-api-go-client/0.5", "b", 404), ("curl/8", "a", 404)]
    {
        let answer = bench.send_as(agent, "GET", &format!("/fleet/v1/state/{unit}.service"), "").await;
        assert_eq!(answer.status().as_u16(), code, "{agent} {unit}");
    }
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_right() {
    let bench = Bench::new();
    let cases = [
        ("GET", "/fleet/v1", error(405, "")),
        ("GET", "/fleet/v1/", error(404, "")),
        ("GET", "/fleet/v1/nope", error(404, "")),
        ("GET", "/v1-alpha/units/", error(404, "")),
        ("GET", "/v1-alpha/units/a/b", error(404, "")),
        ("DELETE", "/v1-alpha/units", error(405, "only GET supported against this resource")),
        ("POST", "/v1-alpha/units/a.service", error(405, "only GET, PUT and DELETE supported against this resource")),
        ("POST", "/fleet/v1/machines", error(405, "only GET and PATCH supported against this resource")),
        ("PUT", "/fleet/v1/state", error(405, "only GET supported against this resource")),
        ("POST", "/fleet/v1/discovery", error(400, "only HTTP GET supported against this resource")),
        ("GET", "/fleet/v1/state/a.service", error(404, "unit state does not exist")),
        ("GET", "/fleet/v1/machines?nextPageToken=EwBMLg==", error(400, "token limit must be 100")),
        ("GET", "/fleet/v1/units?nextPageToken=a&nextPageToken=b", error(400, "too many values for page token")),
        ("GET", "/fleet/v1/explain/a.service", error(404, "unit does not exist")),
        ("GET", "/fleet/v1/status/a.service", error(404, "unit does not exist")),
    ];
    for (method, path, expected) in cases {
        assert_eq!(bench.ask(method, path, "").await, expected, "{method} {path}");
    }
    for (kinds, message) in [
        (&[][..], "expected 1 Content-Type, got 0"),
        (&["text/plain"], "only acceptable Content-Type is application/json"),
        (&["application/json", "text/plain"], "expected 1 Content-Type, got 2"),
    ] {
        let mut request = Request::builder().method("PUT").uri("/fleet/v1/units/a.service");
        for kind in kinds {
            request = request.header(header::CONTENT_TYPE, *kind);
        }
        let response = bench.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 415);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, error(415, message).1.as_bytes());
    }
    let (code, discovery) = bench.get("/fleet/v1/discovery").await;
    let discovery: serde_json::Value = serde_json::from_str(&discovery).unwrap();
    assert_eq!((code, discovery["rootUrl"].as_str()), (200, Some("$ENDPOINT/")));
}

#[tokio::test]
async fn metadata_is_patched_in_both_forms() {
    let bench = Bench::new();
    bench.machine("m1");
    let cases = [
        (r#"[{"op":"add","path":"/m1/metadata/a","value":"1"}]"#, done(204)),
        (r#"[{"op":"replace","path":"/m1/metadata/b","value":{"value":"2"}}]"#, done(204)),
        (r#"[{"op":"add","path":"/m1/metadata/c","value":{"Value":"3"}}]"#, done(204)),
        (r#"[{"op":"remove","path":"/m1/metadata/a"}]"#, done(204)),
        ("[]", done(204)),
        (r#"[{"op":"set","path":"/m1/metadata/a"}]"#, error(400, "invalid op: expect add, remove, or replace")),
        (r#"[{"op":"add","path":"/m1/a","value":"1"}]"#, error(400, "machine metadata path invalid")),
        (r#"[{"op":"add","path":"/m1/metadata/a"}]"#, error(400, "invalid value: add and replace require a value")),
    ];
    for (body, expected) in cases {
        assert_eq!(bench.ask("PATCH", "/fleet/v1/machines", body).await, expected, "{body}");
    }
    assert_eq!(bench.ask("PATCH", "/fleet/v1/machines", "{").await.0, 400);
    let expected = r#"{"machines":[{"id":"m1","metadata":{"b":"2","c":"3"},"primaryIP":"10.0.0.1"}]}"#;
    assert_eq!(bench.get("/fleet/v1/machines").await, (200, expected.to_owned()));
}

#[tokio::test]
async fn fleets_keys_in_etcd_are_shown_and_not_written() {
    let bench = Bench::new();
    bench.machine("m1");
    bench.ask("PUT", "/fleet/v1/units/a.service", &format!(r#"{{"desiredState":"loaded",{OPTIONS}}}"#)).await;
    bench.scheduled("a.service", "m1");
    let ask = async |method: &str, path: &str| {
        let response = bench.send(method, &format!("/v2/keys/_coreos.com/fleet{path}"), "").await;
        let code = response.status().as_u16();
        assert!(response.headers().contains_key("x-etcd-index"), "{method} {path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let (code, answer) = ask("GET", "/job/a.service/target").await;
    let node = serde_json::json!({
        "key": "/_coreos.com/fleet/job/a.service/target", "value": "m1", "modifiedIndex": 4, "createdIndex": 4,
    });
    assert_eq!((code, answer), (200, serde_json::json!({"action": "get", "node": node})));
    let names = |answer: &serde_json::Value| -> Vec<String> {
        let nodes = answer["node"]["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["key"].as_str().unwrap().trim_start_matches("/_coreos.com/fleet").to_owned()).collect()
    };
    let (_, answer) = ask("GET", "/?sorted=true").await;
    assert_eq!(names(&answer), ["/engine", "/job", "/machines", "/unit"]);
    assert_eq!(answer["node"]["nodes"][1]["nodes"], serde_json::Value::Null);
    let (_, answer) = ask("GET", "/job/?recursive=true").await;
    assert_eq!(names(&answer), ["/job/a.service"]);
    assert_eq!(answer["node"]["nodes"][0]["nodes"][1]["value"], "m1");
    let missing = serde_json::json!(
        {"errorCode": 100, "message": "Key not found", "cause": "/_coreos.com/fleet/job/b.service", "index": 4}
    );
    assert_eq!(ask("GET", "/job/b.service").await, (404, missing));
    for (method, path, code, cause) in [
        ("PUT", "/job/a.service/target?value=m2", 400, "/fleet/v1"),
        ("DELETE", "/?recursive=true", 400, "cannot be written"),
        ("GET", "/job?wait=true", 400, "/fleet/v1/watch"),
        ("GET", "/job?recursive=maybe", 400, "invalid value"),
    ] {
        let (found, answer) = ask(method, path).await;
        assert!(found == code && answer["cause"].as_str().unwrap().contains(cause), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let bench = Bench::new();
    let body = format!("{{{OPTIONS}}}");
    for n in 0..100 {
        assert_eq!(bench.ask("PUT", &format!("/fleet/v1/units/u{n:03}.service"), &body).await, done(201));
    }
    let (_, first) = bench.get("/fleet/v1/units").await;
    assert!(first.starts_with(r#"{"nextPageToken":"ZAACAA==","units":[{"currentState""#), "{first}");
    assert_eq!(bench.get("/v1-alpha/units?nextPageToken=ZAACAA%3D%3D&alt=json").await, (200, "{}".into()));
    bench.state("u001.service", "m1");
    bench.state("u001.service", "m2");
    bench.state("u002.service", "m1");
    let of = |unit: &str, machine: &str| {
        format!(r#"{{"hash":"h","machineID":"{machine}","name":"{unit}","systemdActiveState":"active"}}"#)
    };
    let list = |states: &[String]| (200, format!(r#"{{"states":[{}]}}"#, states.join(",")));
    let (one, two, three) = (of("u001.service", "m1"), of("u001.service", "m2"), of("u002.service", "m1"));
    let cases = [
        ("", list(&[one.clone(), two.clone(), three.clone()])),
        ("?unitName=u001.service", list(&[one.clone(), two.clone()])),
        ("?machineID=m1", list(&[one, three])),
        ("?machineID=m2&unitName=u002.service", (200, "{}".into())),
    ];
    for (query, expected) in cases {
        assert_eq!(bench.get(&format!("/fleet/v1/state{query}")).await, expected, "{query}");
    }
    bench.scheduled("u001.service", "m2");
    assert_eq!(bench.get("/fleet/v1/state/u001.service").await, (200, two));
}

#[tokio::test]
async fn without_a_quorum_the_reason_is_told() {
    let bench = Bench::new();
    assert_eq!(bench.get("/fleet/v1/units").await.0, 200);
    bench.store.lead(None);
    let (code, body) = bench.get("/fleet/v1/units").await;
    assert!(code == 503 && body.contains("fleet server unable to communicate with etcd: no leader"), "{body}");
    let create = format!("{{{OPTIONS}}}");
    assert_eq!(bench.ask("PUT", "/fleet/v1/units/a.service", &create).await.0, 503);
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_each_change() {
    let bench = Bench::new();
    let create = format!("{{{OPTIONS}}}");
    bench.machine("m1");
    bench.ask("PUT", "/fleet/v1/units/a.service", &create).await;
    bench.ask("PUT", "/fleet/v1/units/b.service", &create).await;
    let response = bench.send("GET", "/fleet/v1/watch?unit=a.service", "").await;
    let mut stream = response.into_body().into_data_stream();
    let mut next = async || -> Vec<News> {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.unwrap();
        let Some(chunk) = chunk else { return Vec::new() };
        let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let present = next().await;
    assert_eq!(present.len(), 3, "{present:?}");
    assert_eq!(present[0].machine.as_ref().unwrap().id, "m1");
    assert_eq!(present[1].unit.as_ref().unwrap().current_state, "inactive");
    assert!(present[1].unit.as_ref().unwrap().options.is_empty() && present[2].synced);

    bench.scheduled("b.service", "m1");
    bench.scheduled("a.service", "m1");
    assert_eq!(next().await[0].unit.as_ref().unwrap().machine_id, "m1");
    bench.state("a.service", "m1");
    let told = next().await;
    assert_eq!(told[0].state.as_ref().unwrap().active, "active");
    assert_eq!(told[1].unit.as_ref().unwrap().current_state, "loaded");
    bench.ask("DELETE", "/fleet/v1/units/a.service", "").await;
    assert_eq!(next().await[0].gone.as_ref().unwrap().unit, "a.service");
    bench.stop.cancel();
    assert!(next().await.is_empty());
}

#[tokio::test]
async fn status_and_journal_come_from_the_machine_that_holds_the_unit() {
    let bench = Bench::new();
    bench.machine("m1");
    bench.machine("m2");
    bench.ask("PUT", "/fleet/v1/units/a.service", &format!("{{{OPTIONS}}}")).await;
    let journal = "/fleet/v1/journal/a.service?lines=10";
    assert_eq!(bench.get(journal).await, error(404, "unit a.service is on no machine"));
    bench.scheduled("a.service", "m2");
    let (_, status) = bench.get("/fleet/v1/status/a.service").await;
    let expected = Status { exit_code: 3, machine_id: "m2".into(), text: "a.service on m2\n".into() };
    assert_eq!(serde_json::from_str::<Status>(&status).unwrap(), expected);
    assert_eq!(bench.get(journal).await, (200, "one\ntwo\n".into()));
    let gone = bench.get("/fleet/v1/status/a.service?machine=gone").await;
    assert_eq!(gone, error(404, "machine gone is not in the cluster"));

    let global = OPTIONS.replace("]", r#",{"section":"X-Fleet","name":"Global","value":"true"}]"#);
    bench.ask("PUT", "/fleet/v1/units/g.service", &format!("{{{global}}}")).await;
    bench.state("g.service", "m1");
    bench.state("g.service", "m2");
    let (_, text) = bench.get("/fleet/v1/journal/g.service?lines=10").await;
    let all = "==> m1.../10.0.0.1 <==\none\ntwo\n\n==> m2.../10.0.0.1 <==\none\ntwo\n";
    assert_eq!(text, all);
    let (_, status) = bench.get("/fleet/v1/status/g.service").await;
    assert_eq!(serde_json::from_str::<Status>(&status).unwrap().exit_code, 3);
}

#[tokio::test]
async fn a_unit_that_fits_nowhere_is_explained() {
    let bench = Bench::new();
    bench.machine("m1");
    let pinned = OPTIONS.replace("]", r#",{"section":"X-Fleet","name":"MachineMetadata","value":"a=b"}]"#);
    bench.ask("PUT", "/fleet/v1/units/a.service", &format!("{{{pinned}}}")).await;
    let (code, body) = bench.get("/fleet/v1/explain/a.service").await;
    let expected = r#"{"machines":[{"fits":false,"machineID":"m1","primaryIP":"10.0.0.1","reason":"MachineMetadata asks for a=b; the machine has no a"}],"unit":"a.service"}"#;
    assert_eq!((code, body.as_str()), (200, expected));
}

#[tokio::test]
async fn machines_are_cordoned_drained_and_taken_back() {
    let bench = Bench::new();
    bench.machine("m1");
    bench.machine("m2");
    bench.ask("PUT", "/fleet/v1/units/a.service", &format!("{{\"desiredState\":\"launched\",{OPTIONS}}}")).await;
    bench.scheduled("a.service", "m1");
    let missing = (404, r#"{"error":{"code":404,"message":"machine m9 is not in the cluster"}}"#.to_owned());
    assert_eq!(bench.ask("PUT", "/fleet/v1/cordons/m9", "{}").await, missing);
    assert_eq!(bench.ask("PUT", "/fleet/v1/cordons/m1", r#"{"drain":{"maxParallel":0}}"#).await.0, 400);
    assert_eq!(bench.ask("PUT", "/fleet/v1/cordons/m1", "nonsense").await.0, 400);
    for _ in 0..2 {
        assert_eq!(bench.ask("PUT", "/fleet/v1/cordons/m1", r#"{"drain":{"maxParallel":2}}"#).await.0, 204);
    }
    let (_, left) = bench.get("/fleet/v1/cordons/m1").await;
    assert_eq!(left, r#"{"stuck":[],"queued":["a.service"],"moving":[],"stopping":[]}"#);
    let (_, told) = bench.get("/fleet/v1/capacity").await;
    assert!(told.contains(r#""machineID":"m1","cordon":{"drain":{"maxParallel":2}},"units":1,"load":1"#), "{told}");
    let (_, explained) = bench.get("/fleet/v1/explain/a.service").await;
    assert!(explained.contains(r#""reason":"the machine is being drained","holds":true"#), "{explained}");
    assert!(explained.contains(r#""fit":"fits: load 0","best":true"#), "{explained}");
    assert_eq!(bench.ask("DELETE", "/fleet/v1/cordons/m1", "").await.0, 204);
    assert_eq!(bench.ask("POST", "/fleet/v1/cordons/m1", "").await.0, 405);
}

#[tokio::test]
async fn moves_are_foretold_and_made() {
    let bench = Bench::new();
    bench.machine("m1");
    bench.machine("m2");
    for unit in ["a.service", "b.service", "c.service"] {
        let body = format!("{{\"desiredState\":\"launched\",{OPTIONS}}}");
        bench.ask("PUT", &format!("/fleet/v1/units/{unit}"), &body).await;
        bench.scheduled(unit, "m1");
    }
    let (code, forecast) = bench.get("/fleet/v1/simulate?kill=m2&add=1&metadata=a%3Db&rebalance").await;
    let expected =
        r#"{"moves":[{"unit":"a.service","from":"m1","to":"new-1","reason":"it is better off there"}],"waiting":[]}"#;
    assert_eq!((code, forecast.as_str()), (200, expected));
    let (_, forecast) = bench.get("/fleet/v1/simulate?kill=m1&kill=m2").await;
    assert!(forecast.contains(r#"{"unit":"a.service","newly":true,"passedOver":[]}"#), "{forecast}");
    for (path, code) in [("kill=m9", 404), ("add=100000", 400), ("add=x", 400), ("add=1&metadata=a", 400)] {
        assert_eq!(bench.get(&format!("/fleet/v1/simulate?{path}")).await.0, code, "{path}");
    }
    let moved =
        r#"{"moves":[{"unit":"a.service","from":"m1","to":"m2","reason":"it is better off there"}],"moving":[]}"#;
    for path in ["rebalance?dry-run", "rebalance"] {
        assert_eq!(bench.ask("POST", &format!("/fleet/v1/{path}"), "").await, (200, moved.to_owned()));
    }
    // It has not arrived: nothing else goes.
    let (_, told) = bench.ask("POST", "/fleet/v1/rebalance?max=5", "").await;
    assert_eq!(told, r#"{"moves":[],"moving":[{"unit":"a.service","to":"m2","failed":false}]}"#);
    for (path, code) in [("rebalance?max=0", 400), ("rebalance?max=101", 400)] {
        assert_eq!(bench.ask("POST", &format!("/fleet/v1/{path}"), "").await.0, code, "{path}");
    }
    assert_eq!(bench.get("/fleet/v1/rebalance").await.0, 405);
}

#[tokio::test]
async fn applies_are_planned_begun_and_told() {
    let bench = Bench::new();
    let body = |more: &str| {
        format!(
            r#"{{"by":"me@here","units":[{{"name":"a.service","text":"[Service]\nExecStart=/bin/true\n"}}]{more}}}"#
        )
    };
    let changes = r#"[{"unit":"a.service","after":{"hash":"HASH","desired":"launched","set":"default"}}]"#;
    let planned: Planned =
        serde_json::from_str(&bench.ask("POST", "/fleet/v1/apply", &body(r#","dryRun":true"#)).await.1).unwrap();
    assert_eq!((planned.revision, planned.changes.len()), (0, 1));
    let hash = planned.texts.keys().next().unwrap().clone();
    assert_eq!(serde_json::to_string(&planned.changes).unwrap(), changes.replace("HASH", &hash));
    assert_eq!(bench.get("/fleet/v1/applies").await, (200, r#"{"applies":[]}"#.into()));

    let (code, text) = bench.ask("POST", "/fleet/v1/apply", &body(r#","seen":[]"#)).await;
    assert!(code == 409 && text.contains("units have changed since the plan was made"), "{text}");
    let seen = format!(r#","seen":{}"#, changes.replace("HASH", &hash));
    let begun: Planned = serde_json::from_str(&bench.ask("POST", "/fleet/v1/apply", &body(&seen)).await.1).unwrap();
    assert_eq!((begun.revision, begun.joined), (1, false));
    let joined: Planned = serde_json::from_str(&bench.ask("POST", "/fleet/v1/apply", &body("")).await.1).unwrap();
    assert_eq!((joined.revision, joined.joined), (1, true));
    let other = body("").replace("a.service", "b.service");
    let (code, text) = bench.ask("POST", "/fleet/v1/apply", &other).await;
    assert!(code == 409 && text.contains("revision 1 of me@here is under way (0 of 1 units)"), "{text}");
    let (_, list) = bench.get("/fleet/v1/applies").await;
    assert!(list.contains(r#""underWay":{"revision":1,"passed":0,"released":0}"#), "{list}");

    // Nobody leads here: what is under way is taken back by hand, and goes on once somebody does.
    let (code, _) = bench.ask("POST", "/fleet/v1/rollback", r#"{"by":"you"}"#).await;
    let (_, list) = bench.get("/fleet/v1/applies").await;
    assert!(code == 200 && list.contains(r#""failure":"taken back by you""#), "{list}");
    for (method, path, body, expected) in [
        ("GET", "applies/7", "", error(404, "revision 7 is not known: `node ctl history` shows those that are")),
        ("GET", "apply", "", error(405, "only POST supported against this resource")),
        ("POST", "applies", "", error(405, "only GET supported against this resource")),
        ("POST", "restart/a.service?machine=m1", "", error(404, "unit does not exist")),
    ] {
        assert_eq!(bench.ask(method, &format!("/v1-alpha/{path}"), body).await, expected, "{method} {path}");
    }
    for (more, expected) in [(r#","desiredState":"up""#, "invalid value"), (r#","units":3"#, "unable to decode body")] {
        let (code, text) = bench.ask("POST", "/fleet/v1/apply", &body(more)).await;
        assert!(code == 400 && text.contains(expected), "{text}");
    }
}
