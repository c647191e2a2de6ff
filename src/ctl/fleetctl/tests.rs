//! The command line as a whole: both dialects, prefixes, usage errors, help.
#![allow(clippy::unwrap_used)]

use super::commands::{COMMANDS, named, split_tail, verb_at};
use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The exit code of a command line that asks nobody.
fn code(line: &str) -> u8 {
    match dispatch(&words(line), &|_| None) {
        Ok(code) => code,
        Err(failed) => failed.code,
    }
}

#[test]
fn commands_are_found_by_name_and_by_unique_prefix() {
    for (name, expected) in [
        ("start", "start"),
        ("list-m", "list-machines"),
        ("list-unit-", "list-unit-files"),
        ("list-units", "list-units"),
        ("j", "journal"),
        ("stat", "status"),
        ("un", "unload"),
    ] {
        assert_eq!(named(name).map(|command| command.name), Ok(expected), "{name}");
    }
    let unknown = named("bogus").map(|command| command.name).unwrap_err();
    assert_eq!(unknown, "Error: unknown command \"bogus\" for \"fleetctl\"\nRun 'fleetctl --help' for usage.");
    let ambiguous = named("sta").map(|command| command.name).unwrap_err();
    assert!(ambiguous.contains("Did you mean this?\n\tstart\n\tstatus\n"), "{ambiguous}");
    assert!(named("strat").map(|command| command.name).unwrap_err().contains("\tstart\n"));
}

#[test]
fn the_command_is_the_first_word_that_belongs_to_no_flag() {
    for (line, expected) in [
        ("list-units", Some(0)),
        ("--endpoint http://a:1 list-units", Some(2)),
        ("-endpoint=http://a:1 --debug start a", Some(2)),
        ("--fields unit list-units", Some(2)),
        ("--help", None),
        ("", None),
        ("--", None),
    ] {
        assert_eq!(verb_at(&words(line)), expected, "{line}");
    }
}

#[test]
fn what_stands_behind_ssh_is_another_commands() {
    let ssh = named("ssh").unwrap();
    for (line, ours, tail) in [
        ("ssh m1", "ssh m1", ""),
        ("ssh m1 ls -la /", "ssh m1", "ls -la /"),
        ("ssh m1 -- ls -la", "ssh m1", "ls -la"),
        ("ssh -A --ssh-port 23 m1 uptime", "ssh -A --ssh-port 23 m1", "uptime"),
        ("ssh m1 -A uptime -p", "ssh m1 -A", "uptime -p"),
        ("ssh --machine=m1 uptime -p", "ssh --machine=m1", "uptime -p"),
        ("ssh -unit a.service -- df -h", "ssh -unit a.service", "df -h"),
        ("--tunnel b ssh m1 id -u", "--tunnel b ssh m1", "id -u"),
    ] {
        let line = words(line);
        let verb = verb_at(&line).unwrap();
        assert_eq!(split_tail(ssh, &line, verb), (words(ours), words(tail)), "{line:?}");
    }
    let start = named("start").unwrap();
    let line = words("start a -- b");
    assert_eq!(split_tail(start, &line, 0), (line.clone(), Vec::new()));
}

#[test]
fn exit_codes_of_command_lines() {
    for (line, expected) in [
        ("", 0),
        ("--help", 0),
        ("-h", 0),
        ("help", 0),
        ("help start", 0),
        ("help bogus", 2),
        ("start --help", 0),
        ("version", 0),
        ("--version", 0),
        ("-v", 0),
        ("bogus", 2),
        ("start --bogus a", 2),
        ("list-units --no-block", 2),
        ("list-units --full=maybe", 2),
        ("start --block-attempts", 2),
        ("start --block-attempts=x", 2),
        ("journal --lines=x a", 2),
        ("status --ssh-port=x a", 2),
        ("start", 0),
        ("stop -no-block", 0),
        ("start --sign a", 2),
        ("verify a", 2),
        ("--driver nope list-units", 1),
        ("--endpoint 127.0.0.1:1 list-units", 1),
        ("--endpoint unix:///nowhere/at/all list-units", 1),
        ("--endpoint unix:///nowhere/at/all list-units --fields bogus", 1),
    ] {
        assert_eq!(code(line), expected, "{line}");
    }
}

#[test]
fn variables_stand_in_for_global_flags_only() {
    let variable = |name: &str| (name == "FLEETCTL_ENDPOINT").then(|| "nonsense".to_owned());
    let failed = dispatch(&words("list-units"), &variable).map_err(|failed| failed.message);
    assert_eq!(failed, Err("Unable to initialize client: URL scheme undefined".to_owned()));
}

#[test]
fn help_tells_of_every_command_and_flag() {
    let all = help::all();
    for command in COMMANDS {
        assert!(all.contains(command.name) || matches!(command.name, "verify" | "fd-forward"), "{}", command.name);
        let one = help::of(command);
        assert!(one.contains(command.usage) && (one.contains("  $ fleetctl") || command.name == "verify"), "{one}");
    }
    for flag in GLOBAL {
        assert!(all.contains(flag.names[0]), "{}", flag.names[0]);
    }
    assert!(all.contains("VERSION:\n\t1.0.0\n"));
}
