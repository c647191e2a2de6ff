//! An engine of a test's own, Docker's or Podman's: its socket, its data and its containers go with it.

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

/// Whose engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Docker,
    /// Its service that speaks Docker's API, started by hand.
    Podman,
}

/// Limits that an engine without CAP_SYS_RESOURCE can set; Podman's own defaults it cannot. No containers.conf of the machine counts.
const PODMANS_CONFIGURATION: &str = "[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]
log_driver = \"k8s-file\"
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
";

pub struct Engine {
    pub kind: Kind,
    folder: tempfile::TempDir,
    /// In a network of its own, so that ports can be published and nothing of the machine's is touched.
    apart: bool,
    options: Vec<String>,
    child: Option<Child>,
}

impl Engine {
    /// Starts an engine that touches no network of the machine's, and gives it the image.
    pub fn start(kind: Kind, options: &[&str]) -> Self {
        Self::begin(kind, kind == Kind::Podman, options, None)
    }

    /// Starts one that publishes ports, to nobody.
    pub fn start_apart(kind: Kind) -> Self {
        Self::begin(kind, true, &[], None)
    }

    /// Starts one whose data is on a file system of this size.
    pub fn start_on_small_disk(kind: Kind, size: &str) -> Self {
        Self::begin(kind, kind == Kind::Podman, &[], Some(size))
    }

    fn begin(kind: Kind, apart: bool, options: &[&str], disk: Option<&str>) -> Self {
        let folder = tempfile::Builder::new().prefix("corenode-engine-").tempdir().unwrap();
        if let Some(size) = disk {
            let data = folder.path().join("data");
            std::fs::create_dir(&data).unwrap();
            let mount = ["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"];
            assert!(Command::new("mount").args(mount).arg(&data).status().unwrap().success(), "mounting needs root");
        }
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut engine = Self { kind, folder, apart, options, child: None };
        engine.start_again();
        let root = engine.folder.path().join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("tmp")).unwrap();
        std::fs::copy(BUSYBOX, root.join("busybox")).unwrap();
        for name in ["sh", "sleep", "touch", "test", "rm", "cat", "stat"] {
            std::os::unix::fs::symlink("/busybox", root.join("bin").join(name)).unwrap();
        }
        let archive = engine.folder.path().join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        engine.docker(&["import", "-c", "ENV PATH=/bin", &archive.to_string_lossy(), IMAGE]);
        engine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> String {
        self.path("docker.sock").to_string_lossy().into_owned()
    }

    /// Starts the engine over what it left, and waits until it answers.
    pub fn start_again(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = match self.kind {
            Kind::Docker => self.docker_engine(),
            Kind::Podman => self.podman_service(),
        };
        let child = command
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

    fn docker_engine(&self) -> Command {
        let mut command = Command::new(if self.apart { "unshare" } else { "dockerd" });
        match self.apart {
            true => command.args(["--net", "dockerd", "--bip=10.213.77.1/24"]),
            false => command.arg("--bridge=none"),
        };
        command
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("exec"))
            .arg("--pidfile")
            .arg(self.path("pid"))
            .args(["--host", &format!("unix://{}", self.socket())])
            .args(["--iptables=false", "--ip6tables=false"]);
        command
    }

    fn podman_service(&self) -> Command {
        let configuration = self.path("containers.conf");
        std::fs::write(&configuration, PODMANS_CONFIGURATION).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--net", "podman"]).env("CONTAINERS_CONF", configuration);
        for (option, name) in
            [("--root", "data"), ("--runroot", "exec"), ("--tmpdir", "tmp"), ("--network-config-dir", "networks")]
        {
            command.arg(option).arg(self.path(name));
        }
        command.args(["system", "service", "--time=0", &format!("unix://{}", self.socket())]);
        command
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
        // An engine that has started a second time leaves its data mounted on itself, once for each start; Podman's always does.
        for name in ["data/overlay", "data"] {
            let unmount = || Command::new("umount").arg(self.path(name)).stderr(Stdio::null()).status();
            while unmount().is_ok_and(|status| status.success()) {}
        }
    }
}
