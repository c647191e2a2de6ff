//! The Debian packages, made of the binary under test: what is in them, that they come out alike, and that what they hold works.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
    if !found {
        eprintln!("not looked at: {program} is not installed");
    }
    found
}

/// The binary without what debuggers need, which would be most of the package.
fn stripped(folder: &Path) -> PathBuf {
    let binary = folder.join("node");
    run("strip", &["-o", binary.to_str().unwrap(), env!("CARGO_BIN_EXE_node")]);
    binary
}

/// Packs it: the paths of the two packages.
fn packed(binary: &Path, folder: &Path) -> Vec<String> {
    let output = Command::new(format!("{ROOT}/packaging/deb.sh"))
        .args([binary, folder])
        .envs([("CORENODE_DEB_LEVEL", "0"), ("SOURCE_DATE_EPOCH", "1800000000")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn packages_hold_what_they_promise_and_come_out_alike() {
    if !there("dpkg-deb") || !there("strip") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let binary = stripped(folder.path());
    let packages = packed(&binary, &path("one"));
    for (one, other) in packages.iter().zip(packed(&binary, &path("two"))) {
        assert!(std::fs::read(one).unwrap() == std::fs::read(&other).unwrap(), "{one} and {other} differ");
    }

    let [main, tools] = [&packages[0], &packages[1]].map(|package| run("dpkg-deb", &["-c", package]));
    for wanted in [
        "root/root",
        "./usr/lib/corenode/node",
        "./usr/bin/corenode -> ../lib/corenode/node",
        "./usr/lib/systemd/system/node.service",
        "./etc/node/node.toml",
        "./usr/share/man/man1/corenode-ctl-backup.1.gz",
        "./usr/share/man/man5/node.toml.5.gz",
        "./usr/share/bash-completion/completions/corenode",
        "./usr/share/zsh/vendor-completions/_corenode",
        "./usr/share/fish/vendor_completions.d/corenode.fish",
        "./usr/share/doc/corenode/copyright",
        "./usr/share/doc/corenode/examples/hello.service",
    ] {
        assert!(main.contains(wanted), "{wanted} is missing in\n{main}");
    }
    for name in ["fleetctl", "etcdctl", "confd"] {
        assert!(tools.contains(&format!("./usr/bin/{name} -> ../lib/corenode/node")), "{tools}");
        assert!(tools.contains(&format!("/{name}.1.gz")) && !main.contains(&format!("/{name}.1.gz")), "{name}");
    }
    // Debian's nodejs has these.
    for line in main.lines().chain(tools.lines()) {
        assert!(!line.ends_with("./usr/bin/node") && !line.ends_with("/node.1.gz"), "{line}");
    }
    let fields = run("dpkg-deb", &["-f", &packages[1], "Depends", "Conflicts"]);
    assert!(fields.contains("corenode (= ") && fields.contains("etcd-client"), "{fields}");

    let root = path("root");
    for package in &packages {
        run("dpkg-deb", &["-x", package, root.to_str().unwrap()]);
    }
    works(&root);
}

/// What the packages have put below `root` does what it is there for.
fn works(root: &Path) {
    let at = |place: &str| format!("{}/{place}", root.display());
    assert!(run(&at("usr/bin/corenode"), &["--version"]).starts_with("node "));
    assert!(run(&at("usr/bin/fleetctl"), &["--help"]).contains("fleetctl"));
    let unit = std::fs::read_to_string(at("usr/lib/systemd/system/node.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/lib/corenode/node run"), "{unit}");
    let shown = run(&at("usr/bin/corenode"), &["config", "check", "--config", &at("etc/node/node.toml")]);
    assert!(shown.contains("backup.to"), "{shown}");
    if there("man") {
        for page in ["man1/corenode.1.gz", "man1/corenode-ctl-backup.1.gz", "man1/fleetctl.1.gz", "man5/node.toml.5.gz"]
        {
            let output = Command::new("man").args(["-l", &at(&format!("usr/share/man/{page}"))]).output().unwrap();
            let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && text.contains("NAME"), "{page}: {said}");
        }
    }
    for (name, line, expected) in [
        ("corenode", "corenode ctl ba", "backup"),
        ("corenode", "corenode ctl backup v", "verify"),
        ("corenode", "corenode run --data", "--data-dir"),
        ("fleetctl", "fleetctl list-un", "list-unit-files list-units"),
        ("etcdctl", "etcdctl member re", "remove"),
        ("confd", "confd val", "validate"),
    ] {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let script = format!(
            ". {}\nCOMP_WORDS=({}) COMP_CWORD={}\n_{name}\necho \"${{COMPREPLY[*]}}\"",
            at(&format!("usr/share/bash-completion/completions/{name}")),
            words.join(" "),
            words.len() - 1
        );
        assert_eq!(run("bash", &["-c", &script]).trim(), expected, "{line}");
    }
    if there("zsh") {
        run("zsh", &["-n", &at("usr/share/zsh/vendor-completions/_corenode")]);
    }
    if there("fish") {
        run("fish", &["-n", &at("usr/share/fish/vendor_completions.d/corenode.fish")]);
    }
}

#[test]
fn the_user_data_of_the_vagrant_cluster_is_understood() {
    let sample = format!("{ROOT}/vagrant/user-data.sample");
    let said = run(env!("CARGO_BIN_EXE_node"), &["cloudinit", "--from-file", &sample, "--validate"]);
    assert!(!said.contains("error"), "{said}");
    // With a token, as `vagrant up` writes it.
    let folder = tempfile::tempdir().unwrap();
    let (with, root) = (folder.path().join("user-data"), folder.path().join("root"));
    let text = std::fs::read_to_string(&sample).unwrap().replace("#discovery: ", "discovery: ");
    std::fs::write(&with, text.replace("TOKEN", "0123456789abcdef0123456789abcdef")).unwrap();
    let (with, root) = (with.to_str().unwrap(), root.to_str().unwrap());
    run(&format!("{ROOT}/vagrant/provision.sh"), &["--root", root, env!("CARGO_BIN_EXE_node")]);
    let flags =
        ["--from-file", with, "--root", root, "--public-ipv4", "172.17.8.101", "--private-ipv4", "172.17.8.101"];
    run(&format!("{root}/usr/bin/node"), &[["cloudinit"].as_slice(), &flags].concat());
    let settings = std::fs::read_to_string(format!("{root}/etc/node/node.toml.d/20-cloudinit.toml")).unwrap();
    for part in ["0123456789abcdef0123456789abcdef", "http://172.17.8.101:2380", "172.17.8.101"] {
        assert!(settings.contains(part), "{part}\n{settings}");
    }
}
