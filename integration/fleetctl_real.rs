//! fleet's own `fleetctl` 1.0 and ours, one command line after the other on the same three nodes: what they print on both streams and
//! their exit codes are compared byte by byte. Where ours means to say something else the table has it, and why.
//!
//! The original is in no package: `git clone https://github.com/coreos/fleet`, and `go build` of its folder `fleetctl` in a `GOPATH`
//! without modules (`GO111MODULE=off`) make it. `make compare-fleetctl FLEETCTL=path` runs this.

#![allow(clippy::unwrap_used)]

#[path = "fleetctl_real/cases.rs"]
mod cases;
mod common;
#[path = "fleetctl_real/stage.rs"]
mod stage;

use cases::{Compared, SCENES};
use stage::{HUNG, Said, Stage, Tool};

#[test]
#[ignore = "needs fleet's own fleetctl: FLEETCTL=path"]
fn the_original_and_ours_say_the_same() {
    let real = std::env::var_os("FLEETCTL").expect("FLEETCTL=path of fleet's own fleetctl, version 1.0");
    let stage = Stage::new(real);
    let (mut compared, mut wrong) = (0, Vec::new());
    for (scene, cases) in SCENES {
        let play = |tool| -> Vec<Said> {
            let said = cases.iter().map(|(line, _)| stage.run(tool, line)).collect();
            stage.clear();
            said
        };
        let (original, ours) = (play(Tool::Original), play(Tool::Ours));
        for (((line, how), original), ours) in cases.iter().zip(&original).zip(&ours) {
            compared += 1;
            if let Compared::Ours(.., why) = how {
                println!("another answer is meant: fleetctl {line}: {why}");
            }
            if let Err(why) = compare(*how, original, ours) {
                wrong.push(format!("{scene}: fleetctl {line}: {why}\n  original {original:?}\n  ours     {ours:?}"));
            }
        }
        println!("{scene}: {} command lines", cases.len());
    }
    println!("{compared} command lines compared, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(how: Compared, original: &Said, ours: &Said) -> Result<(), &'static str> {
    let is = |holds: bool, why| if holds { Ok(()) } else { Err(why) };
    is(original.code != Some(HUNG), "the original does not end")?;
    let same_but_stderr = (original.code, &original.stdout) == (ours.code, &ours.stdout);
    match how {
        Compared::Same => is(original == ours, "differs"),
        Compared::Lines => {
            let same = (original.code, lines(&original.stdout)) == (ours.code, lines(&ours.stdout));
            is(same && original.stderr == ours.stderr, "other lines")
        }
        Compared::Begins(text) => {
            let both = original.stderr.starts_with(text) && ours.stderr.starts_with(text);
            is(same_but_stderr && both && !ours.stderr.is_empty(), "does not begin so")
        }
        Compared::Reasons => {
            let more = ours.stderr.len() > original.stderr.len() && ours.stderr.ends_with(&original.stderr);
            is(same_but_stderr && more, "not the same after the reasons")
        }
        Compared::Ours(code, stdout, stderr, _) => {
            let expected = (Some(code), stdout, stderr);
            is((ours.code, on(&ours.stdout).as_str(), ours.stderr.as_str()) == expected, "not as the table has it")?;
            is(original != ours, "no difference any more")
        }
    }
}

/// Lines in order, without the machines that they name.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().map(|line| line.split(" on {").next().unwrap_or(line)).collect();
    lines.sort_unstable();
    lines
}

/// Any machine and its address is `{on}`.
fn on(text: &str) -> String {
    ["n1", "n2", "n3"]
        .iter()
        .fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}…}}/127.0.0.1"), "{on}"))
}

#[test]
fn a_difference_is_found() {
    let said =
        |code, stdout: &str, stderr: &str| Said { code: Some(code), stdout: stdout.into(), stderr: stderr.into() };
    let one = said(0, "Unit a inactive\nUnit b loaded on {n1…}/127.0.0.1\n", "");
    let turned = said(0, "Unit b loaded\nUnit a inactive\n", "");
    let refused = said(1, "", "Error: no\n");
    let reasons = said(1, "", "since\nError: no\n");
    let ours = Compared::Ours(0, "Unit a inactive\nUnit b loaded on {on}\n", "", "");
    let cases = [
        (Compared::Same, &one, &one, true),
        (Compared::Same, &one, &turned, false),
        (Compared::Lines, &one, &turned, true),
        (Compared::Lines, &one, &said(1, &one.stdout, ""), false),
        (Compared::Lines, &one, &said(0, "Unit a inactive\n", ""), false),
        (Compared::Begins("Error: "), &refused, &said(1, "", "Error: because\n"), true),
        (Compared::Begins("Error: "), &refused, &said(2, "", "Error: because\n"), false),
        (Compared::Begins(""), &refused, &said(1, "", ""), false),
        (Compared::Reasons, &refused, &reasons, true),
        (Compared::Reasons, &refused, &refused, false),
        (Compared::Reasons, &reasons, &refused, false),
        (ours, &turned, &one, true),
        (ours, &said(HUNG, "", ""), &one, false),
        (ours, &one, &one, false),
        (ours, &one, &turned, false),
    ];
    for (at, (how, original, ours, expected)) in cases.into_iter().enumerate() {
        assert_eq!(compare(how, original, ours).is_ok(), expected, "case {at}");
    }
}
