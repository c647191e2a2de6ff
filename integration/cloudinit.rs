//! `node cloudinit` below another root, where it writes and runs nothing: the tutorials' files, a second time, and mistakes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NODE: &str = env!("CARGO_BIN_EXE_node");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/usr/share/doc/node/examples/cloud-config");
const ADDRESS: &str = "172.17.8.101";

/// A machine's root in a folder, and a user-data beside it.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(machine.root()).unwrap();
        machine
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root().join(path)).is_ok()
    }

    /// Runs it with a user-data.
    fn run(&self, user_data: &str, flags: &[&str]) -> Output {
        let file = self.folder.path().join("user-data");
        fs::write(&file, user_data).unwrap();
        self.run_file(&file, flags)
    }

    fn run_file(&self, file: &Path, flags: &[&str]) -> Output {
        let addresses = ["--private-ipv4", ADDRESS, "--public-ipv4", ADDRESS];
        let mut command = Command::new(NODE);
        command.args(["cloudinit", "--from-file"]).arg(file).arg("--root").arg(self.root());
        command.env_remove("COREOS_PUBLIC_IPV6").env_remove("COREOS_PRIVATE_IPV6");
        command.args(addresses).args(flags).output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Steps that were done, or would be.
fn done(output: &Output) -> Vec<String> {
    out(output).lines().filter(|line| line.starts_with("+ ")).map(str::to_owned).collect()
}

/// Whether `node run` takes a settings file.
fn config_check(file: &Path) {
    let output = Command::new(NODE).args(["config", "check", "--config"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
}

#[test]
fn the_tutorial_of_2015_is_carried_out_and_a_second_time_changes_nothing() {
    let machine = Machine::new();
    machine.put("etc/environment", "LANG=C\n");
    machine.put("usr/lib/systemd/system/node.service", "");
    let file = Path::new(EXAMPLES).join("etcd2.yaml");
    let validated = machine.run_file(&file, &["--validate"]);
    assert!(validated.status.success(), "{}", out(&validated));
    assert_eq!(out(&validated), "");

    let planned = machine.run_file(&file, &["--plan"]);
    assert!(planned.status.success(), "{}", err(&planned));
    assert!(done(&planned).len() > 5, "{}", out(&planned));
    assert!(!machine.has("etc/hostname"), "a plan has written");

    let first = machine.run_file(&file, &[]);
    assert!(first.status.success(), "{}{}", out(&first), err(&first));
    assert_eq!(done(&first).len(), done(&planned).len(), "{}", out(&first));
    assert_eq!(machine.text("etc/hostname"), "core-01\n");
    assert_eq!(machine.text("run/flannel/options.env"), format!("FLANNELD_IFACE={ADDRESS}"));
    assert_eq!(machine.text("etc/coreos/update.conf"), "REBOOT_STRATEGY=off\n");
    assert!(machine.text("etc/systemd/system/docker-tcp.socket").contains("ListenStream=2375"));
    assert!(machine.has("etc/systemd/system/flanneld.service.d/50-network-config.conf"));
    let environment = format!("LANG=C\nCOREOS_PRIVATE_IPV4={ADDRESS}\nCOREOS_PUBLIC_IPV4={ADDRESS}\n");
    assert_eq!(machine.text("etc/environment"), environment);
    let link = |path: &str| fs::read_link(machine.root().join(path)).unwrap();
    assert_eq!(link("run/systemd/system/etcd2.service"), Path::new("/usr/lib/systemd/system/node.service"));
    assert_eq!(link("run/systemd/system/locksmithd.service"), Path::new("/dev/null"));
    let settings = machine.root().join("etc/node/node.toml.d/20-cloudinit.toml");
    assert!(fs::read_to_string(&settings).unwrap().contains("peer.listen = \"172.17.8.101:2380\""));
    config_check(&settings);

    for flags in [&["--plan"][..], &[]] {
        let again = machine.run_file(&file, flags);
        assert!(again.status.success(), "{}", err(&again));
        assert_eq!(done(&again), Vec::<String>::new(), "{}", out(&again));
    }
    // Without its sections the node has its own settings again.
    let without = machine.run("#cloud-config\n", &[]);
    assert!(without.status.success() && !settings.exists(), "{}", out(&without));
}

#[test]
fn the_tutorial_of_2014_is_carried_out() {
    let machine = Machine::new();
    machine.put("etc/hostname", "core-01\n");
    let output = machine.run_file(&Path::new(EXAMPLES).join("etcd.yaml"), &[]);
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    let settings = machine.root().join("etc/node/node.toml.d/20-cloudinit.toml");
    let text = fs::read_to_string(&settings).unwrap();
    for line in [
        "client.advertise = \"http://172.17.8.101:4001\"",
        "peer.advertise = \"http://172.17.8.101:7001\"",
        "fleet.public_ip = \"172.17.8.101\"",
        "fleet.metadata = \"region=eu,disk=ssd\"",
    ] {
        assert!(text.contains(line), "{text}");
    }
    config_check(&settings);
    assert!(machine.has("run/systemd/system/fleet.service"));
    assert!(out(&output).contains("- systemctl start node.service, anew if its settings were changed: left out"));
}

#[test]
fn exit_codes_and_problems_are_those_of_the_original() {
    let machine = Machine::new();
    for (user_data, code, expected) in [
        ("", 0, ""),
        ("#!/bin/sh\n", 0, ""),
        ("#cloud-config\n", 0, ""),
        ("nonsense\n", 1, "line 1: error: must be \"#cloud-config\" or begin with \"#!\"\n"),
        (
            "#cloud-config\nhostnam: a\n",
            1,
            "line 2: warning: unrecognized key \"hostnam\"; did you mean \"hostname\"?\n",
        ),
        (
            "#cloud-config\ncoreos:\n  etcd2:\n    listen-client-urls: http://nowhere\n",
            1,
            "line 4: error: the node's setting `client.listen` is `nowhere`: ",
        ),
    ] {
        let output = machine.run(user_data, &["--validate"]);
        assert_eq!(output.status.code(), Some(code), "{user_data}");
        let told = out(&output);
        assert!(told.starts_with(expected) && told.is_empty() == expected.is_empty(), "{user_data}: {told}");
    }
    let usage = |arguments: &[&str]| Command::new(NODE).arg("cloudinit").args(arguments).output().unwrap();
    assert_eq!(usage(&[]).status.code(), Some(2));
    assert_eq!(usage(&["--from-fil", "x"]).status.code(), Some(2));
    assert_eq!(usage(&["--from-file", "/nonexistent/user-data"]).status.code(), Some(1));
    let help = usage(&["--help"]);
    assert!(help.status.success() && out(&help).contains("--from-file"));
}

#[test]
fn a_mistake_locks_nobody_out() {
    let machine = Machine::new();
    let user_data = "#cloud-config\nhostname: core-02\ncoreos:\n  etcd2:\n    proxy: on\n  units:\n    - name: etcd2.service\n      \
                     command: start\n";
    let output = machine.run(user_data, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("user-data: line 5: error: etcd2: \"proxy\""), "{}", err(&output));
    assert_eq!(machine.text("etc/hostname"), "core-02\n");
    assert!(!machine.has("etc/node"), "wrong settings were written");
    assert!(!out(&output).contains("start node.service"), "{}", out(&output));
    assert!(machine.run(user_data, &["--ignore-failure"]).status.success());
}

#[test]
fn files_have_their_content_mode_and_place() {
    let machine = Machine::new();
    let user_data = "#cloud-config\nwrite_files:\n  - path: /opt/bin/hello\n    permissions: \"0755\"\n    content: |\n      \
                     #!/bin/sh\n      echo hello\n  - {path: ../../secret, encoding: base64, content: aGk=, permissions: \"0600\"}\n";
    assert!(machine.run(user_data, &[]).status.success());
    assert_eq!(machine.text("opt/bin/hello"), "#!/bin/sh\necho hello\n");
    let mode = |path: &str| fs::metadata(machine.root().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("opt/bin/hello"), mode("opt/bin"), mode("secret")), (0o755, 0o755, 0o600));
    assert_eq!(machine.text("secret"), "hi");

    let outside = machine.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, machine.root().join("way-out")).unwrap();
    let output = machine.run("#cloud-config\nwrite_files:\n  - path: /way-out/file\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("a link leads out of"), "{}", err(&output));
    assert!(!outside.join("file").exists());
}

#[test]
fn keys_are_let_in_beside_others() {
    let machine = Machine::new();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    machine.put("etc/passwd", &format!("core:x:{uid}:{gid}::/home/core:/bin/bash\n"));
    machine.put("home/core/.ssh/authorized_keys", "ssh-rsa OWN own\n");
    let output = machine.run("#cloud-config\nssh_authorized_keys: [ssh-rsa NEW new]\n", &[]);
    assert!(output.status.success(), "{}", err(&output));
    let text = machine.text("home/core/.ssh/authorized_keys");
    assert!(text.starts_with("ssh-rsa OWN own\n") && text.contains("\nssh-rsa NEW new\n"), "{text}");
    assert!(!out(&output).contains("NEW"), "a key was printed");
    let nobody = machine.run("#cloud-config\nusers:\n  - {name: elroy, ssh_authorized_keys: [ssh-rsa A]}\n", &[]);
    assert!(out(&nobody).contains("left out, there is no user elroy"), "{}", out(&nobody));
}

#[test]
fn a_script_is_kept_and_below_another_root_not_run() {
    let machine = Machine::new();
    let output = machine.run("#!/bin/sh\ntouch /nothing\n", &[]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains("left out, below another root nothing is run"), "{}", out(&output));
    let scripts = fs::read_dir(machine.root().join("var/lib/coreos-cloudinit/scripts")).unwrap();
    let script = scripts.map(|entry| entry.unwrap().path()).next().unwrap();
    assert_eq!(fs::read_to_string(script).unwrap(), "#!/bin/sh\ntouch /nothing\n");
}
