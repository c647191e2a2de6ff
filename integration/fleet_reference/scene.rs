//! One real node, units to try things on, and the means to run command lines and send requests there.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::{NODE, TestCluster, TestNode};

pub const HELLO: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
const ALL: &str = "[Service]\nExecStart=/bin/sleep 1000\n\n[X-Fleet]\nGlobal=true\n";

/// In the place of the system's ssh: it writes down what it was asked for, makes the tunnel that it is to make, and ends with 7
/// where the command is `fail`.
const SSH: &str = r#"#!/bin/sh
echo "$*" >>"$SSH_LOG"
for word; do
    case "$word" in
        */socket:*) ln -s "${word#*:}" "${word%%:*}" ;;
        fail) exit 7 ;;
    esac
done
"#;

/// A command line, its exit code, what it prints, and what it says on stderr. `{on}` stands for the machine, `{id}` for its id,
/// `{short}` for the beginning of that, `{socket}` for the node's unix socket; words like `NAME=value` in front are variables.
pub type Case<'a> = (&'a str, i32, &'a str, &'a str);

pub struct Scene {
    pub cluster: TestCluster,
}

impl Scene {
    pub fn new() -> Self {
        let mut cluster = TestCluster::plan(1);
        let folder = cluster.folder.path().to_owned();
        let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        put("hello.service", HELLO);
        put("t@.service", HELLO);
        put("all.service", ALL);
        put("bad.service", "[X-Fleet]\nMachineID=a\nGlobal=true\n");
        put("nowhere.service", &format!("{HELLO}[X-Fleet]\nMachineMetadata=a=b\n"));
        put("fails.service", "[Service]\nExecStart=/bin/false\n");
        put("odd.service", &format!("{HELLO}[X-Fleet]\nFoo=1\n"));
        put("ssh", SSH);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join("ssh"), executable).unwrap();
        let socket = folder.join("fleet.sock");
        cluster.nodes[0].more = vec!["--fleet-socket".to_owned(), socket.display().to_string()];
        cluster.nodes.iter_mut().for_each(TestNode::start);
        cluster.nodes.iter_mut().for_each(TestNode::wait_until_it_serves);
        Self { cluster }
    }

    pub fn id(&self) -> &str {
        &self.cluster.nodes[0].machine_id
    }

    /// The machine as lists show it.
    pub fn machine(&self) -> String {
        format!("{}.../127.0.0.1", &self.id()[..8])
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.cluster.folder.path().join(name)
    }

    /// A command that asks this node, and finds the ssh of this scene.
    pub fn fleetctl(&self, line: &str) -> Command {
        let folder = format!("{}/", self.cluster.folder.path().display());
        let socket = self.file("fleet.sock").display().to_string();
        let line = line.replace("./", &folder).replace("{id}", self.id()).replace("{socket}", &socket);
        let mut words = line.split(' ').filter(|word| !word.is_empty()).peekable();
        let mut command = Command::new(NODE);
        command.arg("fleetctl").env("FLEETCTL_ENDPOINT", self.cluster.nodes[0].endpoint()).stdin(Stdio::null());
        while let Some((name, value)) = words.peek().and_then(|word| word.split_once('=')) {
            if name.starts_with('-') {
                break;
            }
            command.env(name, value);
            words.next();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(words).env("PATH", format!("{folder}:{path}")).env("SSH_LOG", self.file("ssh.log"));
        command.env("TMPDIR", &folder);
        command
    }

    /// Runs command lines one after the other, in the folder of the units; tells all that differ.
    pub fn runs(&self, cases: &[Case<'_>]) {
        let folder = format!("{}/", self.cluster.folder.path().display());
        let short = format!("{}...", &self.id()[..8]);
        let told = |text: Vec<u8>| {
            String::from_utf8(text)
                .unwrap()
                .replace(&self.machine(), "{on}")
                .replace(self.id(), "{id}")
                .replace(&short, "{short}")
                .replace(&folder, "./")
        };
        let mut wrong = Vec::new();
        for (line, code, stdout, stderr) in cases {
            let output: Output = self.fleetctl(line).output().unwrap();
            let found = (output.status.code().unwrap(), told(output.stdout), told(output.stderr));
            let stderr = if stderr.is_empty() { String::new() } else { format!("{stderr}\n") };
            let expected = (*code, (*stdout).to_owned(), stderr);
            if found != expected {
                wrong.push(format!("fleetctl {line}\n  found    {found:?}\n  expected {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// What ssh was asked for since this was asked last. The folder of a tunnel is `{tunnel}`.
    pub fn ssh_was_asked(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.file("ssh.log")).unwrap_or_default();
        let _ = std::fs::remove_file(self.file("ssh.log"));
        let folder = format!("{}/", self.cluster.folder.path().display());
        let word = |word: &str| match word.strip_prefix(&format!("{folder}fleetctl-")) {
            Some(rest) => format!("{{tunnel}}{}", rest.trim_start_matches(|c| c != '/')).replace(&folder, "./"),
            None => word.replace(&folder, "./"),
        };
        log.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Sends a request; the answer's status, and its body as JSON where it is some.
    pub fn asks(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.sends(method, path, body.map(Value::to_string).as_deref(), "application/json")
    }

    pub fn sends(&self, method: &str, path: &str, body: Option<&str>, content_type: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.cluster.nodes[0].endpoint());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-X", method, &url, "-w", "\n%{http_code}", "-H", &format!("Content-Type: {content_type}")]);
        if let Some(body) = body {
            curl.args(["--data-binary", body]);
        }
        let output = curl.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }
}
