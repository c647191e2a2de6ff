//! What fleet's users rely on, as tables of cases: command lines with what they print and end with, requests with their answers. One
//! real node; the tests are named after what they are about.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

use common::{TestCluster, face};
use serde_json::{Value, json};

const HELLO: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
const ALL: &str = "[Service]\nExecStart=/bin/sleep 1000\n\n[X-Fleet]\nGlobal=true\n";

/// A command line, its exit code, what it prints, and what it says on stderr. `{on}` stands for the machine.
type Case<'a> = (&'a str, i32, &'a str, &'a str);

/// Method, path and body of a request, the status of its answer, and the answer, where it is looked at.
type Request<'a> = (&'a str, &'a str, Option<Value>, u16, Option<Value>);

struct Scene {
    cluster: TestCluster,
}

impl Scene {
    fn new() -> Self {
        let cluster = TestCluster::start(1);
        let put = |name: &str, text: &str| std::fs::write(cluster.folder.path().join(name), text).unwrap();
        put("hello.service", HELLO);
        put("t@.service", HELLO);
        put("all.service", ALL);
        put("bad.service", "[X-Fleet]\nMachineID=a\nGlobal=true\n");
        Self { cluster }
    }

    fn machine(&self) -> String {
        format!("{}.../127.0.0.1", &self.cluster.nodes[0].machine_id[..8])
    }

    /// Runs command lines one after the other, in the folder of the units; tells all that differ.
    fn runs(&self, cases: &[Case<'_>]) {
        let on = self.machine();
        let folder = format!("{}/", self.cluster.folder.path().display());
        let mut wrong = Vec::new();
        for (line, code, stdout, stderr) in cases {
            let words: Vec<String> =
                line.split(' ').filter(|word| !word.is_empty()).map(|w| w.replace("./", &folder)).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = face("fleetctl", &self.cluster.nodes[0].endpoint(), &words);
            let found = (
                output.status.code().unwrap(),
                String::from_utf8(output.stdout).unwrap().replace(&on, "{on}"),
                String::from_utf8(output.stderr).unwrap().replace(&on, "{on}").replace(&folder, "./"),
            );
            let stderr = if stderr.is_empty() { String::new() } else { format!("{stderr}\n") };
            let expected = (*code, (*stdout).to_owned(), stderr);
            if found != expected {
                wrong.push(format!("fleetctl {line}\n  found    {found:?}\n  expected {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Sends a request; the answer's status, and its body as JSON where it is some.
    fn asks(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.sends(method, path, body.map(Value::to_string).as_deref(), "application/json")
    }

    fn sends(&self, method: &str, path: &str, body: Option<&str>, content_type: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.cluster.nodes[0].endpoint());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-X", method, &url, "-w", "\n%{http_code}", "-H", &format!("Content-Type: {content_type}")]);
        if let Some(body) = body {
            curl.args(["--data-binary", body]);
        }
        let output = curl.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

#[test]
fn commands_and_the_states_that_they_lead_to() {
    let scene = Scene::new();
    scene.runs(&[
        ("submit ./hello.service", 0, "Unit hello.service inactive\n", ""),
        ("submit ./hello.service", 0, "", ""),
        ("submit --replace ./hello.service", 0, "Found same Unit(hello.service) in Registry, nothing to do\n", ""),
        ("cat hello.service", 0, HELLO, ""),
        ("cat hello", 0, HELLO, ""),
        ("cat nope", 1, "", "Unit nope.service not found"),
        ("cat", 1, "", "One unit file must be provided"),
        ("status hello", 1, "", "Unit hello.service does not appear to be loaded."),
        ("status nope", 1, "", "Unit nope.service does not exist."),
        ("journal nope", 1, "", "Unit nope.service does not exist."),
        ("journal hello", 1, "", "Unit hello.service does not appear to be running."),
        ("journal", 1, "", "One unit file must be provided."),
        ("stop hello", 1, "", "Unable to stop unit hello.service in state inactive"),
        ("load hello", 0, "Unit hello.service loaded on {on}\n", ""),
        ("load hello", 0, "", ""),
        ("start hello", 0, "Unit hello.service launched on {on}\n", ""),
        ("start hello", 0, "", ""),
        ("stop hello", 0, "Unit hello.service loaded on {on}\n", "Successfully stopped units [hello.service]."),
        ("stop hello", 0, "", "Successfully stopped units []."),
        ("start hello", 0, "Unit hello.service launched on {on}\n", ""),
        ("load hello", 0, "Unit hello.service loaded on {on}\n", ""),
        ("unload hello", 0, "Unit hello.service inactive\n", "Successfully unloaded units [hello.service]."),
        ("unload hello", 0, "", "Successfully unloaded units []."),
        ("stop nope", 0, "", "Units not found in registry"),
        ("unload nope", 0, "", "Units not found in registry"),
        ("destroy hello", 0, "Destroyed hello.service\n", ""),
        ("destroy hello", 0, "", "Units not found in registry"),
        ("start", 0, "", "No units given"),
        ("destroy", 0, "", "No units given"),
        ("start -no-block ./hello.service", 0, "Unit hello.service inactive\nTriggered unit hello.service start\n", ""),
        ("destroy hello", 0, "Destroyed hello.service\n", ""),
    ]);
}

#[test]
fn unit_names_templates_and_globals() {
    let scene = Scene::new();
    scene.runs(&[
        (
            "start nope",
            1,
            "",
            "Error creating units: unable to find Unit(nope.service) in Registry or on filesystem",
        ),
        (
            "start nope@7",
            1,
            "",
            "Error creating units: failed getting Unit(nope@7.service) from template: unable to find template Unit(nope@.service) in Registry or on filesystem",
        ),
        ("submit ./t@.service", 0, "Unit t@.service inactive\n", ""),
        ("start t@", 1, "", "Error starting units: googleapi: Error 400: cannot activate template \"t@.service\""),
        ("load t@", 1, "", "Error loading units: googleapi: Error 400: cannot activate template \"t@.service\""),
        ("start t@1", 0, "Unit t@1.service inactive\nUnit t@1.service launched on {on}\n", ""),
        ("load ./t@2.service", 0, "Unit t@2.service inactive\nUnit t@2.service loaded on {on}\n", ""),
        ("submit ./all.service", 0, "Unit all.service \n", ""),
        ("start all", 0, "Triggered global unit all.service start\n", ""),
        ("stop all", 0, "Triggered global unit all.service stop\n", "Successfully stopped units []."),
        ("unload all", 0, "Triggered global unit all.service unload\n", "Successfully unloaded units []."),
        ("submit ./bad.service", 1, "", "Error creating units: MachineID cannot be used with Global"),
        ("destroy t@1 t@2 t@ all", 0, "Destroyed t@1.service\nDestroyed t@2.service\nDestroyed t@.service\nDestroyed all.service\n", ""),
    ]);
}

#[test]
fn lists_are_tabwriters() {
    let scene = Scene::new();
    let id = scene.cluster.nodes[0].machine_id.clone();
    let full = format!("{id}/127.0.0.1\n");
    let machines = format!("MACHINE\t\tIP\t\tMETADATA\n{}...\t127.0.0.1\tnode=n1\n", &id[..8]);
    scene.runs(&[
        ("list-units", 0, "UNIT\tMACHINE\tACTIVE\tSUB\n", ""),
        ("list-units --no-legend", 0, "", ""),
        ("list-unit-files", 0, "UNIT\tHASH\tDSTATE\tSTATE\tTARGET\n", ""),
        ("submit ./hello.service", 0, "Unit hello.service inactive\n", ""),
        (
            "list-unit-files",
            0,
            "UNIT\t\tHASH\tDSTATE\t\tSTATE\t\tTARGET\nhello.service\t2d432f4\tinactive\tinactive\t-\n",
            "",
        ),
        ("start hello", 0, "Unit hello.service launched on {on}\n", ""),
        ("list-units", 0, "UNIT\t\tMACHINE\t\t\tACTIVE\tSUB\nhello.service\t{on}\tactive\trunning\n", ""),
        ("list-units -no-legend --fields=unit,load,active", 0, "hello.service\tloaded\tactive\n", ""),
        ("list-units -l --no-legend --fields machine", 0, &full, ""),
        ("list-machines --fields machine,ip,metadata", 0, &machines, ""),
        ("list-units --fields bogus", 1, "", "Invalid key in output format: \"bogus\""),
        ("list-units --fields=", 1, "", "Must define output format"),
        ("list-machines --fields UNIT", 1, "", "Invalid key in output format: \"UNIT\""),
    ]);
}

#[test]
fn http_api_v1() {
    let scene = Scene::new();
    let options = json!([{"section": "Service", "name": "ExecStart", "value": "/bin/sleep 1000"}]);
    let message = |text: &str, code: u16| json!({"error": {"code": code, "message": text}});
    let unit = |state: &str| json!({"desiredState": state, "options": options});
    let id = &scene.cluster.nodes[0].machine_id;
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
