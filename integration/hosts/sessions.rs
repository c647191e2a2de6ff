//! Commands by `node ctl exec` through the API, on hosts with systemd: beside a service of systemd's, in a container
//! of Docker's engine and in one of Podman's, of which two are on another host than the client.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{Host, Install, Lab};
use crate::waits::wait_until;
use crate::{cluster, podman};

/// Where the commands are typed; its engine is Docker's, the other one's is Podman's.
const HERE: &str = "core-01";
const THERE: &str = "core-02";
const SEEN_BOUND: Duration = Duration::from_secs(60);
/// `node ctl` as a client from elsewhere, by the port.
const CTL: &str = "NODE_CTL_ENDPOINT=http://127.0.0.1:2379 node ctl";

const SERVICE: &str = "[Service]
User=nobody
WorkingDirectory=/tmp
PrivateTmp=yes
Environment=COLOR=blue
ExecStartPre=/bin/touch /tmp/own
ExecStart=/bin/sleep infinity

[X-Fleet]
MachineMetadata=host=core-02
";
const CONTAINER: &str = "[Container]
Image=web:1
Entrypoint=/bin/sh
Exec=-c 'trap exit TERM; /bin/busybox sleep 1000 & wait'
Environment=COLOR=blue

[X-Fleet]
MachineMetadata=host=HOST
";

/// A unit, its host, and by which name its programs go.
struct Place {
    unit: &'static str,
    host: &'static str,
    tool: &'static str,
    /// Tells them apart from those of other places.
    number: u32,
}

const PLACES: [Place; 3] = [
    Place { unit: "web.service", host: THERE, tool: "", number: 998_871 },
    Place { unit: "docker.container", host: HERE, tool: "/bin/busybox ", number: 998_872 },
    Place { unit: "podman.container", host: THERE, tool: "/bin/busybox ", number: 998_873 },
];

/// Plays it.
pub fn run() -> Result<()> {
    let settings = |host: &Host, hosts: &[Host]| match host.name.as_str() {
        THERE => podman::settings(host, hosts),
        _ => cluster::settings(host, hosts),
    };
    Lab::start(&[HERE, THERE], &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        start_units(lab)?;
        ask_for_users(lab)?;
        for place in &PLACES {
            streams_and_codes(lab, place)?;
            // What else holds of Podman's is shown in integration/containers.
            if place.unit == "podman.container" {
                continue;
            }
            terminals(lab, place)?;
            a_lost_client(lab, place)?;
            who_may(lab, place)?;
        }
        Ok(())
    })
}

fn start_units(lab: &Lab) -> Result<()> {
    podman::prepare(lab, THERE)?;
    let import = format!("docker import {} web:1", crate::app_image::ARCHIVE);
    lab.shell(HERE, &import)?.ok()?;
    lab.write_file(HERE, "/root/web.service", SERVICE)?;
    lab.write_file(HERE, "/root/docker.container", &CONTAINER.replace("HOST", HERE))?;
    lab.write_file(HERE, "/root/podman.container", &CONTAINER.replace("HOST", THERE))?;
    let units = PLACES.map(|place| place.unit).join(" ");
    wait_until("the units to start", SEEN_BOUND, || {
        lab.exec(HERE, &["sh", "-c", &format!("fleetctl --no-block start {units}")])?.ok()?;
        let listed = lab.exec(HERE, &["fleetctl", "list-units", "--no-legend", "--fields", "active,sub"])?.ok()?;
        let running = listed.stdout.lines().filter(|line| line.split_whitespace().eq(["active", "running"]));
        ensure!(running.count() == PLACES.len(), "{listed}");
        Ok(true)
    })
}

/// `ann` may run commands, `bob` may look.
fn ask_for_users(lab: &Lab) -> Result<()> {
    for line in [
        "role add fleet-exec",
        "role add fleet-view",
        "user add ann:pw",
        "user add bob:pw",
        "user add root:pw",
        "user grant-role ann fleet-exec",
        "user grant-role bob fleet-view",
        "user grant-role root root",
        "auth enable",
    ] {
        lab.shell(HERE, &format!("etcdctl {line}"))?.ok()?;
    }
    Ok(())
}

fn exec(place: &Place, options: &str, words: &str) -> String {
    format!("{CTL} --user ann:pw exec {options} {} -- {words}", place.unit)
}

fn streams_and_codes(lab: &Lab, place: &Place) -> Result<()> {
    let tool = place.tool;
    let told = lab.shell(HERE, &exec(place, "", "sh -c 'echo $COLOR; echo wrong >&2; exit 7'"))?.exits_with(7)?;
    ensure!(told.stdout == "blue\n" && told.stderr == "wrong\n", "{told}");
    if place.unit.ends_with(".service") {
        let told = lab.shell(HERE, &exec(place, "", "sh -c 'pwd; id -un; ls own; hostname'"))?.ok()?;
        ensure!(told.stdout == format!("/tmp\nnobody\nown\n{THERE}\n"), "{told}");
    }
    // What goes in comes out, and the last of much output is not lost to the end that follows it.
    let cat = exec(place, "-i", &format!("{tool}cat"));
    lab.shell(HERE, &format!("head -c 3000000 /dev/urandom >in; {cat} <in >out; cmp in out"))?.ok()?;
    let much = exec(place, "", &format!("sh -c '{tool}seq 300000; exit 3'"));
    let told = lab.shell(HERE, &format!("{much} >much; echo $?; wc -l <much; tail -n 1 much"))?.ok()?;
    ensure!(told.stdout == "3\n300000\n300000\n", "{told}");
    let refused = lab.shell(HERE, &exec(place, "", "/no/such/program"))?;
    ensure!([126, 127].contains(&refused.code) && refused.to_string().contains("/no/such/program"), "{refused}");
    Ok(())
}

fn terminals(lab: &Lab, place: &Place) -> Result<()> {
    // Old engines tell a terminal its size a moment after it has begun.
    let ask = format!("until {0}stty size | {0}grep -v \"^0 0\"; do {0}sleep 0.1; done; exit 5", place.tool);
    lab.write_file(
        HERE,
        "/root/size",
        &format!("stty rows 30 cols 100; {}\n", exec(place, "-it", &format!("sh -c '{ask}'"))),
    )?;
    let told = lab.shell(HERE, "script -qec 'sh /root/size' /dev/null </dev/null")?.exits_with(5)?;
    ensure!(told.stdout.contains("30 100"), "{told}");
    // Ctrl-C is the command's.
    let wait = format!("trap \"echo caught; exit 9\" INT; echo ready; while :; do {}sleep 0.1; done", place.tool);
    lab.write_file(HERE, "/root/wait", &format!("{}\n", exec(place, "-it", &format!("sh -c '{wait}'"))))?;
    let line = "rm -f keys; mkfifo keys; script -qec 'sh /root/wait' /dev/null <keys >said & exec 3>keys; \
        until grep -q ready said; do sleep 0.1; done; printf '\\003' >&3; wait $!; code=$?; cat said; exit $code";
    let told = lab.shell(HERE, line)?.exits_with(9)?;
    ensure!(told.stdout.contains("caught"), "{told}");
    Ok(())
}

/// A client that is killed takes its command with it.
fn a_lost_client(lab: &Lab, place: &Place) -> Result<()> {
    let Place { tool, number, host, .. } = place;
    let runs = || Ok(lab.exec(host, &["pgrep", "-fx", &format!("({tool})?sleep {number}")])?.code == 0);
    let client = exec(place, "", &format!("{tool}sleep {number}")).replace("node ctl", "exec node ctl");
    lab.shell(HERE, &format!("({client}) </dev/null >/dev/null 2>&1 & echo $! >client"))?.ok()?;
    wait_until("the command to run", SEEN_BOUND, runs)?;
    lab.shell(HERE, "kill -9 $(cat client)")?.ok()?;
    wait_until("the command to end with its client", SEEN_BOUND, || Ok(!runs()?))
}

/// Who has not the role is refused, and who has is noted.
fn who_may(lab: &Lab, place: &Place) -> Result<()> {
    let as_bob = exec(place, "", "true").replace("ann:pw", "bob:pw");
    let refused = lab.shell(HERE, &as_bob)?.exits_with(1)?;
    ensure!(refused.stderr.contains("the role fleet-exec or root"), "{refused}");
    let as_nobody = exec(place, "", "true").replace("--user ann:pw ", "");
    let refused = lab.shell(HERE, &as_nobody)?.exits_with(1)?;
    ensure!(refused.stderr.contains("users are asked for"), "{refused}");
    let log = lab
        .exec(place.host, &["journalctl", "-u", "node", "-o", "cat", "--no-pager", "-g", "a command has ended"])?
        .ok()?
        .stdout;
    for how in ["exit code 7", "its client has gone"] {
        let noted = |line: &str| ["user ann", place.unit, how].iter().all(|word| line.contains(word));
        ensure!(log.lines().any(noted), "{}: {how} is not noted:\n{log}", place.unit);
    }
    ensure!(!log.contains(&place.number.to_string()) && !log.contains("user bob"), "{log}");
    Ok(())
}
