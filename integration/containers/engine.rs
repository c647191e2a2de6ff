//! A Docker engine of a test's own: its socket, its data and its containers go with it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{terminate, wait_for};

/// The one image: busybox, whose shell is its entry point's.
pub const IMAGE: &str = "busybox-of-the-test:1";
/// Statically linked, from the package busybox-static.
const BUSYBOX: &str = "/bin/busybox";
const BOUND: Duration = Duration::from_secs(60);

pub struct Engine {
    folder: tempfile::TempDir,
    /// In a network of its own, so that ports can be published and nothing of the machine's is touched.
    apart: bool,
    options: Vec<String>,
    child: Option<Child>,
}

impl Engine {
    /// Starts an engine without networks of its own, so that nothing of the machine's is touched, and gives it the image.
    pub fn start(options: &[&str]) -> Self {
        Self::begin(false, options)
    }

    /// Starts one that publishes ports, to nobody.
    pub fn start_apart() -> Self {
        Self::begin(true, &[])
    }

    fn begin(apart: bool, options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-engine-").tempdir().unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut engine = Self { folder, apart, options, child: None };
        engine.start_again();
        let root = engine.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("tmp")).unwrap();
        std::fs::copy(BUSYBOX, root.join("busybox")).unwrap();
        for name in ["sh", "sleep", "touch", "test", "rm"] {
            std::os::unix::fs::symlink("/busybox", root.join("bin").join(name)).unwrap();
        }
        let archive = engine.folder.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        engine.docker(&["import", "-c", "ENV PATH=/bin", &archive.to_string_lossy(), IMAGE]);
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> String {
        self.path("docker.sock").to_string_lossy().into_owned()
    }

    /// Starts the engine over what it left, and waits until it answers.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(if self.apart { "unshare" } else { "dockerd" });
        match self.apart {
            true => command.args(["--net", "dockerd", "--bip=10.213.77.1/24"]),
            false => command.arg("--bridge=none"),
        };
        let child = command
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .args(["--host", &format!("unix://{}", self.socket())])
            .args(["--iptables=false", "--ip6tables=false"])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("the engine to answer", Instant::now() + BOUND, || {
            let answers = self.command(&["version"]).output().unwrap().status.success();
            if let Some(ended) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("the engine ended: {ended}\n{}", std::fs::read_to_string(self.path("log")).unwrap());
            }
            answers.then_some(())
        });
    }

    /// Asks the engine to end, and waits for it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        terminate(child.id());
        wait_for("the engine to end", Instant::now() + BOUND, || child.try_wait().unwrap());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &format!("unix://{}", self.socket())]).args(arguments).stdin(Stdio::null());
        command
    }

    /// What a `docker` command prints.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?}: {}\n{stderr}", output.status);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The names of what runs.
    pub fn running(&self) -> Vec<String> {
        self.docker(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }

    pub fn id(&self, container: &str) -> String {
        self.docker(&["inspect", "-f", "{{.Id}}", container])
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // One that leaves containers running when it ends must have none by then.
        if let Ok(listed) = self.command(&["ps", "-aq"]).output() {
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let ids: Vec<&str> = listed.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = self.command(&["rm", "-f", "-v"]).args(ids).output();
            }
        }
        self.stop();
        // An engine that has started a second time leaves its data mounted on itself, once for each start.
        let unmount = || Command::new("umount").arg(self.path("data")).stderr(Stdio::null()).status();
        while unmount().is_ok_and(|status| status.success()) {}
    }
}
