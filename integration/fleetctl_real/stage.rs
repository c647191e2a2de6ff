//! Three nodes, units to try things on, and both tools: each command line is run by one of them there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{NODE, TestCluster, TestNode, ok, wait_for};

const SOON: Duration = Duration::from_secs(60);
const SLEEP: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
/// The command whose end is not waited for longer has hung.
const ENDS_WITHIN_S: u32 = 60;
/// The exit code of one that has.
pub const HUNG: i32 = 124;

/// Which of the two runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Original,
    Ours,
}

/// What a command printed, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub struct Stage {
    cluster: TestCluster,
    original: OsString,
}

impl Stage {
    pub fn new(original: OsString) -> Self {
        let mut cluster = TestCluster::plan(3);
        let folder = cluster.folder.path().to_owned();
        let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        std::fs::create_dir(folder.join("new")).unwrap();
        std::fs::create_dir(folder.join("folder.service")).unwrap();
        put("hello.service", &format!("[Unit]\nDescription=Says hello\n\n{SLEEP}"));
        put("new/hello.service", "[Service]\n# another text\nExecStart=/bin/sleep 2000\n");
        put("plain.service", SLEEP);
        put("pinned.service", &format!("{SLEEP}[X-Fleet]\nMachineMetadata=node=n2\n"));
        put("t@.service", SLEEP);
        put("new/t@.service", "[Service]\nExecStart=/bin/sleep 2000\n");
        put("apart@.service", &format!("{SLEEP}[X-Fleet]\nConflicts=apart@*.service\n"));
        put("all.service", &format!("{SLEEP}[X-Fleet]\nGlobal=true\n"));
        put("new/all.service", "[Service]\nExecStart=/bin/sleep 2000\n[X-Fleet]\nGlobal=true\n");
        put("nowhere.service", &format!("{SLEEP}[X-Fleet]\nMachineMetadata=a=b\n"));
        put("fails.service", "[Service]\nExecStart=/bin/false\n");
        put("odd.service", &format!("{SLEEP}[X-Fleet]\nFoo=1\n"));
        put("both.service", "[X-Fleet]\nMachineID=a\nGlobal=true\n");
        put("peers.service", "[X-Fleet]\nMachineOf=a.service\nConflicts=a.service\n");
        put("open.service", "[Service\nExecStart=/bin/true\n");
        put("garbage.service", "[Service] x\nExecStart=/bin/true\n");
        put("noequals.service", "[Service]\nExecStart\n");
        put("long.service", &format!("[Service]\nExecStart=/bin/true {}\n", "x".repeat(2100)));
        put("empty.service", "");
        put("a b.service", SLEEP);
        put("x.mount", "[Mount]\nWhat=/dev/null\nWhere=/x\n");
        put("x.target", "[Unit]\nDescription=target\n");
        std::os::unix::fs::symlink("t@.service", folder.join("t@link.service")).unwrap();
        let socket = folder.join("fleet.sock");
        cluster.nodes[0].more = vec!["--fleet-socket".to_owned(), socket.display().to_string()];
        cluster.nodes.iter_mut().for_each(TestNode::start);
        cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
        Self { cluster, original }
    }

    fn folder(&self) -> PathBuf {
        self.cluster.folder.path().to_owned()
    }

    fn endpoint(&self) -> String {
        self.cluster.nodes[0].endpoint()
    }

    /// Runs a command line in the folder of the units, and waits until nothing is on its way any more. Words like `NAME=value` in
    /// front are variables; `{socket}` is the node's unix socket, `{endpoint}` its address, `{t@1..N}` so many instances, `␣` a blank
    /// in a word.
    pub fn run(&self, tool: Tool, line: &str) -> Said {
        let socket = self.folder().join("fleet.sock").display().to_string();
        let line = line.replace("{socket}", &socket).replace("{endpoint}", &self.endpoint());
        let line = instances(&line);
        let mut words = line.split(' ').map(|word| word.replace('␣', " ")).peekable();
        let mut command = Command::new("timeout");
        command.arg(ENDS_WITHIN_S.to_string());
        match tool {
            Tool::Original => command.arg(&self.original),
            Tool::Ours => command.args([NODE, "fleetctl"]),
        };
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLEETCTL_")) {
            command.env_remove(name);
        }
        command.env("FLEETCTL_ENDPOINT", self.endpoint()).env("HOME", self.folder()).env_remove("SSH_AUTH_SOCK");
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            if name.starts_with('-') {
                break;
            }
            command.env(name, value);
            words.next();
        }
        let output = command.args(words).current_dir(self.folder()).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| self.masked(&String::from_utf8(bytes).unwrap());
        let said = Said {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr).split_inclusive('\n').map(unlogged).collect(),
        };
        self.settle(line.trim());
        said
    }

    /// What is another each time in the words that stand for it in command lines.
    fn masked(&self, text: &str) -> String {
        let socket = self.folder().join("fleet.sock").display().to_string();
        let text = text.replace(&socket, "{socket}").replace(&self.endpoint(), "{endpoint}");
        self.cluster.nodes.iter().fold(text, |text, node| {
            let short = format!("{}...", &node.machine_id[..8]);
            text.replace(&node.machine_id, &format!("{{{}}}", node.name))
                .replace(&short, &format!("{{{}…}}", node.name))
        })
    }

    fn rows(&self, list: &str, fields: &str) -> Vec<Vec<String>> {
        let text = ok("fleetctl", &self.endpoint(), &[list, "--no-legend", "--full", "--fields", fields]);
        text.lines().map(|line| line.split('\t').filter(|cell| !cell.is_empty()).map(str::to_owned).collect()).collect()
    }

    /// Waits until every unit is as it is to be, so that lists show nothing that is on its way.
    fn settle(&self, after: &str) {
        wait_for(&format!("the units to settle after {after}"), Instant::now() + SOON, || {
            self.is_settled().then_some(())
        });
    }

    fn is_settled(&self) -> bool {
        let files = self.rows("list-unit-files", "unit,global,dstate,state,target");
        let states = self.rows("list-units", "unit,active");
        let wanted = files.iter().all(|file| {
            let [unit, global, desired, state, target] = file.as_slice() else { panic!("{file:?}") };
            let mine: Vec<&str> = states.iter().filter(|row| row[0] == *unit).map(|row| row[1].as_str()).collect();
            // What no machine fits is as it is to be.
            let fits = !["nowhere.service", "apart@4.service"].contains(&unit.as_str());
            if global == "false" && desired != state && (fits || target != "-") {
                return false;
            }
            let is = |states: &[&str]| mine.iter().all(|state| states.contains(state));
            match desired.as_str() {
                "inactive" => mine.is_empty(),
                _ if target == "-" => !fits,
                _ if mine.is_empty() => false,
                "loaded" => is(&["inactive", "failed"]),
                _ => is(&["active", "failed"]) && (global == "false" || mine.len() == self.cluster.nodes.len()),
            }
        });
        wanted && states.iter().all(|row| files.iter().any(|file| file[0] == row[0]))
    }

    /// Destroys every unit and waits for their end.
    pub fn clear(&self) {
        let units: Vec<String> = self.rows("list-unit-files", "unit").concat();
        if !units.is_empty() {
            let words: Vec<&str> = std::iter::once("destroy").chain(units.iter().map(String::as_str)).collect();
            ok("fleetctl", &self.endpoint(), &words);
        }
        self.settle("their end");
    }
}

/// `{t@1..N}` as a shell would write it out.
fn instances(line: &str) -> String {
    let Some((before, rest)) = line.split_once("{t@1..") else { return line.to_owned() };
    let (count, after) = rest.split_once('}').unwrap();
    let names: Vec<String> = (1..=count.parse::<u32>().unwrap()).map(|at| format!("t@{at}.service")).collect();
    format!("{before}{}{after}", names.join(" "))
}

/// A line of the original's log without its time and place, in the words in which ours warns; nothing of what is only told.
fn unlogged(line: &str) -> String {
    let parts: Vec<&str> = line.splitn(5, ' ').collect();
    match parts.as_slice() {
        [date, _, level, place, text] if date.matches('/').count() == 2 && place.contains(".go:") => match *level {
            "INFO" => String::new(),
            _ => format!("WARNING: {text}"),
        },
        _ => line.to_owned(),
    }
}
