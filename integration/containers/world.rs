//! Nodes over one engine, and what is asked of them.

use std::time::{Duration, Instant};

use crate::common::{TestCluster, TestNode, face, ok};
use crate::engine::{self, Engine, Kind};

pub const SOON: Duration = Duration::from_secs(60);

/// Nodes over one engine.
pub struct World {
    // In this order they go: the nodes first, so that nobody starts again what the engine's end takes down.
    pub cluster: TestCluster,
    pub engine: Engine,
}

impl World {
    pub fn start(kind: Kind, count: usize) -> Self {
        Self::over(count, Engine::start(kind, &[]))
    }

    pub fn over(count: usize, engine: Engine) -> Self {
        Self::with(count, engine, |_| {})
    }

    /// The same, each node set up further.
    pub fn with(count: usize, engine: Engine, set_up: impl Fn(&mut TestNode)) -> Self {
        let mut cluster = TestCluster::plan(count);
        for node in &mut cluster.nodes {
            node.more = vec!["--docker-socket".to_owned(), engine.socket()];
            set_up(node);
            node.start();
        }
        cluster.nodes.iter_mut().for_each(|node| node.wait_until_it_serves());
        Self { cluster, engine }
    }

    pub fn endpoint(&self) -> String {
        self.cluster.nodes[0].endpoint()
    }

    pub fn fleetctl(&self, arguments: &[&str]) -> String {
        ok("fleetctl", &self.endpoint(), arguments)
    }

    /// Both streams of a command that need not succeed.
    pub fn said(&self, arguments: &[&str]) -> String {
        let output = face("fleetctl", &self.endpoint(), arguments);
        [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
    }

    pub fn submit(&self, name: &str, text: &str) {
        let file = self.cluster.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        self.fleetctl(&["submit", &file.to_string_lossy()]);
    }

    /// Submits and starts a unit without waiting for what comes of it.
    pub fn begin(&self, name: &str, text: &str) {
        self.submit(name, text);
        self.fleetctl(&["--no-block", "start", name]);
    }

    /// `ACTIVE (SUB)` of a unit.
    pub fn state(&self, unit: &str) -> String {
        let all = self.said(&["list-units", "--no-legend", "--full", "--fields", "unit,active,sub"]);
        let line = all.lines().find_map(|line| line.strip_prefix(unit)).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        words.join(" ")
    }

    pub fn wait_for_state(&self, unit: &str, state: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let now = self.state(unit);
            if now == state {
                return;
            }
            let status = || self.said(&["status", unit]);
            assert!(Instant::now() < deadline, "{unit} is {now:?}, not {state:?}:\n{}", status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn wait_for_journal(&self, unit: &str, words: &str, times: usize) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            let journal = self.said(&["journal", "--lines", "100", unit]);
            if journal.matches(words).count() >= times {
                return journal;
            }
            assert!(Instant::now() < deadline, "{words:?} is not {times} times in the journal of {unit}:\n{journal}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A container's unit: what its shell runs, and the rest of `[Container]` and of the unit.
pub fn unit(line: &str, container: &str, rest: &str) -> String {
    let line = line.replace('\'', "\"");
    format!("[Container]\nImage={}\nExec=sh -c '{line}'\n{container}\n{rest}\n", engine::IMAGE)
}

/// Ends at once when it is asked to, as the first process of a container does only where it says so.
pub const SLEEP: &str = "trap exit TERM; sleep 1000 & wait";
