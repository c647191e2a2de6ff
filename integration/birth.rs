//! Clusters made by `node init` and `node join`: from nothing to a unit, who is let in and who is not, and what roles allow.

#![allow(clippy::unwrap_used)]

#[path = "common/mod.rs"]
mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::machine::{Machine, done, folder, machines, now, token_in};
use common::served::{BESIDE_THE_ROUTER, METHODS, Served};
use common::{NODE, WITHIN, ok, text, wait_for};
use corenode::base::UnixMillis;
use corenode::ctl::http::{self, Answer};
use corenode::net::tls::{Authority, ClientTls, fingerprint_of};
use corenode::trust::Token;
use corenode::wire::joining::JOIN_PATH;
use hyper::Method;

#[test]
fn three_machines_from_nothing_run_a_unit_and_keep_others_out() {
    let folder = folder();
    let mut machines = machines(folder.path(), &["a", "b", "c", "d"]);
    let first = token_in(&done(&machines[0].asked(&["init"])));
    machines[0].run();
    machines[0].wait_until_it_writes();
    done(&machines[1].asked(&["join", &first]));
    machines[1].run();
    machines[1].wait_until_it_writes();
    let single = token_in(&done(&machines[0].ctl(&["token", "create"])));
    done(&machines[2].asked(&["join", &single]));
    machines[2].run();
    machines[2].wait_until_it_writes();
    let again = text(&machines[2].asked(&["join", &single]));
    assert!(again.contains("is a member of a cluster already"), "{again}");

    // A unit that is started on one machine is seen on another.
    let unit = folder.path().join("hello.service");
    std::fs::write(&unit, "[Service]\nExecStart=/bin/sleep 1000\n").unwrap();
    ok("fleetctl", &machines[2].endpoint(), &["start", unit.to_str().unwrap()]);
    let seen = || ok("fleetctl", &machines[1].endpoint(), &["list-units"]).contains("active").then_some(());
    wait_for("the unit on another machine's list", Instant::now() + WITHIN, seen);
    let started = || {
        let members = ok("etcdctl", &machines[0].endpoint(), &["member", "list"]);
        (members.matches("started").count() == 3 && !members.contains("http://")).then_some(())
    };
    wait_for("three members, all by https", Instant::now() + WITHIN, started);

    // Away from the sockets a login takes their place.
    done(&machines[0].ctl(&["login", "--name", "ann"]));
    let folder_of_ann = machines[0].path("credentials");
    for (words, expected) in [
        ("etcdctl get ready", "ready\n1"),
        ("fleetctl list-units", "hello.service"),
        ("ctl status", "3 of 3 answer"),
        ("ctl cert list", "ann"),
    ] {
        let remote = Command::new(NODE).args(words.split(' ')).env("NODE_CREDENTIALS", &folder_of_ann).output();
        let said = done(&remote.unwrap());
        assert!(said.contains(expected), "{words}: {said}");
    }
    confd_needs_no_flags(&machines[0]);

    let listed = done(&machines[1].ctl(&["token", "list"]));
    assert!(listed.contains("good") && listed.contains("used"), "{listed}");
    refusals(&machines, &first, &single);
}

/// `confd` asks where one has logged in, and as whom.
fn confd_needs_no_flags(member: &Machine) {
    let confdir = member.dir.join("confd");
    for folder in ["conf.d", "templates"] {
        std::fs::create_dir_all(confdir.join(folder)).unwrap();
    }
    let dest = confdir.join("out");
    let resource = format!("[template]\nsrc = \"x\"\ndest = \"{}\"\nkeys = [\"/app\"]\n", dest.display());
    std::fs::write(confdir.join("conf.d/x.toml"), resource).unwrap();
    std::fs::write(confdir.join("templates/x"), "{{getv \"/app\"}}").unwrap();
    common::ok("etcdctl", &member.endpoint(), &["put", "/app", "here"]);
    for backend in ["etcdv3", "etcd"] {
        let mut confd = Command::new(NODE);
        confd
            .args(["confd", "-onetime", "-config-file", "/nonexistent", "-backend", backend, "-confdir"])
            .arg(&confdir);
        done(&confd.env("NODE_CREDENTIALS", member.path("credentials")).output().unwrap());
        assert_eq!(std::fs::read_to_string(&dest).unwrap(), "here", "{backend}");
        std::fs::remove_file(&dest).unwrap();
    }
}

/// Whoever comes with something that is not good is told why, and the node that refused has it in its log.
fn refusals(machines: &[Machine], first: &str, used: &str) {
    let (member, stranger) = (&machines[0], &machines[3]);
    let revoked = token_in(&done(&member.ctl(&["token", "create", "--uses", "3"])));
    let id = revoked.parse::<Token>().unwrap().id;
    done(&member.ctl(&["token", "revoke", &id]));
    let expired = token_in(&done(&member.ctl(&["token", "create", "--ttl", "1ms"])));
    let good: Token = first.parse().unwrap();
    let with = |change: &dyn Fn(&mut Token)| {
        let mut token = good.clone();
        change(&mut token);
        token.to_string()
    };
    let later = UnixMillis(now().0 + 3_600_000);
    let still_good = {
        let mut token: Token = expired.parse().unwrap();
        token.until = later;
        token.to_string()
    };
    let cases = [
        ("used", used.to_owned(), "is used up: 1 machines have joined", true),
        ("revoked", revoked, "was revoked", true),
        ("expired", expired, "has expired at", false),
        ("expired, by another clock", still_good, "has expired", true),
        ("a wrong secret", with(&|token| token.secret = [7; 16]), "secret of this token is wrong", true),
        ("an unknown id", with(&|token| token.id = "0123".to_owned()), "does not know this token", true),
        ("a foreign authority", with(&|token| token.authority = [7; 32]), "does not vouch for whoever answers", false),
        ("half of it", first[..40].to_owned(), "this is no token", false),
    ];
    for (what, token, expected, logged) in cases {
        let before: usize =
            machines.iter().map(|machine| machine.log().matches("a machine is not let in").count()).sum();
        let output = stranger.asked(&["join", &token]);
        let said = text(&output);
        assert!(output.status.code() == Some(1) && said.contains(expected), "{what}: {said}");
        assert!(!stranger.identity().exists(), "{what}");
        let after: usize =
            machines.iter().map(|machine| machine.log().matches("a machine is not let in").count()).sum();
        assert_eq!(after > before, logged, "{what}");
    }
    // A name that is in use, with a token that stays as good as it was.
    let taken = Command::new(NODE)
        .args(["join", first, "--no-start", "--name", "b", "--config", &stranger.path("node.toml")])
        .args(["--data-dir", &stranger.path("data"), "--client-socket", ""])
        .args(["--peer-listen", &stranger.peer.to_string(), "--client-listen", &stranger.client.to_string()])
        .output()
        .unwrap();
    assert!(text(&taken).contains("a member b runs at"), "{}", text(&taken));
    let listed = done(&member.ctl(&["token", "list"]));
    let line = listed.lines().find(|line| line.starts_with(&good.id)).unwrap();
    assert!(
        line.split_whitespace().eq([&good.id, "good", "1", "9"].into_iter().chain(line.split_whitespace().skip(4)))
    );
}

#[test]
fn without_a_certificate_nothing_answers_but_the_door_for_joining() {
    let folder = folder();
    let mut machines = machines(folder.path(), &["a"]);
    let machine = &mut machines[0];
    done(&machine.asked(&["init", "--log-level", "debug"]));
    machine.run();
    machine.wait_until_it_writes();
    let machine = &machines[0];
    let identity = machine.identity();
    let ca = std::fs::read_to_string(identity.ca()).unwrap();
    let nobody = ClientTls { pinned: Some(fingerprint_of(&ca).unwrap()), ..ClientTls::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |tls: &ClientTls, method: Method, path: &str, kind: &str| -> Result<Answer, http::HttpError> {
        runtime.block_on(http::call(&machine.by_tls(tls), method, path, Some((kind, b"{}".to_vec())), WITHIN))
    };
    let served = Served::by(&machine.log());
    for path in served.http.iter().map(String::as_str).chain(BESIDE_THE_ROUTER).filter(|path| *path != JOIN_PATH) {
        for method in METHODS {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = ask(&nobody, method.clone(), path, "application/json").unwrap();
            assert_eq!(answer.status, 401, "{method} {path}");
        }
    }
    for path in &served.grpc {
        let answer = ask(&nobody, Method::POST, path, "application/grpc").unwrap();
        assert_eq!(answer.headers.get("grpc-status").map(|code| code.as_bytes()), Some(&b"16"[..]), "{path}");
    }
    let door = ask(&nobody, Method::POST, JOIN_PATH, "application/json").unwrap();
    assert_eq!(door.status, 403, "{door:?}");

    // Certificates: of the cluster, of another one, and one whose time is over.
    let authority = identity.authority().unwrap();
    let ann = machine.as_client_of(&authority, "ann", now());
    assert_eq!(ask(&ann, Method::GET, "/version", "").unwrap().status, 200);
    let foreign = machine.as_client_of(&Authority::found("another", now()).unwrap().0, "ann", now());
    let old = machine.as_client_of(&authority, "ann", UnixMillis(now().0 - 30 * 86_400_000));
    for (what, tls) in [("foreign", &foreign), ("expired", &old)] {
        let before = machine.log().matches("a client is not let in").count();
        assert!(ask(tls, Method::GET, "/version", "").is_err(), "{what}");
        let logged = || (machine.log().matches("a client is not let in").count() > before).then_some(());
        wait_for(what, Instant::now() + WITHIN, logged);
    }

    // Members' own door lets in members only; a client's certificate is none of theirs.
    for (what, tls) in [("nobody", &nobody), ("ann", &ann), ("foreign", &foreign), ("expired", &old)] {
        let answer = machine.answers_at_peer_port(tls);
        assert!(answer.as_ref().map_or(true, Vec::is_empty), "{what}: {answer:?}");
    }
}

#[test]
fn what_is_killed_half_way_is_done_again_by_the_same_command() {
    let folder = folder();
    let mut machines = machines(folder.path(), &["a", "b"]);
    // Whenever it is killed, either nothing counts or all of it is there.
    for ms in [1, 2, 4, 8, 16, 32, 64] {
        machines[0].killed_after(&["init"], Duration::from_millis(ms));
        let identity = machines[0].identity();
        if identity.exists() {
            assert!(machines[0].dir.join("node.toml.d/10-cluster.toml").exists());
            assert!(identity.folder().join("first-token.json").exists());
            break;
        }
    }
    let again = machines[0].asked(&["init"]);
    let token = again.status.success().then(|| token_in(&done(&again)));
    if token.is_none() {
        assert!(text(&again).contains("`node run` starts it, and `node ctl token create` makes"), "{}", text(&again));
    }
    machines[0].run();
    machines[0].wait_until_it_writes();
    let token = token.unwrap_or_else(|| token_in(&done(&machines[0].ctl(&["token", "create", "--uses", "20"]))));

    for ms in [5, 10, 20, 40, 80] {
        machines[1].killed_after(&["join", &token], Duration::from_millis(ms));
    }
    if !machines[1].identity().exists() {
        done(&machines[1].asked(&["join", &token]));
    }
    machines[1].run();
    machines[1].wait_until_it_writes();
    let two = || {
        let members = ok("etcdctl", &machines[0].endpoint(), &["member", "list"]);
        (members.lines().count() == 2 && members.matches("started").count() == 2).then_some(())
    };
    wait_for("two members and no more", Instant::now() + WITHIN, two);
}
