//! `Secret=`: out of the store into containers, and nowhere else.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::common::{NODE, ok, wait_for};
use crate::engine::{Engine, Kind};
use crate::world::{SLEEP, SOON, World, unit};

/// `node ctl secret …`, with this on its standard input.
fn secret(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(NODE)
        .args(["ctl", "secret"])
        .args(arguments)
        .env("NODE_CTL_ENDPOINT", world.endpoint())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn set(world: &World, arguments: &[&str], input: &str) {
    let output = secret(world, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

pub fn secrets_reach_their_containers_and_nobody_else(kind: Kind) {
    let world =
        World::with(1, Engine::start(kind, &[]), |node| node.more.extend(["--log-level", "debug"].map(str::to_owned)));
    let text = unit(
        &format!("cat /run/secrets/db; stat -c %%a:%%u /run/secrets/db; echo =$$TOKEN=; {SLEEP}"),
        "Secret=db,mode=0440,uid=7\nSecret=api,type=env,target=TOKEN",
        "",
    );
    set(&world, &["create", "db"], "first-of-db\n");
    world.begin("app.container", &text);
    // One is missing: it is said which, and as soon as it is there the unit comes up.
    world.wait_for_journal("app.container", "there is no secret api; make it with `node ctl secret create api`", 1);
    world.wait_for_state("app.container", "failed secret");
    set(&world, &["create", "api"], "key-of-api");
    world.wait_for_state("app.container", "active running");
    let journal = world.wait_for_journal("app.container", "=key-of-api=", 1);
    assert!(journal.contains("first-of-db") && journal.contains(": 440:7"), "{journal}");
    let inspected = world.engine.docker(&["inspect", "systemd-app"]);
    assert!(!inspected.contains("first-of-db"), "{inspected}");

    // A new value counts from the next start on.
    let taken = secret(&world, &["create", "db"], "second-of-db\n");
    let said = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(taken.status.code() == Some(1) && said.contains("there is a secret `db` already"), "{said}");
    set(&world, &["create", "--replace", "db"], "second-of-db\n");
    world.fleetctl(&["--no-block", "restart", "app.container"]);
    world.wait_for_journal("app.container", "second-of-db", 1);
    world.wait_for_state("app.container", "active running");

    // They are listed, and told nowhere: not by keys, not by the log, on no disk but the store's.
    let listed = String::from_utf8(secret(&world, &["list"], "").stdout).unwrap();
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["NAME", "VERSION"], ["api", "1"], ["db", "2"]]);
    assert_eq!(ok("etcdctl", &world.endpoint(), &["get", "--prefix", ""]), "");
    let log = world.cluster.nodes[0].log();
    for bytes in ["first-of-db", "second-of-db", "key-of-api"] {
        assert!(!log.contains(bytes), "the log tells {bytes}");
    }
    let files = format!("/dev/shm/corenode-secrets/{0} /run/corenode-secrets/{0}", world.cluster.nodes[0].machine_id);
    let kept =
        |files: &str| files.split(' ').filter(|dir| fs::read_dir(dir).is_ok_and(|mut d| d.next().is_some())).count();
    assert_eq!(kept(&files), 1, "the file that is mounted");
    world.fleetctl(&["destroy", "app.container"]);
    wait_for("the files to go", Instant::now() + SOON, || (kept(&files) == 0).then_some(()));
    files.split(' ').for_each(|dir| drop(fs::remove_dir(dir)));
    set(&world, &["remove", "db"], "");
    let absent = secret(&world, &["remove", "db"], "");
    assert!(String::from_utf8_lossy(&absent.stderr).contains("there is no secret `db`"), "{absent:?}");
}
