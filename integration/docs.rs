//! The README's examples, run: `console` blocks against a cluster of `node dev`, `toml` blocks through `node config check`.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NODE: &str = env!("CARGO_BIN_EXE_node");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A command of a block and the lines that are shown to come back.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = markdown;
    let fence = format!("```{language}\n");
    while let Some((_, after)) = rest.split_once(&fence) {
        let (block, tail) = after.split_once("\n```").expect("every fence is closed");
        found.push(block.to_owned());
        rest = tail;
    }
    found
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), expected: Vec::new() }),
            None => steps.last_mut().expect("a block starts with a command").expected.push(line.to_owned()),
        }
    }
    steps
}

/// `…` stands for any text within a line; a line of it alone for any number of lines.
fn matches(expected: &[String], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "…" => {
            (0..=actual.len()).any(|skipped| matches(rest, &actual[skipped..]))
        }
        (Some((first, rest)), Some((line, tail))) => line_matches(first, line) && matches(rest, tail),
        _ => false,
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|head| actual.strip_prefix(head)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A cluster of `node dev`, ended when it goes out of scope.
struct Cluster(Child);

impl Cluster {
    /// Returns when the cluster serves; `node dev` itself gives up when that takes too long, and its output ends.
    fn start(env: &Path) -> Self {
        let mut child = Command::new(NODE).args(["dev", "--env"]).arg(env).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let cluster = Self(child);
        let served = lines.by_ref().any(|line| line.unwrap().starts_with("export NODE_DEV_DIR="));
        assert!(served, "the cluster ended before it served");
        // What it prints later is read too, so that it never waits for a reader.
        std::thread::spawn(move || lines.count());
        cluster
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The examples' folder, with the tools beside them.
fn workplace() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let examples = folder.path().join("examples");
    let copied =
        Command::new("cp").arg("-r").arg(format!("{ROOT}/config/usr/share/doc/node/examples")).arg(&examples).status();
    assert!(copied.unwrap().success());
    for tool in ["node", "etcdctl", "fleetctl", "confd"] {
        std::os::unix::fs::symlink(NODE, folder.path().join(tool)).unwrap();
    }
    (folder, examples)
}

#[test]
fn the_readmes_commands_do_what_it_shows() {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let (folder, examples) = workplace();
    let env = folder.path().join("cluster.env");
    let _cluster = Cluster::start(&env);
    let steps: Vec<Step> = blocks(&readme, "console").iter().flat_map(|block| steps(block)).collect();
    assert!(steps.len() > 15, "only {} commands were found", steps.len());
    for step in steps {
        let script = format!(". {}; PATH={}:$PATH; {}", env.display(), folder.path().display(), step.command);
        let output =
            Command::new("timeout").args(["30", "bash", "-c", &script]).current_dir(&examples).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let shown = format!("$ {}\nprinted:\n{stdout}\non standard error:\n{stderr}", step.command);
        assert!(output.status.success(), "{}: {shown}", output.status);
        let lines: Vec<&str> = stdout.lines().collect();
        assert!(matches(&step.expected, &lines), "the README shows:\n{}\n{shown}", step.expected.join("\n"));
    }
}

#[test]
fn the_readmes_settings_are_good() {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    let examples = blocks(&readme, "toml");
    assert!(!examples.is_empty());
    for example in examples {
        std::fs::write(&file, example).unwrap();
        check_config(&file);
    }
}

#[test]
fn the_shipped_settings_are_the_defaults() {
    let shown = check_config(Path::new(&format!("{ROOT}/config/etc/node/node.toml")));
    let defaults = Command::new(NODE).args(["config", "check", "--config", "/dev/null"]).output().unwrap();
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit_once("  (").map_or(line, |(value, _)| value).to_owned()).collect()
    };
    let defaults = values(&String::from_utf8_lossy(&defaults.stdout));
    assert_eq!(values(&shown), defaults);
    assert!(shown.lines().all(|line| line.contains("node.toml:")), "a setting is missing from the file:\n{shown}");
}

fn check_config(file: &Path) -> String {
    let output = Command::new(NODE).args(["config", "check", "--config"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn wildcards_match_as_they_should() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    assert!(matches(&lines("a\n…\nb…d"), &["a", "x", "y", "bcd"]));
    assert!(!matches(&lines("a\n…\nb…d"), &["a", "x", "bc"]));
    assert!(!matches(&lines("a"), &["a", "b"]));
    assert!(!matches(&lines(""), &["a"]));
    assert!(line_matches("x … y … z", "x 1 y 2 z") && !line_matches("x … y … z", "x 1 z"));
}
