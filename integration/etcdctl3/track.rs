//! One cluster and one client that go through the table.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use corenode::ctl::http;
use corenode::net::Address;

use crate::NODE;
use crate::cluster::{Cluster, ETCDCTL, Setup};
use crate::compare::Side;
use crate::mask::Mask;
use crate::table::{Kind, Step};

/// No command takes longer; one that does is killed, and that is its outcome.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// API 2 waits two seconds for an answer, which a loaded machine may need.
const PATIENTLY: &[&str] = &["--timeout", "10s", "--total-timeout", "11s"];
/// What is asked for again and again comes by then.
const PRINTS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a command printed, masked, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    end: String,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Without the lines of Go's log, which are no answers.
    pub fn without_log(&self) -> Self {
        let answers: Vec<&str> = self.stderr.lines().filter(|line| !line.starts_with("log: ")).collect();
        Self { stderr: answers.join("\n"), ..self.clone() }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}{}", self.end, self.stdout, self.stderr)
    }
}

struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Stays open while a command goes on in the background.
    _stdin: Option<ChildStdin>,
}

pub struct Track {
    side: Side,
    api: &'static str,
    cluster: Cluster,
    mask: Mask,
    /// What `%NAME%` stands for.
    places: HashMap<String, String>,
    leases: usize,
    added: usize,
    commands: usize,
    running: HashMap<String, Running>,
}

impl Track {
    pub fn start(side: Side, setup: &Setup) -> Self {
        let cluster = Cluster::start(side, setup);
        let mut places = HashMap::new();
        let mut mask = Mask::default();
        places.insert("DIR".to_owned(), cluster.folder.path().display().to_string());
        mask.word(cluster.folder.path().display().to_string(), "DIR");
        places.insert("ALL".to_owned(), cluster.clients.join(","));
        for (at, (client, peer)) in cluster.clients.iter().zip(&cluster.peers).enumerate() {
            places.insert(format!("E{}", at + 1), client.clone());
            mask.word(client, format!("E{}", at + 1));
            places.insert(format!("P{}", at + 1), peer.clone());
            mask.word(peer, format!("P{}", at + 1));
        }
        let mut track = Self {
            side,
            api: setup.api,
            cluster,
            mask,
            places,
            leases: 0,
            added: 0,
            commands: 0,
            running: HashMap::new(),
        };
        track.learn_members();
        track
    }

    /// Learns the ids, and has the first member lead.
    fn learn_members(&mut self) {
        let list = self.debian(&["-w", "json", "member", "list"]);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        self.mask.id(list["header"]["cluster_id"].as_u64().unwrap(), "CLUSTER");
        for member in list["members"].as_array().unwrap() {
            let (name, id) = (member["name"].as_str().unwrap(), member["ID"].as_u64().unwrap());
            self.mask.id(id, &format!("ID-{name}"));
            self.places.insert(name.to_owned(), format!("{id:x}"));
            self.places.insert(format!("{name}d"), id.to_string());
        }
        let all = self.places["ALL"].clone();
        let status = self.debian(&["--endpoints", &all, "-w", "json", "endpoint", "status"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let first = u64::from_str_radix(&self.places["m1"], 16).unwrap();
        if status[0]["Status"]["leader"].as_u64() != Some(first) {
            let first = self.places["m1"].clone();
            self.debian(&["--endpoints", &all, "move-leader", &first]);
        }
    }

    /// Debian's client, for what the table itself needs.
    fn debian(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(ETCDCTL);
        self.point(&mut command, arguments.iter().copied());
        command.env("ETCDCTL_API", "3");
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Carries out a step. `None`: it has no outcome of its own, or is not for this client.
    pub fn take(&mut self, step: &Step) -> Option<Outcome> {
        let outcome = self.carry_out(step);
        // What only Debian's client can do is done by it for ours too, so that the clusters stay alike; that shows nothing.
        outcome.filter(|_| !(step.debian_only && self.side.is_our_client()))
    }

    fn carry_out(&mut self, step: &Step) -> Option<Outcome> {
        match &step.kind {
            Kind::Run => Some(self.run(step)),
            Kind::Until => Some(self.run_until_it_prints(step)),
            Kind::Start(name) => {
                let running = self.spawn(step);
                self.running.insert(name.clone(), running);
                None
            }
            Kind::Interrupt(name, lines) => {
                let running = self.running.remove(name)?;
                Some(self.interrupted(running, *lines, step))
            }
            Kind::Ended(name) => {
                let running = self.running.remove(name)?;
                Some(self.ended(running, step))
            }
            Kind::Post { path, body } => {
                self.post(path, &self.filled(body));
                None
            }
        }
    }

    /// Asks the first member's gateway.
    fn post(&self, path: &str, body: &str) {
        let address: Address = self.cluster.clients[0].parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let body = Some(("application/json", body.as_bytes().to_vec()));
        let answer = runtime.block_on(http::call(&address, hyper::Method::POST, path, body, ENDS_WITHIN)).unwrap();
        assert!(answer.status.is_success(), "{path}: {:?}", answer.body);
    }

    /// Says where the cluster is, unless the words do: Debian's client refuses to hear it twice.
    fn point<'a>(&self, command: &mut Command, mut words: impl Iterator<Item = &'a str>) {
        command.env("ETCDCTL_API", self.api).env_remove("ETCDCTL_ENDPOINTS");
        let points = |word: &str| {
            ["--endpoint", "--peers", "-C", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS"]
                .iter()
                .any(|start| word.starts_with(start))
        };
        if !words.any(points) {
            // API 2 takes URLs only.
            let scheme = if self.api == "2" { "http://" } else { "" };
            command.env("ETCDCTL_ENDPOINTS", format!("{scheme}{}", self.places["E1"]));
        }
    }

    fn filled(&self, word: &str) -> String {
        let mut word = word.to_owned();
        for (name, value) in &self.places {
            word = word.replace(&format!("%{name}%"), value);
        }
        word
    }

    fn spawn(&mut self, step: &Step) -> Running {
        self.commands += 1;
        let folder = self.cluster.folder.path();
        let file = |kind: &str| folder.join(format!("{}.{kind}", self.commands));
        let (stdout, stderr) = (file("out"), file("err"));
        let (variables, words) = step.words.split_at(step.variables);
        let mut command = match self.side {
            side if side.is_our_client() && !step.debian_only => {
                let mut command = Command::new(NODE);
                command.arg("etcdctl");
                command
            }
            _ => Command::new(ETCDCTL),
        };
        command
            .args(if self.api == "2" { PATIENTLY } else { &[] })
            .args(words.iter().map(|word| self.filled(word)))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap());
        self.point(&mut command, step.words.iter().map(String::as_str));
        for (name, value) in variables.iter().filter_map(|word| word.split_once('=')) {
            command.env(name, self.filled(value));
        }
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who does not read its input closes it.
        let _ = stdin.write_all(self.filled(&step.input).as_bytes());
        let stdin = Some(stdin).filter(|_| matches!(step.kind, Kind::Start(_)));
        Running { child, stdout, stderr, _stdin: stdin }
    }

    fn run(&mut self, step: &Step) -> Outcome {
        let running = self.spawn(step);
        self.ended(running, step)
    }

    fn run_until_it_prints(&mut self, step: &Step) -> Outcome {
        let deadline = Instant::now() + PRINTS_WITHIN;
        loop {
            let outcome = self.run(step);
            if !outcome.stdout.is_empty() || Instant::now() >= deadline {
                return outcome;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn interrupted(&mut self, running: Running, lines: usize, step: &Step) -> Outcome {
        let deadline = Instant::now() + ENDS_WITHIN;
        let printed = || std::fs::read_to_string(&running.stdout).unwrap_or_default().lines().count();
        while printed() < lines && Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
        }
        let pid = rustix::process::Pid::from_child(&running.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        self.ended(running, step)
    }

    fn ended(&mut self, mut running: Running, step: &Step) -> Outcome {
        let deadline = Instant::now() + ENDS_WITHIN;
        let status = loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() >= deadline {
                let _ = running.child.kill();
                let _ = running.child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let (stdout, stderr) = (text(&running.stdout), text(&running.stderr));
        self.learn_lease(&stdout);
        self.learn_member(&stdout);
        let stderr: Vec<String> = stderr.lines().filter_map(Self::said).collect();
        let texts = [stdout, stderr.join("\n")].map(|text| self.mask.text(&text));
        let [stdout, stderr] = if step.sorted { texts.map(|text| sorted(&text)) } else { texts };
        Outcome { end: ending(status), stdout, stderr }
    }

    /// A granted lease gets a name for the lines behind: `%L1%`, `%L2%`, …
    fn learn_lease(&mut self, stdout: &str) {
        let Some((_, rest)) = stdout.split_once("lease ") else { return };
        let Some((id, _)) = rest.split_once(" granted with TTL") else { return };
        self.leases += 1;
        let name = format!("L{}", self.leases);
        self.mask.id(u64::from_str_radix(id, 16).unwrap(), &name);
        self.places.insert(name, id.to_owned());
    }

    /// A member that was added gets a name too: `%M1%`, `%M2%`, …
    fn learn_member(&mut self, stdout: &str) {
        let Some((id, _)) = stdout.strip_prefix("Member ").and_then(|rest| rest.trim_start().split_once(" added to"))
        else {
            return;
        };
        self.added += 1;
        let name = format!("M{}", self.added);
        self.mask.id(u64::from_str_radix(id, 16).unwrap(), &name);
        self.places.insert(name, id.to_owned());
    }

    /// A line of standard error; of a line of the log, the error that it tells of.
    fn said(line: &str) -> Option<String> {
        let Ok(log) = serde_json::from_str::<serde_json::Value>(line) else { return Some(line.to_owned()) };
        log["error"].as_str().map(|error| format!("log: {error}"))
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        for running in self.running.values_mut() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn ending(status: Option<ExitStatus>) -> String {
    match status {
        None => format!("does not end within {ENDS_WITHIN:?}"),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        },
    }
}
