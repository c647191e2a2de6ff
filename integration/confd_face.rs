//! The face `confd` beside what confd 0.16 was recorded to do: exit codes, log lines, files. See confd_face/record.py.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

const NODE: &str = env!("CARGO_BIN_EXE_node");

/// A case and how it ended.
#[derive(Deserialize)]
struct Case {
    name: String,
    files: BTreeMap<String, String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    exit: i32,
    lines: Vec<String>,
    outs: BTreeMap<String, String>,
}

/// Where we differ, and why: a line that must be there instead of the recorded ones; `@` is the folder.
const DIFFERENT: &[(&str, &str)] = &[
    // A broken file is told with its place, and the others are used.
    ("broken toml", "ERROR Cannot process template resource @/conf.d/x.toml - @/conf.d/x.toml:1:"),
    ("empty src", "ERROR Cannot process template resource @/conf.d/x.toml - @/conf.d/x.toml:1:1: empty src template"),
    // What there is instead is told.
    ("bad backend", "FATAL Invalid backend: `nope`; there are etcd, etcdv3, file and env"),
    // The place is told.
    ("bad config file", "FATAL @/confd.toml:1: interval: must be a whole number, not string"),
    ("dest dir missing", "ERROR staging a file in @/none: No such file or directory (os error 2)"),
    ("file missing", "ERROR @/none.yaml: No such file or directory (os error 2)"),
];

/// Files that come out differently, where that is decided.
const OTHER_FILES: &[(&str, &str, &str)] = &[("broken toml", "y", "y")];

struct Played {
    exit: i32,
    lines: Vec<String>,
    stdout: String,
}

fn play(case: &Case, folder: &Path) -> Played {
    let base = folder.to_string_lossy();
    for (path, text) in &case.files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text.replace('@', &base)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let output = Command::new(NODE)
        .arg("confd")
        .args(case.args.iter().map(|word| word.replace('@', &base)))
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .envs(&case.env)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap().replace(&*base, "@");
    let lines = stderr.lines().map(|line| bare(line).to_owned()).filter(|line| !line.starts_with("DEBUG"));
    Played {
        exit: output.status.code().unwrap(),
        lines: lines.map(|line| without_chance(&line)).collect(),
        stdout: String::from_utf8(output.stdout).unwrap(),
    }
}

/// A line without time, host and process.
fn bare(line: &str) -> &str {
    let head = line.split_once("]: ");
    head.filter(|(head, _)| head.split(' ').count() == 3).map_or(line, |(_, rest)| rest)
}

/// The name of a staged file with `N` for its random digits.
fn without_chance(line: &str) -> String {
    let Some(at) = line.find("/.x") else { return line.to_owned() };
    let (head, tail) = line.split_at(at + 3);
    format!("{head}N{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn cases() -> Vec<Case> {
    include_str!("confd_face/cases.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn does_what_confd_was_recorded_to_do() {
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        let played = play(&case, folder.path());
        let name = &case.name;
        assert_eq!(played.exit, case.exit, "{name}: {:?}", played.lines);
        if let Some((_, expected)) = DIFFERENT.iter().find(|(one, _)| one == name) {
            let told = played.lines.iter().any(|line| line.starts_with(expected));
            assert!(told, "{name}: no line {expected:?} in {:#?}", played.lines);
        } else if case.exit == 2 {
            assert_eq!(played.lines[0], case.lines[0], "{name}");
        } else {
            assert_eq!(played.lines, case.lines, "{name}");
        }
        let mut outs = case.outs.clone();
        for (_, out, content) in OTHER_FILES.iter().filter(|(one, ..)| one == name) {
            outs.insert((*out).to_owned(), (*content).to_owned());
        }
        for out in ["x", "y", "a", "b", "r"] {
            let found = std::fs::read_to_string(folder.path().join(out)).ok();
            assert_eq!(found.as_ref(), outs.get(out), "{name}: {out}");
        }
    }
}

/// Pairs of path and text.
type Files<'a> = &'a [(&'a str, &'a str)];

/// A case of ours.
fn ours(files: Files<'_>, args: &str) -> Case {
    let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let mut args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    args.extend(["-confdir", "@", "-config-file", "/nonexistent"].map(str::to_owned));
    Case { name: String::new(), files, args, env: BTreeMap::new(), exit: 0, lines: Vec::new(), outs: BTreeMap::new() }
}

const RESOURCE: &str = "[template]\nsrc = \"x.tmpl\"\ndest = \"@/x\"\nkeys = [\"/app\"]\noutput_format = \"json\"\n";

#[test]
fn a_noop_shows_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("conf.d/x.toml", "[template]\nsrc = \"x.tmpl\"\ndest = \"@/x\"\n"),
        ("templates/x.tmpl", "a\nB\nc\n"),
        ("x", "a\nb\nc\n"),
    ];
    let played = play(&ours(&files, "-onetime -noop -backend env"), folder.path());
    let dest = folder.path().join("x").display().to_string();
    assert_eq!(played.stdout, format!("--- {dest}\n+++ {dest}\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"));
    assert_eq!(played.exit, 0);
}

#[test]
fn resources_are_checked_and_validated_before_they_are_used() {
    let keys = ("keys.yaml", "app:\n  port: 80\n");
    let good = ("templates/x.tmpl", "{\"port\": {{getv \"/app/port\"}}}\n");
    let cases: [(&str, Files<'_>, i32, &str); 6] = [
        ("check", &[("conf.d/x.toml", RESOURCE), good], 0, ""),
        (
            "check",
            &[("conf.d/x.toml", RESOURCE), ("templates/x.tmpl", "{{if}}")],
            1,
            "template: x.tmpl:1: missing value for if",
        ),
        (
            "check",
            &[("conf.d/x.toml", "[template]\nsrc = \"x.tmpl\"\ndest = \"@/x\"\nmin_entires = 1\n")],
            1,
            "x.toml:4:1: unknown key `min_entires`; did you mean `min_entries`?",
        ),
        ("validate -mock @/keys.yaml", &[("conf.d/x.toml", RESOURCE), good, keys], 0, ""),
        (
            "validate -mock @/keys.yaml",
            &[("conf.d/x.toml", RESOURCE), ("templates/x.tmpl", "{{getv \"/app/port\"}},"), keys],
            1,
            "the output is no JSON: trailing characters (its line 1, column 3)",
        ),
        (
            "--validate --mock-data @/keys.yaml",
            &[("conf.d/x.toml", RESOURCE), ("templates/x.tmpl", "\n {{getv \"/app/none\"}}"), keys],
            1,
            "template: x.tmpl:2:3: executing",
        ),
    ];
    for (args, files, exit, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let played = play(&ours(files, args), folder.path());
        assert_eq!(played.exit, exit, "{args} {files:?}: {:?}", played.lines);
        assert!(played.lines.join("\n").contains(expected), "{args}: {expected} in {:#?}", played.lines);
        assert!(!folder.path().join("x").exists(), "{args} wrote the file");
    }
}

#[test]
fn files_are_watched() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("conf.d/x.toml", "[template]\nsrc = \"x.tmpl\"\ndest = \"@/x\"\nkeys = [\"/app\"]\n"),
        ("templates/x.tmpl", "{{getv \"/app/port\"}}"),
        ("keys.yaml", "app:\n  port: 80\n"),
    ];
    play(&ours(&files, "-onetime -backend file -file @/keys.yaml"), folder.path());
    let base = folder.path().to_string_lossy().into_owned();
    let args = ["confd", "file", "--file", &format!("{base}/keys.yaml"), "--watch", "--confdir", &base];
    let mut child = Command::new(NODE).args(args).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    for port in ["81", "82"] {
        std::fs::write(folder.path().join("keys.new"), format!("app:\n  port: {port}\n")).unwrap();
        std::fs::rename(folder.path().join("keys.new"), folder.path().join("keys.yaml")).unwrap();
        while std::fs::read_to_string(folder.path().join("x")).unwrap() != port {
            assert!(std::time::Instant::now() < deadline, "the file does not follow");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
