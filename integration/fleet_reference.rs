//! What fleet's users rely on, as tables of cases: command lines with what they print and end with, requests with their answers, on one
//! real node. The tests are named after the parts of fleet that they hold, `fleetctl` first (a), its API after it (c, d). What needs no
//! node is tested beside its code under names of the same kind: options (b) in `unit::requirements`, `unit::name`, `unit::specifier`
//! and `fleet::plan`, engine and agent (e) in `fleet::plan` and `fleet::diff`, `fleet.conf` (f) in `app::fleetd`.

#![allow(clippy::unwrap_used)]

#[path = "fleet_reference/api.rs"]
mod api;
mod common;
#[path = "fleet_reference/functional.rs"]
mod functional;
#[path = "fleet_reference/scene.rs"]
mod scene;

use std::io::{Read, Write};
use std::process::Stdio;

use scene::{HELLO, Scene};

#[test]
fn a_1_global_flags_and_environment() {
    let scene = Scene::new();
    let refused = "Error retrieving list of units from repository: cannot connect to 127.0.0.1:1: Connection refused (os error 111)";
    let undefined = "Unable to initialize client: URL scheme undefined";
    scene.runs(&[
        ("FLEETCTL_ENDPOINT=http://127.0.0.1:1 list-units", 1, "", refused),
        ("FLEETCTL_ENDPOINT=http://127.0.0.1:1 --endpoint unix://{socket} list-units --no-legend", 0, "", ""),
        ("-endpoint=file://{socket} list-units -no-legend", 0, "", ""),
        ("--endpoint 127.0.0.1:1 list-units", 1, "", undefined),
        ("list-units --endpoint ftp://a", 1, "", "Unable to initialize client: unsupported protocol scheme \"ftp\""),
        ("FLEETCTL_NO_LEGEND=true list-units", 0, "UNIT\tMACHINE\tACTIVE\tSUB\n", ""),
        ("FLEETCTL_FULL=true list-machines --no-legend --fields machine", 0, "{short}\n", ""),
        ("--request-timeout 1.5 --driver API --debug=false list-units --no-legend", 0, "", ""),
        ("version", 0, "fleetctl version 1.0.0\n", ""),
        ("--version", 0, "fleetctl version 1.0.0\n", ""),
    ]);
}

#[test]
fn a_3_waiting() {
    let scene = Scene::new();
    let reason = "{on}: MachineMetadata asks for a=b; the machine has no a";
    let timed_out = format!(
        "Unit nowhere.service fits on no machine:\n  {reason}\n\
         Error waiting for units: timed out waiting for unit nowhere.service to report state launched\n\
         Error waiting for unit states, exit status: timed out waiting for unit nowhere.service to report state launched"
    );
    let failed = "Unit fails.service is failed (failed) on {on}; `fleetctl journal fails.service` may say why\n\
        Error waiting for units: Failed to find an active unit fails.service within 2s, err: Failed to fetch states within 2s\n\
        Error waiting for systemd unit states, err: Failed to find an active unit fails.service within 2s, err: Failed to fetch states within 2s";
    let odd = "WARNING: Unit odd.service: unrecognized requirement in [X-Fleet] section: \"Foo\"";
    let launched = |name: &str| format!("Unit {name}.service inactive\nUnit {name}.service launched on {{on}}\n");
    scene.runs(&[
        ("start --block-attempts=1 ./nowhere.service", 1, "Unit nowhere.service inactive\n", &timed_out),
        ("start nowhere", 0, "", ""),
        ("start ./fails.service", 1, &launched("fails"), failed),
        ("start fails", 0, "", ""),
        ("start ./odd.service", 0, &launched("odd"), odd),
        ("stop --no-block odd", 0, "Triggered unit odd.service stop\n", "Successfully stopped units [odd.service]."),
        ("load --no-block ./hello.service", 0, "Unit hello.service inactive\nTriggered unit hello.service load\n", ""),
        ("start --block-attempts 20 hello", 0, "Unit hello.service launched on {on}\n", ""),
        (
            "unload --no-block hello",
            0,
            "Triggered unit hello.service unload\n",
            "Successfully unloaded units [hello.service].",
        ),
    ]);
}

#[test]
fn a_6_ssh_mechanics() {
    let scene = Scene::new();
    let proceed = |why: &str| format!("Unable to proceed: {why}");
    let nothing = proceed("could not find matching unit or machine");
    let (one, both) = (
        proceed("one machine or unit must be provided"),
        "Both machine and unit flags provided, please specify only one.",
    );
    scene.runs(&[
        ("submit ./all.service", 0, "Unit all.service \n", ""),
        ("load ./hello.service", 0, "Unit hello.service inactive\nUnit hello.service loaded on {on}\n", ""),
        ("ssh", 1, "", &one),
        ("ssh nope uptime", 1, "", &nothing),
        ("ssh all uptime", 1, "", &nothing),
        ("ssh --machine {id} --unit hello uptime", 1, "", both),
    ]);
    assert_eq!(scene.ssh_was_asked(), [""; 0]);
    for (line, code, asked) in [
        ("ssh {id}", 0, "-l core -o ConnectTimeout=10 127.0.0.1"),
        ("ssh hello df -h", 0, "-l core -o ConnectTimeout=10 127.0.0.1 -- df -h"),
        ("ssh -A --ssh-port 23 hello -- df -h", 0, "-l core -o ConnectTimeout=10 -p 23 -A 127.0.0.1 -- df -h"),
        ("ssh --machine {id} fail", 7, "-l core -o ConnectTimeout=10 127.0.0.1 -- fail"),
        ("--ssh-username joe --ssh-timeout 2.5 ssh --unit hello id", 0, "-l joe -o ConnectTimeout=3 127.0.0.1 -- id"),
        ("FLEETCTL_SSH_USERNAME=joe ssh hello id", 0, "-l joe -o ConnectTimeout=10 127.0.0.1 -- id"),
        (
            "--strict-host-key-checking=false ssh hello id",
            0,
            "-l core -o ConnectTimeout=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 127.0.0.1 -- id",
        ),
        (
            "--known-hosts-file /hosts ssh hello id",
            0,
            "-l core -o ConnectTimeout=10 -o UserKnownHostsFile=/hosts 127.0.0.1 -- id",
        ),
    ] {
        let output = scene.fleetctl(line).output().unwrap();
        assert_eq!((output.status.code(), scene.ssh_was_asked()), (Some(code), vec![asked.to_owned()]), "{line}");
    }
    // The endpoint is the bastion's, and so is the way to machines.
    let opened = "-l core -o ConnectTimeout=10 -o ExitOnForwardFailure=yes -p 2222 -f -N -M -S {tunnel}/control \
        -L {tunnel}/socket:./fleet.sock bastion";
    let closed = "-S {tunnel}/control -O exit bastion";
    let through = "-l core -o ConnectTimeout=10 -J core@bastion:2222 127.0.0.1 -- id";
    scene.runs(&[(
        "--tunnel bastion:2222 --endpoint unix://{socket} list-machines --no-legend --fields machine -l",
        0,
        "{id}\n",
        "",
    )]);
    assert_eq!(scene.ssh_was_asked(), [opened, closed]);
    scene.runs(&[("FLEETCTL_TUNNEL=bastion:2222 --endpoint unix://{socket} ssh hello id", 0, "", "")]);
    assert_eq!(scene.ssh_was_asked(), [opened, through, closed]);
}

/// The far end of the tunnel of an old `fleetctl`.
#[test]
fn a_6_fd_forward() {
    let scene = Scene::new();
    let mut forward =
        scene.fleetctl("fd-forward {socket}").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut there, mut back) = (forward.stdin.take().unwrap(), forward.stdout.take().unwrap());
    there.write_all(b"GET /fleet/v1/machines HTTP/1.1\r\nHost: fleet\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(scene.id()) {
        let mut piece = [0; 1024];
        let read = back.read(&mut piece).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    drop(there);
    assert!(forward.wait().unwrap().success());
    scene.runs(&[("fd-forward", 1, "", "Provide a single argument")]);
}

#[test]
fn a_4_commands_and_d_the_states_that_they_lead_to() {
    let scene = Scene::new();
    scene.runs(&[
        (
            "start --block-attempts=x ./hello.service",
            2,
            "",
            "Error: flag `--block-attempts`: `x` is not a number\nRun 'fleetctl --help' for usage.",
        ),
        ("cat hello", 1, "", "Unit hello.service not found"),
        ("submit ./hello.service", 0, "Unit hello.service inactive\n", ""),
        ("ssh hello uptime", 1, "", "Unable to proceed: could not find matching unit or machine"),
        ("ssh --unit hello uptime", 1, "", "Could not determine address of machine."),
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
fn a_2_unit_names_templates_and_globals() {
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
fn a_5_lists_are_tabwriters() {
    let scene = Scene::new();
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
        ("list-units -l --no-legend --fields machine", 0, "{id}/127.0.0.1\n", ""),
        (
            "list-machines --fields machine,ip,metadata",
            0,
            "MACHINE\t\tIP\t\tMETADATA\n{short}\t127.0.0.1\tnode=n1\n",
            "",
        ),
        ("list-units --fields bogus", 1, "", "Invalid key in output format: \"bogus\""),
        ("list-units --fields=", 1, "", "Must define output format"),
        ("list-machines --fields UNIT", 1, "", "Invalid key in output format: \"UNIT\""),
    ]);
}
