//! Backups in an S3-compatible store: moto's server, which is fetched from PyPI at test time. It does not check signatures;
//! all else is S3's protocol, parts put together included.

#![allow(clippy::unwrap_used)]

#[path = "backup/restoring.rs"]
mod restoring;

mod common;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{TestCluster, WITHIN, etcdctl_put, face, free_addresses, ok, wait_for, wait_for_ok};
use restoring::{made, restores};

const PACKAGES: [&str; 1] = ["moto[s3,server]==5.2.5"];

/// The store, killed at the end.
struct Store {
    child: Child,
    endpoint: String,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn must(command: &mut Command, remedy: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; {remedy}"));
    assert!(output.status.success(), "{command:?}: {remedy}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A Python of its own that has the server. What an earlier run has fetched is used again.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto");
    let (python, marker) = (folder.join("bin/python"), folder.join("ready"));
    let wanted = PACKAGES.join(" ");
    if std::fs::read_to_string(&marker).is_ok_and(|have| have == wanted) {
        return python;
    }
    must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "python3 with venv is needed");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    must(&mut pip, "PyPI must be reachable from here");
    std::fs::write(marker, wanted).unwrap();
    python
}

fn store(folder: &Path) -> Store {
    let address = free_addresses(1)[0];
    let log = File::create(folder.join("moto.log")).unwrap();
    let mut command = Command::new(python());
    command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let store = Store { child: command.spawn().unwrap(), endpoint: format!("http://{address}") };
    let bucket = format!("{}/saved", store.endpoint);
    wait_for_ok("a bucket", || Command::new("curl").args(["-sS", "-f", "-X", "PUT", &bucket]).output().unwrap());
    store
}

/// Writes so many MiB that cannot be made smaller, in keys of one MiB; what was written is returned.
fn fill(endpoint: &str, mebibytes: usize) -> Vec<(String, String)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let (mut chance, mut bytes) = (File::open("/dev/urandom").unwrap(), vec![0; 768 << 10]);
    let mut written = Vec::new();
    for number in 0..mebibytes {
        chance.read_exact(&mut bytes).unwrap();
        let value = STANDARD.encode(&bytes);
        let key = format!("key-{number:02}");
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, STANDARD.encode(&key), STANDARD.encode(&value));
        std::fs::write(file.path(), body).unwrap();
        let body = format!("@{}", file.path().display());
        must(
            Command::new("curl").args(["-sS", "-f", "-d", &body, &format!("{endpoint}/v3/kv/put")]),
            "the node must take a key of one MiB",
        );
        written.push((key, value));
    }
    written
}

#[test]
fn backups_go_to_a_bucket_in_parts_and_come_back() {
    let mut cluster = TestCluster::plan(1);
    let folder = cluster.folder.path().to_owned();
    let store = store(&folder);
    let keys = folder.join("keys");
    std::fs::write(&keys, "[default]\naws_access_key_id = A\naws_secret_access_key = B\n").unwrap();
    let place = ["--to", "s3://saved/of/ours", "--s3-endpoint", &store.endpoint];
    let place = [place.as_slice(), &["--s3-credentials-file", keys.to_str().unwrap()]].concat();
    let node = &mut cluster.nodes[0];
    let flags = place.chunks(2).flat_map(|pair| [pair[0].replacen("--", "--backup-", 1), pair[1].to_owned()]);
    node.more.extend(flags);
    node.more.extend(["--backup-keep".to_owned(), "2".to_owned()]);
    node.start();
    node.wait_until_it_serves();
    let endpoint = node.endpoint();
    let listed = || ok("ctl", "", &[["backup", "list"].as_slice(), &place].concat());
    wait_for("the first backup", Instant::now() + WITHIN, || listed().contains(".snapshot").then_some(()));

    // Small, in one piece; and more than one part.
    etcdctl_put(&endpoint, "a", "1");
    let small = made(&ok("ctl", "", &["backup", "now", "--endpoint", &endpoint])).to_owned();
    let mut held = vec![("a".to_owned(), "1".to_owned())];
    let fetched = folder.join("fetched");
    let fetch = |name: &str| {
        ok("ctl", "", &[["backup", "fetch", name, fetched.to_str().unwrap()].as_slice(), &place].concat());
    };
    fetch(&small);
    restores(&fetched, &held);
    held.extend(fill(&endpoint, 20));
    let large = made(&ok("ctl", "", &["backup", "now", "--endpoint", &endpoint])).to_owned();
    fetch(&large);
    assert!(std::fs::metadata(&fetched).unwrap().len() > 16 << 20, "it is more than one part");
    restores(&fetched, &held);
    ok("ctl", "", &["backup", "verify", &large, "--endpoint", &endpoint]);

    let left = listed();
    assert_eq!(left.lines().count(), 2, "two are kept: {left}");
    assert!(left.contains(&small) && left.contains(&large), "{left}");

    // Damage is found here as anywhere, and a store that says no is quoted.
    let mut bytes = std::fs::read(&fetched).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&fetched, bytes).unwrap();
    let object = format!("{}/saved/of/ours/{large}", store.endpoint);
    must(Command::new("curl").args(["-sS", "-f", "-T", fetched.to_str().unwrap(), &object]), "moto takes objects");
    let output = face("ctl", "", &["backup", "verify", "--endpoint", &endpoint]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let elsewhere: Vec<&str> =
        place.iter().map(|word| word.replace("s3://saved/of/ours", "s3://nobody").leak() as &str).collect();
    let output = face("ctl", "", &[["backup", "list"].as_slice(), &elsewhere].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("NoSuchBucket"), "{stderr}");
}
