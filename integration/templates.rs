//! Templates of real nodes: status and trace, turns of machines, and errors that heal when their cause goes.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use common::{TestCluster, WITHIN, face, ok, text, wait_for, wait_for_output};

/// A cluster whose nodes render a confdir each.
struct House {
    cluster: TestCluster,
}

impl House {
    fn plan(count: usize) -> Self {
        let mut cluster = TestCluster::plan(count);
        for node in &mut cluster.nodes {
            let confdir = node.dir.join("confd");
            for folder in ["conf.d", "templates"] {
                std::fs::create_dir_all(confdir.join(folder)).unwrap();
            }
            std::fs::create_dir(node.dir.join("out")).unwrap();
            // The last word counts.
            let words =
                ["--template-enabled", "true", "--template-confdir", &confdir.to_string_lossy()].map(str::to_owned);
            node.more.extend(words);
        }
        Self { cluster }
    }

    fn start(&mut self) {
        self.cluster.nodes.iter_mut().for_each(common::TestNode::start);
        self.cluster.nodes.iter_mut().for_each(common::TestNode::wait_until_it_serves);
    }

    /// A resource `name` of one node that writes `out/name`; `@` in the rest of its table stands for `out`.
    fn resource(&self, node: usize, name: &str, template: &str, rest: &str) {
        let dir = &self.cluster.nodes[node].dir;
        let out = dir.join("out");
        let rest = rest.replace('@', &out.to_string_lossy());
        let dest =
            if rest.contains("dest =") { String::new() } else { format!("dest = \"{}\"\n", out.join(name).display()) };
        std::fs::write(dir.join(format!("confd/templates/{name}.tmpl")), template).unwrap();
        let text = format!("[template]\nsrc = \"{name}.tmpl\"\n{dest}{rest}\n");
        std::fs::write(dir.join(format!("confd/conf.d/{name}.toml")), text).unwrap();
    }

    fn out(&self, node: usize, name: &str) -> PathBuf {
        self.cluster.nodes[node].dir.join("out").join(name)
    }

    fn until(&self, node: usize, name: &str, expected: &str) {
        let path = self.out(node, name);
        let looked = || std::fs::read_to_string(&path).is_ok_and(|text| text == expected).then_some(());
        wait_for(&format!("{name} of node {node} to be {expected:?}"), Instant::now() + WITHIN, looked);
    }

    fn put(&self, key: &str, value: &str) {
        ok("etcdctl", &self.cluster.endpoints(), &["put", key, value]);
    }

    fn ctl(&self, node: usize, words: &[&str]) -> Output {
        let endpoint = self.cluster.nodes[node].endpoint();
        face("ctl", &endpoint, &[words, &["--endpoint", &endpoint]].concat())
    }

    /// Waits until a command of `node ctl` prints all of this, whatever it ends with; returns what it printed.
    #[track_caller]
    fn tells(&self, node: usize, words: &[&str], expected: &[&str]) -> String {
        wait_for_output(
            &format!("{words:?} to tell {expected:?}"),
            || self.ctl(node, words),
            |output| {
                let told = text(output);
                (!told.is_empty() && expected.iter().all(|part| told.contains(part))).then_some(told)
            },
        )
    }
}

#[test]
fn a_key_is_followed_to_every_machine_and_told_of() {
    let mut house = House::plan(2);
    for node in 0..2 {
        house.resource(node, "x", "{{getv \"/app/port\"}}", "keys = [\"/app\"]\nreload_cmd = \"cat @/x >> @/reloads\"");
    }
    house.start();
    house.put("/app/port", "80");
    for node in 0..2 {
        house.until(node, "x", "80");
        house.until(node, "reloads", "80");
    }
    let traced = house.tells(1, &["trace", "/app/port"], &["revision 2", "ms after the write"]);
    for node in 0..2 {
        let machine = &house.cluster.nodes[node].machine_id[..8];
        house.tells(
            0,
            &["trace", "/app/port"],
            &[machine, &format!("{} replaced; reloaded by `cat", house.out(node, "x").display())],
        );
    }
    assert!(traced.contains("render"), "{traced}");
    let machines: Vec<&str> = house.cluster.nodes.iter().map(|node| &node.machine_id[..8]).collect();
    house.tells(0, &["templates"], &["NAME  MACHINE", machines[0], machines[1], " ok "]);
    house.tells(0, &["templates", "x"], &["get /app/port", "revision", "last pass"]);
    assert!(text(&house.ctl(0, &["trace", "/other"])).contains("no template reads /other"));
    assert!(text(&house.ctl(0, &["templates", "none"])).contains("no machine has none"));
}

#[test]
fn a_unit_of_the_cluster_is_reloaded_and_passes_are_counted() {
    let mut house = House::plan(1);
    let rest = "keys = [\"/k\"]\nreload_unit = \"app.service\"";
    house.resource(0, "x", "{{getv \"/k\"}}", rest);
    house.resource(0, "y", "{{getv \"/k\"}}", &format!("{rest}\nreload_signal = \"USR1\""));
    house.start();
    let (file, node) = (house.out(0, "app.service"), &house.cluster.nodes[0]);
    let out = node.dir.join("out").display().to_string();
    let main = format!("trap \"cp {out}/y {out}/signalled\" USR1; touch {out}/up; while :; do sleep 0.05; done");
    let unit = format!("[Service]\nExecStart=/bin/sh -c '{main}'\nExecReload=/bin/cp {out}/x {out}/reloaded\n");
    std::fs::write(&file, unit).unwrap();
    ok("fleetctl", &node.endpoint(), &["start", &file.display().to_string()]);
    wait_for("the unit", Instant::now() + WITHIN, || house.out(0, "up").exists().then_some(()));
    for value in ["1", "2"] {
        house.put("/k", value);
        house.until(0, "reloaded", value);
        house.until(0, "signalled", value);
    }
    house.tells(0, &["trace", "/k"], &["reloaded by `app.service`", "reloaded by `SIGUSR1 to app.service`"]);
    let mut text = String::new();
    let mut asked = std::net::TcpStream::connect(node.client).unwrap();
    asked.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    asked.read_to_string(&mut text).unwrap();
    for line in ["failed{resource=\"x\"} 0", "lookups{resource=\"y\"} 1", "replaced_total{resource=\"x\"} 2"] {
        assert!(text.contains(&format!("\ncorenode_template_{line}\n")), "{line} in {text}");
    }
}

#[test]
fn machines_take_turns() {
    let mut house = House::plan(3);
    let folder = house.cluster.folder.path().join("turns");
    std::fs::create_dir(&folder).unwrap();
    // A reload is noted when it begins and when it ends; two at a time would be seen by the lock that is there.
    let (lock, faults) = (folder.join("lock").display().to_string(), folder.join("faults").display().to_string());
    let reload = format!("mkdir {lock} || echo two >> {faults}; sleep 0.3; rmdir {lock}");
    for node in 0..3 {
        let rest = format!("keys = [\"/k\"]\nmax_parallel = 1\nreload_cmd = \"{reload}\"");
        house.resource(node, "x", "{{getv \"/k\"}}", &rest);
    }
    house.put_all_after_start("/k", "1");
    house.put("/k", "2");
    (0..3).for_each(|node| house.until(node, "x", "2"));
    wait_for("the last reload", Instant::now() + WITHIN, || (!folder.join("lock").exists()).then_some(()));
    assert!(!Path::new(&faults).exists(), "two machines reloaded at the same time");
    house.tells(0, &["templates"], &["x "]);
}

impl House {
    fn put_all_after_start(&mut self, key: &str, value: &str) {
        self.start();
        self.put(key, value);
        (0..self.cluster.nodes.len()).for_each(|node| self.until(node, "x", value));
    }
}

#[test]
fn what_goes_wrong_is_told_with_its_place_and_heals() {
    let mut house = House::plan(1);
    house.resource(0, "good", "{{getv \"/k\"}}", "keys = [\"/k\"]");
    house.resource(0, "missing", "line\n {{getv \"/none\"}}", "keys = [\"/none\"]");
    house.resource(0, "syntax", "a\nb\n{{if}}", "");
    house.resource(0, "check", "new", "check_cmd = \"test -e @/allowed\"");
    house.resource(0, "hang", "new", "reload_cmd = \"test -e @/allowed || sleep 600\"\nreload_cmd_timeout = \"1s\"");
    house.resource(0, "waits", "{{getv \"/later\"}}", "keys = [\"/later\"]\non_missing = \"wait\"");
    house.resource(0, "toml", "x", "mode = \"rw\"");
    let olds = ["missing", "syntax", "check", "waits", "toml"];
    olds.iter().for_each(|name| std::fs::write(house.out(0, name), "old").unwrap());
    house.start();
    house.put("/k", "1");
    house.until(0, "good", "1");
    let src =
        |name: &str| house.cluster.nodes[0].dir.join(format!("confd/templates/{name}.tmpl")).display().to_string();
    for (name, place, message) in [
        ("missing", format!("{}:2:3: ", src("missing")), "template: missing.tmpl:2:3: executing"),
        ("syntax", format!("{}:3: ", src("syntax")), "Unable to process template"),
        ("check", String::new(), "Config check failed: exit status 1"),
        ("hang", String::new(), "no end within 1s; it and all it started were killed"),
        ("waits", String::new(), "waits for the key /later"),
        ("toml", String::new(), "toml.toml:4:8: mode: `rw` is no file mode"),
    ] {
        let told = house.tells(0, &["templates", name], &[&format!("{place}{message}")]);
        assert!(told.contains(if name == "waits" { ": waiting" } else { "FAILED" }), "{told}");
        assert!(house.cluster.nodes[0].log().contains(message), "{name}: not in the log: {message}");
    }
    house.until(0, "hang", "new");
    for name in olds {
        house.until(0, name, "old");
    }
    // The causes go.
    house.put("/none", "here");
    house.until(0, "missing", "line\n here");
    house.put("/later", "now");
    house.until(0, "waits", "now");
    std::fs::write(house.out(0, "allowed"), "").unwrap();
    house.until(0, "check", "new");
    house.resource(0, "syntax", "mended", "");
    house.until(0, "syntax", "mended");
    house.resource(0, "toml", "x", "mode = \"0600\"");
    house.until(0, "toml", "x");
    let well = |output: &Output| (!text(output).contains("FAILED")).then_some(());
    wait_for_output("everything to be well", || house.ctl(0, &["templates"]), well);
}

#[test]
fn idle_templates_write_nothing() {
    let mut house = House::plan(1);
    house.resource(0, "x", "{{getv \"/k\"}}", "keys = [\"/k\"]");
    house.put_all_after_start("/k", "1");
    house.tells(0, &["templates"], &[" ok "]);
    let index = || {
        let endpoint = house.cluster.nodes[0].endpoint();
        let status = ok("etcdctl", &endpoint, &["endpoint", "status"]);
        status.split(", ").nth(7).map(str::to_owned).unwrap_or(status)
    };
    // What was under way comes to its end.
    let mut last = index();
    let deadline = Instant::now() + WITHIN;
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let now = index();
        if now == last {
            return;
        }
        assert!(Instant::now() < deadline, "the log goes on growing: {last} {now}");
        last = now;
    }
}
