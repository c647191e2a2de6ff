//! `.container` units on real nodes over an engine of their own, Docker's and Podman's: they live and end by their units' rules, and
//! outlive the node's death, the engine's restart and whoever meddles with them. Needs root, dockerd, podman and Debian's
//! busybox-static.

#![allow(clippy::unwrap_used)]

#[path = "containers/commands.rs"]
mod commands;
mod common;
#[path = "containers/conditions.rs"]
mod conditions;
#[path = "containers/engine.rs"]
mod engine;
#[path = "containers/full_disk.rs"]
mod full_disk;
#[path = "containers/readiness.rs"]
mod readiness;
#[path = "containers/secrets.rs"]
mod secrets;
#[path = "containers/sessions.rs"]
mod sessions;
#[path = "containers/speed.rs"]
mod speed;
#[path = "containers/world.rs"]
mod world;

use std::time::Instant;

use common::{face, wait_for};
use engine::{Engine, Kind};
use world::{SLEEP, SOON, World, unit};

/// The same stories with each engine.
macro_rules! by_each_engine {
    ($($story:path as $name:ident,)*) => {
        mod docker {
            $(#[test] fn $name() { $story(super::Kind::Docker) })*
        }
        mod podman {
            $(#[test] fn $name() { $story(super::Kind::Podman) })*
        }
    };
}

by_each_engine! {
    super::containers_live_by_their_units as containers_live_by_their_units,
    super::health_decides_when_a_unit_is_up as health_decides_when_a_unit_is_up,
    super::readiness::a_container_is_up_once_it_says_so as a_container_is_up_once_it_says_so,
    super::containers_outlive_the_node as containers_outlive_the_node,
    super::services_and_containers_keep_each_other_company as services_and_containers_keep_each_other_company,
    super::published_ports_are_found_while_their_container_is_well as published_ports_are_found_while_their_container_is_well,
    super::units_that_publish_one_port_are_on_different_machines as units_that_publish_one_port_are_on_different_machines,
    super::networks_that_exist_are_joined_by_name as networks_that_exist_are_joined_by_name,
    super::a_port_is_handed_over_once_it_is_free as a_port_is_handed_over_once_it_is_free,
    super::commands::containers_are_run_from_a_command_line as containers_are_run_from_a_command_line,
    super::sessions::commands_in_containers_have_streams_terminals_and_ends as commands_in_containers_have_streams_terminals_and_ends,
    super::sessions::a_command_ends_with_the_engine as a_command_ends_with_the_engine,
    super::conditions::a_unit_whose_conditions_are_not_met_is_passed_over as a_unit_whose_conditions_are_not_met_is_passed_over,
    super::secrets::secrets_reach_their_containers_and_nobody_else as secrets_reach_their_containers_and_nobody_else,
}

fn containers_live_by_their_units(kind: Kind) {
    let world = World::start(kind, 3);

    // A template with specifiers; what it prints is in its journal.
    world.submit(
        "web@.container",
        &unit(&format!("echo hello $$NAME; {SLEEP}"), "Environment=NAME=%p-%i\nHostName=%i", ""),
    );
    world.fleetctl(&["start", "web@1.container", "web@2.container"]);
    world.wait_for_state("web@1.container", "active running");
    let journal = world.wait_for_journal("web@1.container", "hello web-1", 1);
    assert!(journal.contains("systemd-web_1[1]: hello web-1"), "{journal}");
    assert_eq!(world.engine.docker(&["inspect", "-f", "{{.Config.Hostname}}", "systemd-web_2"]), "2");
    let policy = world.engine.docker(&["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "systemd-web_2"]);
    assert!(["", "no"].contains(&policy.as_str()), "when it is started again is decided here, not by {policy:?}");

    // Stopped, it is kept for its output; destroyed, it is gone.
    world.fleetctl(&["stop", "web@1.container"]);
    world.wait_for_state("web@1.container", "inactive dead");
    assert!(world.said(&["journal", "web@1.container"]).contains("hello web-1"));
    world.fleetctl(&["destroy", "web@1.container"]);
    let gone = || (!world.engine.docker(&["ps", "-a", "--format", "{{.Names}}"]).contains("web_1")).then_some(());
    wait_for("the container to be removed", Instant::now() + SOON, gone);

    // How it ends, and what comes of it.
    world.begin("once.container", &unit("exit 3", "", ""));
    world.begin("job.container", &unit("echo done", "", "[Service]\nType=oneshot\nRemainAfterExit=yes"));
    world.begin(
        "again.container",
        &unit("echo once more; exit 4", "", "[Service]\nRestart=on-failure\nRestartSec=50ms"),
    );
    world.begin("nowhere.container", &unit("true", "", "").replace(engine::IMAGE, "127.0.0.1:1/nowhere:1"));
    world.wait_for_state("once.container", "failed failed");
    assert!(world.said(&["status", "once.container"]).contains("Exit code: 3"));
    world.wait_for_state("job.container", "active exited");
    world.wait_for_journal("again.container", "once more", 3);
    world.wait_for_journal("again.container", "exit code 4; started again in 100ms", 1);
    let journal = world.wait_for_journal("nowhere.container", "image 127.0.0.1:1/nowhere:1 cannot be pulled", 2);
    assert!(journal.contains("tried again in 1s") && journal.contains("tried again in 2s"), "{journal}");

    // Commands of the host around it.
    let marks = world.cluster.folder.path().join("marks");
    let mark = |key: &str| format!("{key}=/bin/sh -c 'echo {key} >> {}'\n", marks.display());
    let hooks = ["ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost"].map(mark).concat();
    world.begin("hooks.container", &unit(SLEEP, "", &format!("[Service]\n{hooks}")));
    world.wait_for_state("hooks.container", "active running");
    world.fleetctl(&["stop", "hooks.container"]);
    world.wait_for_state("hooks.container", "inactive dead");
    let marked = std::fs::read_to_string(&marks).unwrap();
    assert_eq!(marked.lines().collect::<Vec<_>>(), ["ExecStartPre", "ExecStartPost", "ExecStop", "ExecStopPost"]);

    // Removed by somebody else: made again where the unit says so, and failed with the reason where not.
    world.begin("kept.container", &unit(SLEEP, "", "[Service]\nRestart=always"));
    world.begin("lost.container", &unit(SLEEP, "", ""));
    world.wait_for_state("kept.container", "active running");
    world.wait_for_state("lost.container", "active running");
    let before = world.engine.id("systemd-kept");
    world.engine.docker(&["rm", "-f", "systemd-kept", "systemd-lost"]);
    world.wait_for_state("lost.container", "failed failed");
    assert!(world.said(&["status", "lost.container"]).contains("the container was removed, not by this node"));
    wait_for("another container", Instant::now() + SOON, || {
        world.engine.running().contains(&"systemd-kept".to_owned()).then_some(())
    });
    world.wait_for_state("kept.container", "active running");
    assert_ne!(world.engine.id("systemd-kept"), before);

    // What cannot be run is refused at the door.
    let wrong = world.cluster.folder.path().join("wrong.container");
    std::fs::write(&wrong, "[Container]\nImage=a\nPublishPorts=80\n").unwrap();
    let said = world.said(&["submit", &wrong.to_string_lossy()]);
    assert!(said.contains("line 3: [Container] PublishPorts=: unknown key; did you mean PublishPort?"), "{said}");
}

fn health_decides_when_a_unit_is_up(kind: Kind) {
    let world = World::start(kind, 1);
    let health = "HealthCmd=test -e /well\nHealthInterval=1s\nHealthRetries=1";
    world.begin("ill.container", &unit(&format!("touch /well; {SLEEP}"), health, ""));
    world.wait_for_state("ill.container", "active running");
    world.engine.docker(&["exec", "systemd-ill", "/busybox", "rm", "/well"]);
    world.wait_for_state("ill.container", "active unhealthy");
    assert!(world.said(&["status", "ill.container"]).contains("its health check fails"));
    world.engine.docker(&["exec", "systemd-ill", "/busybox", "touch", "/well"]);
    world.wait_for_state("ill.container", "active running");

    // A change that is never well is taken back.
    let file = world.cluster.folder.path().join("ill.container");
    std::fs::write(&file, unit(SLEEP, health, "")).unwrap();
    let file = file.to_string_lossy();
    let words = ["apply", "--endpoint", &world.endpoint(), "--settle", "0", "--timeout", "5", &file];
    let told = face("ctl", &world.endpoint(), &words);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.code() == Some(1) && said.contains("not well"), "{said}");
    world.wait_for_state("ill.container", "active running");
    world.engine.docker(&["exec", "systemd-ill", "/busybox", "test", "-e", "/well"]);

    // Where there is no check to be met, that is said.
    world.begin("blind.container", &unit(SLEEP, "Notify=healthy", ""));
    world.wait_for_state("blind.container", "failed failed");
    assert!(world.said(&["status", "blind.container"]).contains("neither the unit nor its image has a health check"));
}

fn containers_outlive_the_node(kind: Kind) {
    let mut world = World::start(kind, 1);
    world.begin("a.container", &unit(SLEEP, "", ""));
    world.begin("b.container", &unit(SLEEP, "", "[Service]\nRestart=always"));
    world.wait_for_state("a.container", "active running");
    world.wait_for_state("b.container", "active running");
    let before = world.engine.docker(&["inspect", "-f", "{{.Id}} {{.State.Pid}}", "systemd-a"]);
    world.cluster.nodes[0].kill_9();
    // What ends while there is no node is started again by the next one.
    world.engine.docker(&["kill", "systemd-b"]);
    world.cluster.nodes[0].start();
    world.cluster.nodes[0].wait_until_it_serves();
    world.wait_for_state("a.container", "active running");
    world.wait_for_state("b.container", "active running");
    assert_eq!(world.engine.docker(&["inspect", "-f", "{{.Id}} {{.State.Pid}}", "systemd-a"]), before);
    world.fleetctl(&["destroy", "a.container"]);
    let gone = || (!world.engine.running().contains(&"systemd-a".to_owned())).then_some(());
    wait_for("the adopted container to be removed", Instant::now() + SOON, gone);
}

#[test]
fn an_engine_that_restarts_is_waited_for() {
    let mut world = World::start(Kind::Docker, 1);
    world.begin("a.container", &unit(SLEEP, "", ""));
    world.wait_for_state("a.container", "active running");
    world.engine.stop();
    world.wait_for_state("a.container", "active engine-away");
    assert!(world.said(&["status", "a.container"]).contains("the container engine is away"));
    world.engine.start_again();
    // It went down with the engine and not by itself, so it is back, though Restart= is not set.
    world.wait_for_state("a.container", "active running");
    wait_for("the container", Instant::now() + SOON, || {
        world.engine.running().contains(&"systemd-a".to_owned()).then_some(())
    });
}

#[test]
fn an_engine_that_leaves_containers_running_finds_them_untouched() {
    let mut world = World::over(1, Engine::start(Kind::Docker, &["--live-restore"]));
    world.begin("a.container", &unit(SLEEP, "", ""));
    world.wait_for_state("a.container", "active running");
    let before = world.engine.docker(&["inspect", "-f", "{{.Id}} {{.State.Pid}}", "systemd-a"]);
    world.engine.stop();
    world.wait_for_state("a.container", "active engine-away");
    world.engine.start_again();
    world.wait_for_state("a.container", "active running");
    assert_eq!(world.engine.docker(&["inspect", "-f", "{{.Id}} {{.State.Pid}}", "systemd-a"]), before);
}

fn services_and_containers_keep_each_other_company(kind: Kind) {
    let world = World::start(kind, 1);
    let health = "HealthCmd=test -e /ready\nHealthInterval=1s\nHealthStartPeriod=10s";
    world.begin("db.container", &unit(&format!("sleep 2; touch /ready; {SLEEP}"), health, "[Service]\nRestart=no"));
    let bound = "[Unit]\nBindsTo=db.container\nAfter=db.container\n[Service]\nExecStart=/bin/sleep 1000\n";
    world.begin("web.service", bound);
    world.wait_for_state("web.service", "active running");
    assert_eq!(world.state("db.container"), "active running", "it was waited for");
    world.engine.docker(&["kill", "systemd-db"]);
    world.wait_for_state("db.container", "failed failed");
    world.wait_for_state("web.service", "inactive dead");
    assert!(world.said(&["status", "web.service"]).contains("web.service"));
    world.fleetctl(&["--no-block", "restart", "db.container"]);
    world.wait_for_state("web.service", "active running");
}

fn published_ports_are_found_while_their_container_is_well(kind: Kind) {
    let mut world = World::over(3, Engine::start_apart(kind));
    let get = |endpoint: &str, key: &str| {
        let said = common::ok("etcdctl", endpoint, &["get", "--print-value-only", key]);
        said.trim().to_owned()
    };
    let wait_for_key = |endpoint: &str, key: &str, value: &str| {
        wait_for(&format!("{key} to be {value:?}"), Instant::now() + SOON, || {
            (get(endpoint, key) == value).then_some(())
        });
    };
    let endpoint = world.endpoint();
    let ports = "PublishPort=80\nPublishPort=81\n";
    let health = format!("{ports}HealthCmd=test -e /well\nHealthInterval=1s\nHealthRetries=1");
    let register = "[X-Fleet]\nRegister=/services/%p/%i";
    world.submit("web@.container", &unit(&format!("touch /well; {SLEEP}"), &health, register));
    world.fleetctl(&["start", "web@1.container", "web@2.container"]);
    world.wait_for_state("web@1.container", "active running");
    world.wait_for_state("web@2.container", "active running");

    // The engine chose the port; it is in the unit's status and under its key.
    let chosen = |instance: &str| {
        let format = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
        world.engine.docker(&["inspect", "-f", format, &format!("systemd-web_{instance}")])
    };
    let (first, second) = (chosen("1"), chosen("2"));
    assert_ne!(first, second);
    wait_for_key(&endpoint, "/services/web/1", &format!("127.0.0.1:{first}"));
    wait_for_key(&endpoint, "/services/web/2", &format!("127.0.0.1:{second}"));
    let status = world.said(&["status", "web@1.container"]);
    assert!(status.contains(&format!("Port: {first}:80/tcp")), "{status}");

    // Who overwrites it or takes it away is put right.
    common::etcdctl_put(&endpoint, "/services/web/1", "nowhere:1");
    wait_for_key(&endpoint, "/services/web/1", &format!("127.0.0.1:{first}"));
    common::ok("etcdctl", &endpoint, &["del", "/services/web/1"]);
    wait_for_key(&endpoint, "/services/web/1", &format!("127.0.0.1:{first}"));

    // It is gone while the container is ill, and when it is stopped.
    world.engine.docker(&["exec", "systemd-web_1", "/busybox", "rm", "/well"]);
    wait_for_key(&endpoint, "/services/web/1", "");
    world.engine.docker(&["exec", "systemd-web_1", "/busybox", "touch", "/well"]);
    wait_for_key(&endpoint, "/services/web/1", &format!("127.0.0.1:{first}"));
    world.fleetctl(&["stop", "web@2.container"]);
    wait_for_key(&endpoint, "/services/web/2", "");

    // And when its machine is lost. What follows it elsewhere finds the name taken, as all machines are one engine's here.
    let machine = world.said(&["list-units", "--no-legend", "--full", "--fields", "unit,machine"]);
    let line = machine.lines().find(|line| line.starts_with("web@1.container")).unwrap().to_owned();
    let host = world.cluster.nodes.iter().position(|node| line.contains(&node.machine_id)).unwrap();
    world.cluster.nodes[host].kill_9();
    let elsewhere = world.cluster.nodes[(host + 1) % 3].endpoint();
    wait_for_key(&elsewhere, "/services/web/1", "");
}

fn units_that_publish_one_port_are_on_different_machines(kind: Kind) {
    let world = World::start(kind, 2);
    world.submit("web@.container", &unit("true", "PublishPort=8080:80", ""));
    world.fleetctl(&["--no-block", "load", "web@1.container", "web@2.container", "web@3.container"]);
    wait_for("two to be loaded", Instant::now() + SOON, || {
        let listed = world.said(&["list-units", "--no-legend", "--full", "--fields", "unit,machine"]);
        let machines: std::collections::BTreeSet<&str> =
            listed.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        (machines.len() == 2).then_some(())
    });
    let told = face("ctl", &world.endpoint(), &["explain", "web@3.container", "--endpoint", &world.endpoint()]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("which is there, takes the host's port of PublishPort=8080:80/tcp"), "{told}");

    // A registration that could not be kept is refused with what to do.
    let wrong = world.cluster.folder.path().join("lone.container");
    std::fs::write(&wrong, "[Container]\nImage=a\n[X-Fleet]\nRegister=/services/lone\n").unwrap();
    let said = world.said(&["submit", &wrong.to_string_lossy()]);
    assert!(said.contains("Register=/services/lone: there is no port to be found at it; publish one"), "{said}");
}

fn networks_that_exist_are_joined_by_name(kind: Kind) {
    let world = World::over(1, Engine::start_apart(kind));
    world.engine.docker(&["network", "create", "front"]);
    world.begin("a.container", &unit(SLEEP, "Network=front", ""));
    world.begin("b.container", &unit(SLEEP, "Network=nowhere", ""));
    let register = "[X-Fleet]\nRegister=/services/c";
    world.begin("c.container", &unit(SLEEP, "Network=host\nPublishPort=7070:7070", register));
    world.wait_for_state("a.container", "active running");
    let names = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}";
    assert_eq!(world.engine.docker(&["inspect", "-f", names, "systemd-a"]), "front");
    world.wait_for_state("b.container", "failed failed");
    assert!(world.said(&["status", "b.container"]).contains("nowhere"));
    // Its ports are the host's own, and found as if they were published.
    wait_for("the port in the host's network", Instant::now() + SOON, || {
        let found = common::ok("etcdctl", &world.endpoint(), &["get", "--print-value-only", "/services/c"]);
        (found.trim() == "127.0.0.1:7070").then_some(())
    });
}

fn a_port_is_handed_over_once_it_is_free(kind: Kind) {
    let world = World::over(1, Engine::start_apart(kind));
    let slow_to_end = "trap 'sleep 1; exit' TERM; sleep 1000 & wait";
    world.begin("blue.container", &unit(slow_to_end, "PublishPort=8080:80", ""));
    world.wait_for_state("blue.container", "active running");
    // Without Restart= a start that finds the port taken would be the last one.
    world.begin("green.container", &unit(SLEEP, "PublishPort=8080:80", "[X-Fleet]\nReplaces=blue.container"));
    world.wait_for_state("green.container", "active running");
    assert_eq!(world.engine.running(), ["systemd-green"]);
}
