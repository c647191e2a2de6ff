//! Requests of those who lack the right, on every route and every gRPC method that a node serves.

#![allow(clippy::unwrap_used)]

mod common;

use common::served::{BESIDE_THE_ROUTER, METHODS, Served};
use common::{TestCluster, TestNode, WITHIN, ok};
use corenode::ctl::http::{self, Answer};
use corenode::net::Address;
use hyper::Method;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq)]
enum For {
    /// Whoever reaches the node: no data of users and nothing that changes the cluster.
    All,
    /// To look at, whoever reaches the node; to change, nobody without permission.
    Look,
    /// Users whose roles permit the keys, and those with the role `root`.
    Permitted,
    /// The roles of fleet's, and `root`.
    Fleet,
    /// `root` alone.
    Root,
}

/// Routes by what they begin with; the first that fits counts. What is served and not named here fails the test.
const ROUTES: &[(&str, For)] = &[
    ("/version", For::All),
    ("/health", For::All),
    ("/livez", For::All),
    ("/readyz", For::All),
    ("/metrics", For::All),
    ("/nothing", For::All),
    ("/v2/machines", For::All),
    ("/v2/members", For::Look),
    ("/v2/auth/enable", For::Look),
    ("/v2/stats", For::All),
    ("/v2/keys/_coreos.com/fleet", For::Fleet),
    ("/v2/keys", For::Permitted),
    ("/v2/auth", For::Permitted),
    // Discovery writes keys.
    ("/new", For::Permitted),
    ("/0123", For::Permitted),
    ("/kv/v1", For::Permitted),
    ("/fleet/v1", For::Fleet),
    ("/v1-alpha", For::Fleet),
    ("/secrets/v1", For::Fleet),
    ("/templates/v1", For::Permitted),
    ("/backup/v1", For::Root),
    ("/doctor/v1", For::Root),
    ("/node/v1", For::Root),
];

/// Streams, whose refusal comes within: `api::users::tests` and the table of `auth.rs` have them.
const STREAMS: &[&str] = &["Watch", "LeaseKeepAlive", "Observe", "ServerReflectionInfo"];

/// gRPC methods that answer whoever reaches the node.
const FOR_ALL: &[&str] = &["Check", "Authenticate", "AuthStatus"];

/// Those that any user may call; a transaction that asks for nothing needs nothing, and alarms may be looked at.
const FOR_USERS: &[&str] =
    &["MemberList", "LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases", "Status", "Txn", "Alarm"];

fn cluster() -> TestCluster {
    let mut cluster = TestCluster::plan(1);
    let node = &mut cluster.nodes[0];
    node.more.extend(["--log-level", "debug"].map(str::to_owned));
    node.start();
    node.wait_until_it_serves();
    cluster
}

/// Everybody has the password `pw`, and the role of his own name but for `nobody`.
fn users(node: &TestNode, users: &[&str]) {
    let endpoint = node.endpoint();
    let etcdctl = |words: &[&str]| drop(ok("etcdctl", &endpoint, &[&["--command-timeout", "60s"], words].concat()));
    for user in users {
        etcdctl(&["user", "add", &format!("{user}:pw")]);
        if *user != "nobody" {
            etcdctl(&["role", "add", user]);
            etcdctl(&["user", "grant-role", user, user]);
        }
    }
    etcdctl(&["auth", "enable"]);
}

struct Door {
    runtime: tokio::runtime::Runtime,
    address: Address,
}

impl Door {
    fn of(node: &TestNode) -> Self {
        let address = Address::from_url(&node.endpoint()).unwrap();
        Self { runtime: tokio::runtime::Runtime::new().unwrap(), address }
    }

    fn ask(&self, user: Option<&str>, method: &str, path: &str, body: (&str, Vec<u8>)) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let authorization = user.map(|user| http::basic(&format!("{user}:pw")));
        let call = http::call_as(authorization.as_deref(), &self.address, method, path, Some(body), WITHIN);
        self.runtime.block_on(call).unwrap()
    }

    fn status(&self, user: Option<&str>, method: &str, path: &str) -> u16 {
        self.ask(user, method, path, ("application/json", b"{}".to_vec())).status.as_u16()
    }
}

#[test]
fn a_request_without_the_right_is_refused_on_every_route() {
    let cluster = cluster();
    let node = &cluster.nodes[0];
    users(node, &["nobody", "root"]);
    let (door, served) = (Door::of(node), Served::by(&node.log()));
    let gateway = |path: &str| ["/v3/", "/v3alpha/", "/v3beta/"].iter().any(|prefix| path.starts_with(prefix));
    let paths = served.http.iter().map(String::as_str).filter(|path| !gateway(path) && path.len() > 1);
    for path in paths.chain(BESIDE_THE_ROUTER) {
        let known = ROUTES.iter().find(|(prefix, _)| path.starts_with(prefix));
        let (_, who) = known.unwrap_or_else(|| panic!("{path} is served, and nothing here says to whom"));
        for method in METHODS.iter().filter(|method| **method != "OPTIONS") {
            let [anonymous, nobody] = [None, Some("nobody")].map(|user| door.status(user, method, path));
            let told = format!("{method} {path}: {anonymous} {nobody}");
            match who {
                For::All => {}
                For::Look if ["GET", "HEAD"].contains(method) => {}
                For::Look | For::Permitted => {
                    assert!(![anonymous, nobody].iter().any(|status| (200..300).contains(status)), "{told}");
                }
                // The door for joining asks for a token, and the one for certificates looks at who asks.
                For::Root if ["/node/v1/join", "/node/v1/certificates"].contains(&path) => {
                    assert!(anonymous >= 400, "{told}");
                }
                For::Fleet | For::Root => {
                    assert_eq!(anonymous, 401, "{told}");
                    assert_eq!(nobody, 403, "{told}");
                }
            }
        }
    }
}

/// Messages in frames of gRPC's: nothing; the bytes `a` as the first field, which is a key, a user or a role; the number 1 there.
const MESSAGES: [&[u8]; 3] = [&[0; 5], &[0, 0, 0, 0, 3, 0x0a, 1, b'a'], &[0, 0, 0, 0, 2, 0x08, 1]];

#[test]
fn a_call_without_the_right_is_refused_by_every_method() {
    let cluster = cluster();
    let node = &cluster.nodes[0];
    users(node, &["nobody", "root"]);
    let (door, served) = (Door::of(node), Served::by(&node.log()));
    let asked = br#"{"name":"nobody","password":"pw"}"#.to_vec();
    let answer = door.ask(None, "POST", "/v3/auth/authenticate", ("application/json", asked));
    let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let token = said["token"].as_str().unwrap();
    // By gRPC. Some look at what is asked before they look at who asks; what one method takes for no message another one does.
    for path in &served.grpc {
        let method = path.rsplit('/').next().unwrap();
        if STREAMS.contains(&method) {
            continue;
        }
        for authorization in [None, Some(token)] {
            let ask = |message: &[u8]| {
                let body = Some(("application/grpc", message.to_vec()));
                let call = http::call_as(authorization, &door.address, Method::POST, path, body, WITHIN);
                let answer = door.runtime.block_on(call).unwrap();
                let status = answer.headers.get("grpc-status").and_then(|code| code.to_str().ok());
                status.unwrap_or("0").to_owned()
            };
            let statuses: Vec<String> = MESSAGES.iter().map(|message| ask(message)).collect();
            let done = statuses.iter().any(|status| status == "0");
            let may = FOR_ALL.contains(&method) || (authorization.is_some() && FOR_USERS.contains(&method));
            assert!(may || !done, "{path}: {statuses:?}");
        }
    }
    // By JSON: the same methods.
    let streams = ["/v3/watch", "/v3/lease/keepalive", "/v3/election/observe"];
    for path in served.http.iter().filter(|path| path.starts_with("/v3/") && !streams.contains(&path.as_str())) {
        let body = ("application/json", br#"{"key":"YQ==","name":"a","user":"a","role":"a"}"#.to_vec());
        let answer = door.ask(None, "POST", path, body);
        assert!(answer.status.as_u16() >= 400, "{path}: {answer:?}");
    }
}

/// What each role of fleet's may: method, path, and the least role.
const RIGHTS: &[(&str, &str, usize)] = &[
    ("GET", "/fleet/v1/machines", 1),
    ("GET", "/fleet/v1/units", 1),
    ("GET", "/v1-alpha/units", 1),
    ("GET", "/fleet/v1/units/none.service", 1),
    ("GET", "/fleet/v1/state", 1),
    ("GET", "/fleet/v1/capacity", 1),
    ("GET", "/fleet/v1/applies", 1),
    ("GET", "/fleet/v1/simulate", 1),
    ("GET", "/fleet/v1/explain/none.service", 1),
    ("GET", "/fleet/v1/status/none.service", 1),
    ("GET", "/fleet/v1/journal/none.service", 1),
    ("PUT", "/fleet/v1/units/none.service", 2),
    ("DELETE", "/fleet/v1/units/none.service", 2),
    ("DELETE", "/v1-alpha/units/none.service", 2),
    ("POST", "/fleet/v1/restart/none.service", 2),
    ("POST", "/fleet/v1/apply", 2),
    ("POST", "/fleet/v1/rollback", 2),
    ("PATCH", "/fleet/v1/machines", 3),
    ("PUT", "/fleet/v1/cordons/none", 3),
    ("DELETE", "/fleet/v1/cordons/none", 3),
    ("POST", "/fleet/v1/rebalance", 3),
    ("POST", "/fleet/v1/what-is-not-there", 4),
];

#[test]
fn fleets_roles_may_what_they_say() {
    let cluster = cluster();
    let names = ["nobody", "fleet-view", "fleet-operate", "fleet-admin", "root"];
    users(&cluster.nodes[0], &names);
    let door = Door::of(&cluster.nodes[0]);
    for (method, path, least) in RIGHTS {
        assert_eq!(door.status(None, method, path), 401, "{method} {path}");
        for (rank, user) in names.iter().enumerate() {
            let status = door.status(Some(user), method, path);
            assert_eq!(status == 403, rank < *least, "{user}: {method} {path}: {status}");
        }
    }
}
