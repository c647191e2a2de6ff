//! Requests and their answers.

use serde_json::{Value, json};

use crate::scene::Scene;

/// Method, path and body of a request, the status of its answer, and the answer, where it is looked at.
type Request<'a> = (&'a str, &'a str, Option<Value>, u16, Option<Value>);

#[test]
fn c_http_api_v1() {
    let scene = Scene::new();
    let options = json!([{"section": "Service", "name": "ExecStart", "value": "/bin/sleep 1000"}]);
    let message = |text: &str, code: u16| json!({"error": {"code": code, "message": text}});
    let unit = |state: &str| json!({"desiredState": state, "options": options});
    let id = scene.id();
    let on = |path: &str| path.replace("{id}", id);
    let cases: Vec<Request<'_>> = vec![
        ("GET", "/fleet/v1/units", None, 200, Some(json!({}))),
        ("GET", "/v1-alpha/state", None, 200, Some(json!({}))),
        ("GET", "/fleet/v1/units/a.service", None, 404, Some(message("unit does not exist", 404))),
        ("DELETE", "/fleet/v1/units/a.service", None, 404, Some(message("unit does not exist", 404))),
        ("GET", "/fleet/v1/state/a.service", None, 404, Some(message("unit state does not exist", 404))),
        (
            "PUT",
            "/fleet/v1/units/a.service",
            Some(json!({"desiredState": "launched"})),
            409,
            Some(message("unit does not exist and options field empty", 409)),
        ),
        (
            "PUT",
            "/fleet/v1/units/a.service",
            Some(json!({"name": "b.service", "desiredState": "loaded", "options": options})),
            400,
            Some(message("name in URL \"a.service\" differs from unit name in request body \"b.service\"", 400)),
        ),
        ("PUT", "/fleet/v1/units/a.service", Some(unit("inactive")), 201, None),
        ("PUT", "/fleet/v1/units/a.service", Some(json!({"desiredState": "inactive"})), 204, None),
        (
            "PUT",
            "/fleet/v1/units/a.service",
            Some(json!({})),
            409,
            Some(message("must provide DesiredState to update existing unit", 409)),
        ),
        (
            "GET",
            "/fleet/v1/units/a.service",
            None,
            200,
            Some(
                json!({"currentState": "inactive", "desiredState": "inactive", "name": "a.service", "options": options}),
            ),
        ),
        (
            "PUT",
            "/v1-alpha/units/x@.service",
            Some(unit("launched")),
            400,
            Some(message("cannot activate template \"x@.service\"", 400)),
        ),
        ("PUT", "/fleet/v1/units/a", Some(unit("inactive")), 400, Some(message("unit name must contain \".\"", 400))),
        ("PUT", "/fleet/v1/units/a.foo", Some(unit("inactive")), 400, Some(message("invalid unit type: \"foo\"", 400))),
        (
            "PUT",
            "/fleet/v1/units/a@.mount",
            Some(unit("inactive")),
            400,
            Some(message("invalid unit type for template: \"mount\"", 400)),
        ),
        (
            "PUT",
            "/fleet/v1/units/@a.service",
            Some(unit("inactive")),
            400,
            Some(message("unit name cannot start in \"@\"", 400)),
        ),
        (
            "POST",
            "/fleet/v1/units",
            Some(json!({})),
            405,
            Some(message("only GET supported against this resource", 405)),
        ),
        (
            "POST",
            "/fleet/v1/units/a.service",
            Some(json!({})),
            405,
            Some(message("only GET, PUT and DELETE supported against this resource", 405)),
        ),
        (
            "PUT",
            "/fleet/v1/machines",
            Some(json!({})),
            405,
            Some(message("only GET and PATCH supported against this resource", 405)),
        ),
        (
            "POST",
            "/fleet/v1/discovery",
            Some(json!({})),
            400,
            Some(message("only HTTP GET supported against this resource", 400)),
        ),
        ("GET", "/fleet/v1/discovery", None, 200, None),
        ("GET", "/fleet/v1", None, 405, Some(message("", 405))),
        ("GET", "/fleet/v1/", None, 404, Some(message("", 404))),
        ("GET", "/fleet/v1/units/", None, 404, Some(message("", 404))),
        ("GET", "/fleet/v1/units?nextPageToken=ZAACAA==", None, 200, Some(json!({}))),
        ("GET", "/fleet/v1/units?nextPageToken=EwBMLg==", None, 400, Some(message("token limit must be 100", 400))),
        (
            "GET",
            "/fleet/v1/units?nextPageToken=ZAAAAA==",
            None,
            400,
            Some(message("token page must be greater than zero", 400)),
        ),
        (
            "PATCH",
            "/fleet/v1/machines",
            Some(json!([{"op": "add", "path": "/{id}/metadata/zone", "value": "b"}])),
            204,
            None,
        ),
        (
            "PATCH",
            "/fleet/v1/machines",
            Some(json!([{"op": "replace", "path": "/{id}/metadata/zone", "value": {"value": "c"}}])),
            204,
            None,
        ),
        (
            "GET",
            "/fleet/v1/machines",
            None,
            200,
            Some(json!({"machines": [{"id": id, "primaryIP": "127.0.0.1", "metadata": {"node": "n1", "zone": "c"}}]})),
        ),
        (
            "PATCH",
            "/fleet/v1/machines",
            Some(json!([{"op": "test", "path": "/{id}/metadata/zone"}])),
            400,
            Some(message("invalid op: expect add, remove, or replace", 400)),
        ),
        (
            "PATCH",
            "/fleet/v1/machines",
            Some(json!([{"op": "add", "path": "/{id}/zone", "value": "b"}])),
            400,
            Some(message("machine metadata path invalid", 400)),
        ),
        (
            "PATCH",
            "/fleet/v1/machines",
            Some(json!([{"op": "add", "path": "/{id}/metadata/zone"}])),
            400,
            Some(message("invalid value: add and replace require a value", 400)),
        ),
        ("DELETE", "/fleet/v1/units/a.service", None, 204, None),
        ("DELETE", "/fleet/v1/units/a.service", None, 404, Some(message("unit does not exist", 404))),
    ];
    for (method, path, body, status, expected) in cases {
        let body = body.map(|body| serde_json::from_str(&on(&body.to_string())).unwrap());
        let (found, answer) = scene.asks(method, path, body.as_ref());
        assert_eq!(found, status, "{method} {path} {body:?}: {answer}");
        if let Some(expected) = expected {
            assert_eq!(answer, expected, "{method} {path} {body:?}");
        }
    }
    let (status, answer) = scene.sends("PUT", "/fleet/v1/units/a.service", Some("{}"), "text/plain");
    assert_eq!((status, answer), (415, message("only acceptable Content-Type is application/json", 415)));
}

/// What they count is held by `fleet::counts`.
#[test]
fn h_metrics() {
    let scene = Scene::new();
    let url = format!("{}/metrics", scene.cluster.nodes[0].endpoint());
    let output = std::process::Command::new("curl").args(["-sS", &url]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["leader_start_time", "task_count_total", "reconcile_count_total", "reconcile_failure_count_total"] {
        assert!(text.contains(&format!("# TYPE fleet_engine_{name} ")), "{name}: {text}");
    }
}

/// The keys and their JSON themselves are held by `fleet::registry`; here, that tools for etcd's v2 API see them.
#[test]
fn d_etcd_v2_key_layout() {
    let scene = Scene::new();
    scene.runs(&[
        ("submit ./hello.service", 0, "Unit hello.service inactive\n", ""),
        ("start hello", 0, "Unit hello.service launched on {on}\n", ""),
    ]);
    let endpoint = scene.cluster.nodes[0].endpoint();
    let etcdctl = |words: &[&str]| {
        let words = [&["--no-sync"], words].concat();
        let output = std::process::Command::new(crate::common::NODE)
            .arg("etcdctl")
            .args(words)
            .env("ETCDCTL_API", "2")
            .env("ETCDCTL_ENDPOINTS", &endpoint)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let below = |path: &str| format!("/_coreos.com/fleet/{path}");
    let (code, listed, stderr) = etcdctl(&["ls", &below("job/hello.service")]);
    assert_eq!(code, Some(0), "{stderr}");
    let names =
        ["job-state", "object", "target", "target-state"].map(|name| below(&format!("job/hello.service/{name}")));
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
    for (path, value) in [
        ("job/hello.service/target-state", "launched"),
        ("job/hello.service/target", scene.id()),
        ("job/hello.service/job-state", scene.id()),
        ("engine/version", "1"),
    ] {
        assert_eq!(etcdctl(&["get", &below(path)]).1.trim_end(), value, "{path}");
    }
    let state = etcdctl(&["get", &below(&format!("states/hello.service/{}", scene.id()))]).1;
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!((&state["activeState"], &state["machineState"]["ID"]), (&json!("active"), &json!(scene.id())));
    // Hidden where its parent is listed, and nobody's to write.
    assert!(!etcdctl(&["ls", "/", "--recursive"]).1.contains("fleet"));
    let (code, _, stderr) = etcdctl(&["set", &below("job/hello.service/target-state"), "inactive"]);
    assert!(code != Some(0) && stderr.contains("cannot be written"), "{stderr}");
}
