//! Commands in units and on machines by way of the nodes, and units' output of all machines: who may, what is passed on, and what
//! becomes of it when a client or a machine is lost.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use common::{NODE, TestCluster, face, ok, wait_for};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const SOON: Duration = Duration::from_secs(60);

/// One instance a machine.
const UNIT: &str = "\
[Service]
WorkingDirectory=/tmp
Environment=COLOR=blue
ExecStart=/bin/sh -c 'n=0; while :; do n=$((n+1)); echo tick %i $n; sleep 0.1; done'

[X-Fleet]
Conflicts=web@*
";

struct World(TestCluster);

impl World {
    /// Three nodes with a socket each, and `web@1` to `web@3`, one on each.
    fn start() -> Self {
        let mut cluster = TestCluster::plan(3);
        for node in &mut cluster.nodes {
            let socket = node.dir.join("node.sock").to_string_lossy().into_owned();
            node.more = vec!["--client-socket".to_owned(), socket];
            node.start();
        }
        cluster.nodes.iter_mut().for_each(|node| node.wait_until_it_serves());
        let file = cluster.folder.path().join("web@.service");
        std::fs::write(&file, UNIT).unwrap();
        let world = Self(cluster);
        ok("fleetctl", &world.endpoint(), &["submit", &file.to_string_lossy()]);
        ok("fleetctl", &world.endpoint(), &["start", "web@1", "web@2", "web@3"]);
        world
    }

    fn endpoint(&self) -> String {
        self.0.nodes[0].endpoint()
    }

    fn socket(&self, node: usize) -> String {
        format!("unix://{}", self.0.nodes[node].dir.join("node.sock").display())
    }

    /// Which node's machine an instance is on.
    fn node_of(&self, instance: usize) -> usize {
        let listed =
            ok("fleetctl", &self.socket(0), &["list-units", "--full", "--no-legend", "--fields", "unit,machine"]);
        let line = listed.lines().find(|line| line.starts_with(&format!("web@{instance}.service"))).unwrap();
        self.0.nodes.iter().position(|node| line.contains(&node.machine_id)).unwrap()
    }

    /// Waits until one of the nodes' logs notes all of these words in one line.
    fn noted(&self, words: &[&str]) -> String {
        let logs = || -> String { self.0.nodes.iter().map(common::TestNode::log).collect() };
        let look = || logs().lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned);
        wait_for(&format!("{words:?} in a log"), Instant::now() + SOON, look)
    }
}

fn ctl(endpoint: &str, words: &[&str]) -> Command {
    let mut command = Command::new(NODE);
    command.args(["ctl", "--endpoint", endpoint]).args(words).env("NODE_CREDENTIALS", "/nowhere").stdin(Stdio::null());
    command
}

/// Both streams, and the exit code.
fn told(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

fn say(endpoint: &str, words: &[&str]) -> (String, String, i32) {
    told(&ctl(endpoint, words).output().unwrap())
}

#[test]
fn commands_run_beside_their_units() {
    let world = World::start();
    let home = world.node_of(1);
    let (socket, elsewhere) = (world.socket(home), world.socket((home + 1) % 3));

    // As the unit runs: its directory and environment; both streams and the exit code are the command's.
    let script = "pwd; echo $COLOR $NOTIFY_SOCKET; echo wrong >&2; exit 7";
    let (out, err, code) = say(&socket, &["exec", "web@1", "--", "sh", "-c", script]);
    assert_eq!((out.as_str(), err.as_str(), code), ("/tmp\nblue\n", "wrong\n", 7));
    assert_eq!(say(&socket, &["exec", "web@1.service", "sh", "-c", "kill -9 $$"]).2, 137);

    // What goes in comes out, however much.
    let sent: Vec<u8> = (0..1 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
    let mut cat = ctl(&socket, &["exec", "-i", "web@1", "--", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = cat.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).unwrap()
    });
    let mut came = Vec::new();
    cat.stdout.take().unwrap().read_to_end(&mut came).unwrap();
    writer.join().unwrap();
    assert!(cat.wait().unwrap().success() && came == sent, "{} bytes of {} came back", came.len(), sent.len());

    // On a terminal.
    let line = format!("{NODE} ctl --endpoint {socket} exec -it web@1 -- sh -c 'test -t 0 && stty size; exit 5'");
    let output = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let (out, err, code) = told(&output);
    assert!(out.contains("24 80") && code == 5, "{out}{err}{code}");

    // What cannot be done is said.
    ok("fleetctl", &world.endpoint(), &["stop", "web@3"]);
    let other = world.socket(world.node_of(3));
    for (endpoint, words, part, expected) in [
        (&socket, &["exec", "nope", "--", "true"][..], "unit does not exist", 1),
        (&other, &["exec", "web@3", "--", "true"], "no main process", 126),
        (&socket, &["exec", "web@1", "--", "/no/such/program"], "/no/such/program: No such file", 126),
        (&socket, &["exec", "web@1"], "a command", 2),
        (&socket, &["exec", "-t", "web@1", "--", "sh"], "have to be a terminal", 1),
        (&elsewhere, &["exec", "web@1", "--", "true"], "while users are asked for", 1),
        (&world.0.nodes[home].endpoint(), &["exec", "web@1", "--", "true"], "over a unix socket", 1),
    ] {
        let (_, err, code) = say(endpoint, words);
        assert!(err.contains(part) && code == expected, "{words:?}: {code} {err}");
    }

    // A client that is killed takes its command with it.
    let mut client = ctl(&socket, &["exec", "web@1", "--", "sh", "-c", "echo $$; exec sleep 998877"]);
    let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(client.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let proc = PathBuf::from(format!("/proc/{}", pid.trim()));
    assert!(proc.exists());
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the command to end", Instant::now() + SOON, || (!proc.exists()).then_some(()));

    // Who did what is noted, and not with what.
    world.noted(&[
        "a command has ended",
        "unit=\"web@1.service\"",
        "command=\"sh\"",
        "exit code 7",
        "may open the socket",
    ]);
    world.noted(&["a command has ended", "its client has gone"]);
    assert!(world.0.nodes.iter().all(|node| !node.log().contains("998877") && !node.log().contains("wrong")));
}

#[test]
fn roles_say_who_may_run_commands() {
    let world = World::start();
    let endpoint = world.endpoint();
    for role in ["view", "operate", "exec", "admin"] {
        ok("etcdctl", &endpoint, &["role", "add", &format!("fleet-{role}")]);
        ok("etcdctl", &endpoint, &["user", "add", &format!("{role}:pw")]);
        ok("etcdctl", &endpoint, &["user", "grant-role", role, &format!("fleet-{role}")]);
    }
    for line in ["user add nobody:pw", "user add root:pw", "user grant-role root root", "auth enable"] {
        ok("etcdctl", &endpoint, &line.split(' ').collect::<Vec<_>>());
    }

    // Who may: a command in a unit of any machine, a command on a machine, units' output.
    for (user, exec, logs) in [
        ("root", true, true),
        ("admin", true, true),
        ("exec", true, true),
        ("operate", false, true),
        ("view", false, true),
        ("nobody", false, false),
    ] {
        let login = format!("{user}:pw");
        for (instance, machine) in (1..=3).zip(&world.0.nodes) {
            let unit = format!("web@{instance}");
            let words = ["--user", &login, "exec", &unit, "--", "sh", "-c", "echo $COLOR; exit 3"];
            let (out, err, code) = say(&endpoint, &words);
            match exec {
                true => assert_eq!((out.as_str(), code), ("blue\n", 3), "{user}: {err}"),
                false => assert!(code == 1 && err.contains("the role fleet-exec or root"), "{user}: {code} {err}"),
            }
            let words = ["--username", &login, "ssh", &machine.machine_id, "echo", "$((6*7));", "exit", "4"];
            let (out, err, code) = told(&face("fleetctl", &endpoint, &words));
            match exec {
                true => assert_eq!((out.as_str(), code), ("42\n", 4), "{user}: {err}"),
                false => assert!(code == 1 && err.contains("users are asked for"), "{user}: {code} {err}"),
            }
        }
        let (out, err, code) = say(&endpoint, &["--user", &login, "logs", "web@1", "--lines", "1"]);
        assert!((code == 0 && out.starts_with("tick 1 ")) == logs, "{user}: {code} {out}{err}");
    }
    let (_, err, code) = say(&endpoint, &["exec", "web@1", "--", "true"]);
    assert!(code == 1 && err.contains("users are asked for"), "{err}");
    // Whoever may open a machine's socket may it on all of them, as with every other request.
    for instance in ["web@1", "web@2", "web@3"] {
        assert_eq!(say(&world.socket(0), &["exec", instance, "--", "true"]).2, 0);
    }
    world.noted(&["a command has ended", "user exec", "unit=\"web@2.service\"", "exit code 3"]);
    world.noted(&["a command has ended", "user root", "unit=\"\"", "command=\"echo\"", "exit code 4"]);

    // A client of the node's own websocket that makes no sense.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = || {
        let url = format!("{}/fleet/v1/exec/web@1.service", endpoint.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        let basic = base64::engine::general_purpose::STANDARD.encode("exec:pw");
        request.headers_mut().insert("authorization", format!("Basic {basic}").parse().unwrap());
        request
    };
    runtime.block_on(async {
        let sleep = r#"{"words":["sleep","998876"],"stdin":true}"#;
        for (messages, expected) in [
            (vec![Message::text("nonsense")], "the command: "),
            (vec![Message::text(r#"{"words":[]}"#)], "no command is given"),
            (vec![Message::binary(&b"\0x"[..])], "the first message has to be the command"),
            // In the middle of it: the client is not understood, and is gone.
            (vec![Message::text(sleep), Message::binary(&b"\x09"[..])], ""),
            (vec![Message::text(sleep), Message::binary(&b"\x04{\"Width\":-1}"[..])], ""),
        ] {
            let (mut socket, _) = tokio::time::timeout(SOON, connect_async(asked())).await.unwrap().unwrap();
            for message in &messages {
                socket.send(message.clone()).await.unwrap();
            }
            let said = tokio::time::timeout(SOON, async {
                let mut said = String::new();
                while let Some(Ok(message)) = socket.next().await {
                    if let Message::Binary(bytes) = message {
                        said += &String::from_utf8_lossy(&bytes);
                    }
                }
                said
            });
            let said = said.await.unwrap();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{messages:?}: {said:?}");
        }
        // A page in somebody's browser.
        let mut page = asked();
        page.headers_mut().insert("origin", "http://elsewhere".parse().unwrap());
        assert!(tokio::time::timeout(SOON, connect_async(page)).await.unwrap().is_err());
    });
    wait_for("sleeps to end", Instant::now() + SOON, || (!common::runs_with_argument("998876")).then_some(()));
}

/// A program whose lines are read as they come.
struct Listening {
    child: Child,
    lines: Receiver<String>,
}

impl Listening {
    fn to(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, lines) = channel();
        let errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let other = to.clone();
        std::thread::spawn(move || errors.map_while(Result::ok).try_for_each(|line| other.send(line)));
        std::thread::spawn(move || output.map_while(Result::ok).try_for_each(|line| to.send(line)));
        Self { child, lines }
    }

    /// Waits until lines have come that begin with each of these.
    fn hears(&self, beginnings: &[&str]) {
        let mut left: Vec<&str> = beginnings.to_vec();
        let deadline = Instant::now() + SOON;
        while !left.is_empty() {
            let wait = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(wait).unwrap_or_else(|_| panic!("no line begins with {left:?}"));
            left.retain(|beginning| !line.starts_with(beginning));
        }
    }

    fn forget(&self) {
        while self.lines.try_recv().is_ok() {}
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn output_of_all_machines_is_one_stream_and_outlives_a_lost_one() {
    let mut world = World::start();
    let endpoint = world.endpoint();
    let ticks = ["web@1.service | tick 1 ", "web@2.service | tick 2 ", "web@3.service | tick 3 "];
    let listening = Listening::to(ctl(&endpoint, &["logs", "-f", "web@*"]));
    listening.hears(&ticks);
    drop(listening);

    // What there is, by time; of one unit, and since when.
    let (out, err, code) = say(&endpoint, &["logs", "web@*", "--timestamps", "--lines", "20"]);
    assert_eq!(code, 0, "{err}");
    let times: Vec<&str> = out.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert!(times.is_sorted() && times.len() >= 6, "{out}");
    assert!(ticks.iter().all(|tick| out.contains(tick.split(" | ").next().unwrap())), "{out}");
    let (out, _, _) = say(&endpoint, &["logs", "web@1", "--since", "1h"]);
    assert!(out.contains("\ntick 1 1\ntick 1 2\n"), "{out}");
    assert_eq!(say(&endpoint, &["logs", "web@1", "-n", "3"]).0.lines().count(), 3);
    for (words, part, expected) in [
        (&["logs"][..], "takes units", 2),
        (&["logs", "nope"], "no unit nope runs", 1),
        (&["logs", "web@1", "--since", "tomorrow"], "no past moment", 2),
        (&["logs", "web@1", "--lines", "many"], "not a number", 1),
    ] {
        let (_, err, code) = say(&endpoint, words);
        assert!(err.contains(part) && code == expected, "{words:?}: {code} {err}");
    }

    // Another machine is lost, and comes back; then the one that is asked.
    let all = world.0.endpoints();
    let listening = Listening::to(ctl(&all, &["logs", "-f", "web@*"]));
    listening.hears(&ticks);
    for lost in [2, 0] {
        let gone = (1..=3).find(|instance| world.node_of(*instance) == lost).unwrap();
        world.0.nodes[lost].kill_9();
        listening.hears(&[&format!("-- web@{gone}.service on ")]);
        listening.forget();
        let others: Vec<&str> =
            (1..=3).filter(|instance| *instance != gone).map(|instance| ticks[instance - 1]).collect();
        listening.hears(&others);
        world.0.nodes[lost].start();
        world.0.nodes[lost].wait_until_it_serves();
        listening.forget();
        listening.hears(&ticks);
    }
}
