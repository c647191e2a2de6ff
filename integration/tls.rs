//! TLS at the doors: certificates, the users that they name, and members among themselves; Debian's etcd and etcdctl beside ours.

#![allow(clippy::unwrap_used)]

#[path = "tls/authority.rs"]
mod authority;
#[path = "common/member.rs"]
mod member;

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use authority::Authority;
use corenode::ctl::http;
use corenode::net::Address;
use corenode::net::tls::{ClientTls, Identity};
use member::{ETCD, ETCDCTL, Members, NODE, Server, WITHIN, compare, free_addresses, original, ours};

/// Who asks, and what; `-`: without a certificate. `U` stands for `--user` with ann's password.
const SCRIPT: &[&str] = &[
    "ann put a 1",
    "ann get a",
    "ann user add root --no-password",
    "ann user grant-role root root",
    "ann role add root",
    "ann user grant-role root root",
    "ann user add ann:pw",
    "ann user add bob --no-password",
    "ann role add r",
    "ann role grant-permission r readwrite a",
    "ann user grant-role ann r",
    "ann auth enable",
    "root user list",
    "ann get a",
    "ann put a 2",
    "ann get other",
    "ann put other 2",
    "ann user list",
    "ann user get ann",
    "ann role get r",
    "ann lease grant 100",
    "ann watch other",
    "bob get a",
    "bob put a 3",
    "stranger get a",
    "stranger put a 3",
    "nobody get a",
    "nobody put a 3",
    "bob U get a",
    "bob U put a 4",
    "root U put other 4",
    "root put other 4",
    "root get other",
    "root user grant-role bob r",
    "bob get a",
    "root user revoke-role bob r",
    "bob get a",
    "root member list",
    "root auth disable",
    "stranger put other 5",
    "stranger get other",
];

/// Flags for who comes as `name`.
fn flags(authority: &Authority, name: &str) -> Vec<String> {
    let mut flags = vec!["--cacert".to_owned(), authority.path("ca.pem")];
    if name != "-" {
        flags.extend(["--cert".to_owned(), authority.path(&format!("{name}.pem"))]);
        flags.extend(["--key".to_owned(), authority.path(&format!("{name}-key.pem"))]);
    }
    flags
}

fn run(server: &Server, etcdctl: &Path, authority: &Authority) -> Vec<String> {
    let said = SCRIPT.iter().map(|line| {
        let (name, words) = line.split_once(' ').unwrap();
        let mut arguments = flags(authority, name);
        let words = match words.strip_prefix("U ") {
            Some(words) => {
                arguments.extend(["--user".to_owned(), "ann:pw".to_owned()]);
                words
            }
            None => words,
        };
        arguments.extend(words.split(' ').map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (text, code) = server.say_by(etcdctl, &arguments, "");
        format!("$ {line}\n{text}\n[{code:?}]")
    });
    said.collect()
}

/// etcd's flags for a door that asks for certificates and takes their names for users'.
fn door(authority: &Authority) -> Vec<String> {
    ["--cert-file", "server.pem", "--key-file", "server-key.pem", "--trusted-ca-file", "ca.pem"]
        .chunks(2)
        .flat_map(|pair| [pair[0].to_owned(), authority.path(pair[1])])
        .chain(["--client-cert-auth".to_owned()])
        .collect()
}

fn start(program: &Path, authority: &Authority, more: &[&str]) -> Server {
    let door = door(authority);
    let all: Vec<&str> = door.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let reach = flags(authority, "ann");
    let reach: Vec<&str> = reach.iter().map(String::as_str).collect();
    Server::reached_by(program, "https", &all, &reach)
}

fn authority() -> Authority {
    let authority = Authority::new();
    for name in ["server", "root", "ann", "bob", "stranger"] {
        authority.give(name, name);
    }
    authority.give("nobody", "");
    authority
}

#[test]
fn certificates_name_users_as_with_etcd() {
    if !original() {
        return;
    }
    let authority = authority();
    let (folder, link) = ours();
    let theirs = start(Path::new(ETCD), &authority, &[]);
    let expected = run(&theirs, Path::new(ETCDCTL), &authority);
    let gateway = |server: &Server| {
        let answers = ["root", "ann"].map(|name| {
            let (status, body) = post(server, &authority, name, "/v3/kv/range", r#"{"key":"YQ=="}"#);
            format!("{name}: {status} {body}")
        });
        answers.join("\n")
    };
    let with_users = |server: &Server| {
        // While users are asked for, the gateway turns away who is named by a certificate.
        assert_eq!(server.say(Path::new(ETCDCTL), &["auth", "enable"], "").1, Some(0));
        gateway(server)
    };
    let refused = with_users(&theirs);
    assert!(refused.contains("CommonName"), "{refused}");
    drop(theirs);
    let node = start(&link, &authority, &["--bcrypt-cost", "4"]);
    compare(&expected, &run(&node, Path::new(ETCDCTL), &authority));
    assert_eq!(with_users(&node), refused);
    drop(node);
    let node = start(&link, &authority, &["--bcrypt-cost", "4"]);
    let plain = |said: &[String]| -> Vec<String> {
        // The clients word their errors each in their way.
        said.iter().map(|one| if one.contains("Error:") { "refused".to_owned() } else { one.clone() }).collect()
    };
    let own = run(&node, &folder.path().join("etcdctl"), &authority);
    // A watch that is refused: the original prints one line more.
    compare(&plain(&expected), &plain(&own));
}

/// `POST` with the certificate of `name`: the status and the answer.
fn post(server: &Server, authority: &Authority, name: &str, path: &str, body: &str) -> (u16, String) {
    let file = |name: String| authority.path(&name).into();
    let identity = Identity { certificate: file(format!("{name}.pem")), key: file(format!("{name}-key.pem")) };
    let tls =
        ClientTls { trusted_ca: Some(file("ca.pem".to_owned())), identity: Some(identity), ..ClientTls::default() };
    let address = Address::from_url(&server.client).unwrap().secured(&Arc::new(tls));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = Some(("application/json", body.as_bytes().to_vec()));
    let answer = runtime.block_on(http::call(&address, hyper::Method::POST, path, body, WITHIN)).unwrap();
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
}

#[test]
fn who_is_not_vouched_for_is_not_let_in() {
    if !original() {
        return;
    }
    let (authority, foreign) = (authority(), authority());
    let (folder, link) = ours();
    let node = start(&link, &authority, &[]);
    let own = folder.path().join("etcdctl");
    let mut plain = Command::new(&own);
    plain.env("ETCDCTL_API", "3").args(["--endpoints", &node.client.replace("https", "http"), "get", "a"]);
    assert!(!plain.output().unwrap().status.success(), "a door that speaks TLS took plain text");
    let foreigner: Vec<String> =
        flags(&authority, "-").into_iter().chain(flags(&foreign, "ann").split_off(2)).collect();
    for (who, flags) in [("nobody", flags(&authority, "-")), ("a foreigner", foreigner)] {
        let arguments: Vec<&str> =
            flags.iter().map(String::as_str).chain(["--command-timeout=10s", "get", "a"]).collect();
        for etcdctl in [Path::new(ETCDCTL), &own] {
            let (said, code) = node.say_by(etcdctl, &arguments, "");
            assert_ne!(code, Some(0), "{who} was let in: {said}");
        }
    }
    // And a client does not take a server that it has no reason to trust.
    let arguments = flags(&foreign, "ann");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["get", "a"]).collect();
    let (said, code) = node.say_by(&own, &arguments, "");
    assert!(code != Some(0) && said.contains("invalid peer certificate"), "{said}");
}

fn face(arguments: &[&str]) -> Output {
    let mut command = Command::new(NODE);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCDCTL_") || name.starts_with("FLEETCTL_"))
    {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Repeats a face until it succeeds; what it printed.
fn until_ok(arguments: &[&str]) -> String {
    let deadline = Instant::now() + WITHIN;
    loop {
        let output = face(arguments);
        if output.status.success() {
            return String::from_utf8_lossy(&output.stdout).into_owned();
        }
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(Instant::now() < deadline, "{arguments:?}: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn members_talk_by_tls_and_every_face_reaches_them() {
    let (authority, foreign) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = free_addresses(6).iter().map(SocketAddr::port).collect();
    let names = ["n0", "n1", "n2"];
    let cluster: Vec<String> =
        names.iter().zip(&ports).map(|(name, port)| format!("{name}=https://127.0.0.1:{port}")).collect();
    let log = |name: &str| folder.path().join(format!("{name}.log"));
    let start = |at: usize, peers: &Authority| -> Child {
        let name = names[at];
        let out = File::options().create(true).append(true).open(log(name)).unwrap();
        Command::new(NODE)
            .args(["run", "--name", name, "--initial-cluster", &cluster.join(","), "--data-dir"])
            .arg(folder.path().join(name))
            .args(["--peer-listen", &format!("127.0.0.1:{}", ports[at])])
            .args(["--client-listen", &format!("127.0.0.1:{}", ports[at + 3])])
            .args(["--peer-cert-file", &peers.path("server.pem"), "--peer-key-file", &peers.path("server-key.pem")])
            .args(["--peer-trusted-ca-file", &peers.path("ca.pem"), "--peer-cert-allowed-cn", "server"])
            .args(["--client-cert-file", &authority.path("server.pem")])
            .args(["--client-key-file", &authority.path("server-key.pem")])
            .args(["--client-socket", "", "--fleet-socket", "", "--fleet-executor", "process"])
            .args(["--fleet-machine-id", &format!("{:032x}", rand::random::<u128>()), "--template-enabled", "false"])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .unwrap()
    };
    let mut members = Members(vec![start(0, &authority), start(1, &authority)]);
    let (url, ca) = (format!("https://127.0.0.1:{}", ports[3]), authority.path("ca.pem"));
    let reach = ["--endpoints", &url, "--cacert", &ca];
    let etcdctl = |words: &[&str]| until_ok(&[&["etcdctl"], words, &reach].concat());
    etcdctl(&["put", "/site/name", "by TLS"]);
    // One whose certificate nobody here vouches for stays outside, and is told of.
    members.0.push(start(2, &foreign));
    let deadline = Instant::now() + WITHIN;
    while !std::fs::read_to_string(log("n0")).unwrap().contains("peer connection refused") {
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(log("n0")).unwrap());
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = members.0[2].kill();
    let _ = members.0[2].wait();
    members.0[2] = start(2, &authority);
    let third = format!("https://127.0.0.1:{}", ports[5]);
    assert_eq!(
        until_ok(&["etcdctl", "--endpoints", &third, "--cacert", &ca, "get", "/site/name", "--rev=0"]).lines().last(),
        Some("by TLS")
    );
    // The old dialect, fleet, the node's own tool, templates, and a copy of all into a folder.
    assert_eq!(until_ok(&["etcdctl", "--peers", &url, "--ca-file", &ca, "get", "/site/name"]).trim(), "by TLS");
    let status = etcdctl(&["endpoint", "status", "--cluster"]);
    assert_eq!(status.lines().count(), 3, "{status}");
    let machines = until_ok(&["fleetctl", "--endpoint", &url, "--ca-file", &ca, "list-machines"]);
    assert!(machines.contains("127.0.0.1") || machines.lines().count() > 1, "{machines}");
    let status = until_ok(&["ctl", "status", "--endpoint", &url, "--cacert", &ca]);
    assert!(status.contains("leader"), "{status}");
    let confd = folder.path().join("confd");
    let site = folder.path().join("site");
    for (file, text) in [
        (
            "conf.d/site.toml",
            format!("[template]\nsrc = \"site\"\ndest = \"{}\"\nkeys = [\"/site\"]\n", site.display()),
        ),
        ("templates/site", "{{getv \"/site/name\"}}\n".to_owned()),
    ] {
        let path = confd.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let confdir = confd.display().to_string();
    until_ok(&["confd", "-onetime", "-backend", "etcdv3", "-node", &url, "-client-ca-keys", &ca, "-confdir", &confdir]);
    assert_eq!(std::fs::read_to_string(site).unwrap(), "by TLS\n");
    let copy = folder.path().join("copy").display().to_string();
    until_ok(&["ctl", "snapshot", "save", &copy, "--endpoint", &url, "--cacert", &ca]);
    drop(members);
}

#[test]
fn a_live_etcd_is_imported_over_tls() {
    if !original() {
        return;
    }
    let authority = authority();
    let theirs = start(Path::new(ETCD), &authority, &[]);
    assert_eq!(theirs.say(Path::new(ETCDCTL), &["put", "k", "v"], "").1, Some(0));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let flags = flags(&authority, "ann");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let import = ["ctl", "import", "etcd", "--endpoint", &theirs.client, "--data-dir", &data];
    let output = face(&[&import, &flags[..]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(Path::new(&data).join("store").exists(), "{said}");
}

#[test]
fn certificates_of_its_own_need_no_files() {
    if !original() {
        return;
    }
    let (_folder, link) = ours();
    let reach = ["--insecure-skip-tls-verify", "--insecure-transport=false"];
    let node = Server::reached_by(&link, "https", &["--auto-tls"], &reach);
    assert_eq!(node.say(Path::new(ETCDCTL), &["put", "k", "v"], "").1, Some(0));
    let (said, code) = node.say_by(&_folder.path().join("etcdctl"), &["--insecure-skip-tls-verify", "get", "k"], "");
    assert_eq!((said.as_str(), code), ("k\nv", Some(0)));
}
