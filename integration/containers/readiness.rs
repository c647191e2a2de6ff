//! `Notify=true`: a container's unit is up once a program in it says so.

use std::time::Instant;

use crate::common::wait_for;
use crate::engine::Kind;
use crate::world::{SLEEP, SOON, World, unit};

/// Says these things through `$NOTIFY_SOCKET` from within. The image has no program for sd_notify(3), but one for syslog(3), which
/// sends a datagram too; the line before the first is syslog's own.
fn say(things: &str) -> String {
    format!(
        r#"test -e /dev/log || /busybox ln -s "$$NOTIFY_SOCKET" /dev/log; /busybox logger "$$(printf "x\\n{things}")""#
    )
}

pub fn a_container_is_up_once_it_says_so(kind: Kind) {
    let mut world = World::start(kind, 1);
    let (waits, ready) = (say("STATUS=warming up"), say(r"STATUS=serves\\nREADY=1"));
    let line = format!("{waits}; until test -e /go; do sleep 0.1; done; {ready}; {SLEEP}");
    world.begin("slow.container", &unit(&line, "Notify=true", "[Service]\nTimeoutStartSec=infinity"));
    world.begin(
        "after.service",
        "[Unit]\nRequires=slow.container\nAfter=slow.container\n[Service]\nExecStart=/bin/sleep 1000\n",
    );
    let says = |words: &str| {
        let look = || world.said(&["status", "slow.container"]).contains(words).then_some(());
        wait_for(words, Instant::now() + SOON, look);
    };
    says("Status: \"warming up\"");
    assert_eq!(world.state("slow.container"), "activating start");
    assert!(world.said(&["status", "slow.container"]).contains("it has not told yet that it is ready"));
    assert!(!world.state("after.service").starts_with("active "), "it requires what is not up yet");
    world.engine.docker(&["exec", "systemd-slow", "/busybox", "touch", "/go"]);
    world.wait_for_state("slow.container", "active running");
    says("Status: \"serves\"");
    world.wait_for_state("after.service", "active running");

    // One that says nothing is not up in time, and one that ends first has failed.
    world.begin("mute.container", &unit(SLEEP, "Notify=true", "[Service]\nTimeoutStartSec=1"));
    world.begin("hasty.container", &unit("true", "Notify=true", ""));
    world.wait_for_state("mute.container", "failed failed");
    assert!(world.said(&["status", "mute.container"]).contains("not up within 1s (TimeoutStartSec=)"));
    world.wait_for_state("hasty.container", "failed failed");
    assert!(world.said(&["status", "hasty.container"]).contains("it ended before it told that it is ready"));

    // What it says later is heard by the node's next life, too; and the folder goes with the unit.
    world.cluster.nodes[0].kill_9();
    world.cluster.nodes[0].start();
    world.cluster.nodes[0].wait_until_it_serves();
    world.wait_for_state("slow.container", "active running");
    let later = say("STATUS=still here").replace("$$", "$").replace(r"\\n", r"\n");
    // Until the new one listens, nobody does.
    let look = || {
        world.engine.docker(&["exec", "systemd-slow", "sh", "-c", &later]);
        world.said(&["status", "slow.container"]).contains("Status: \"still here\"").then_some(())
    };
    wait_for("its word to the next life of the node", Instant::now() + SOON, look);
    let folder = format!("/run/corenode-notify/{}/slow.container", world.cluster.nodes[0].machine_id);
    assert!(std::fs::exists(&folder).unwrap());
    world.fleetctl(&["destroy", "slow.container"]);
    wait_for("its folder to go", Instant::now() + SOON, || (!std::fs::exists(&folder).unwrap()).then_some(()));
}
