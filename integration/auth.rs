//! etcd's own `etcdctl` at work on users, roles and what they may do: against etcd and against ours, answer by answer.

#![allow(clippy::unwrap_used)]

#[path = "common/member.rs"]
mod member;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use member::{ETCD, ETCDCTL, Members, NODE, Server, WITHIN, compare, free_addresses, original, ours};

/// A line of the script; `U` and `R` stand for `--user` with the password of the user and of root, `|` for input behind it.
const SCRIPT: &[&str] = &[
    "auth enable",
    "user add root:rpw",
    "user add root:rpw",
    "user add :x",
    "user list",
    "role list",
    "user grant-role root root",
    "user get root",
    "user grant-role nobody root",
    "user grant-role root norole",
    "role add r1",
    "role add r1",
    "role add ",
    "role list",
    "role grant-permission r1 read a",
    "role grant-permission r1 readwrite b/ --prefix",
    "role grant-permission r1 write c d",
    "role grant-permission r1 write x --from-key",
    "role grant-permission r1 bad a",
    "role grant-permission none read a",
    "role get r1",
    "role get none",
    "role get root",
    "role revoke-permission r1 zz",
    "role revoke-permission r1 c d",
    "role revoke-permission none c d",
    "role grant-permission r1 readwrite a",
    "role get r1",
    "role grant-permission r1 read z m",
    "role revoke-permission r1 x --from-key",
    "role get r1",
    "role revoke-permission r1 z m",
    "role grant-permission r1 read e f",
    "role grant-permission r1 read f g",
    "role grant-permission r1 write w",
    "user add u1:pw",
    "user add u2 --no-password",
    "user add u3 --interactive=false|u3pw",
    "user grant-role u1 r1",
    "user grant-role u1 r1",
    "user revoke-role u1 none",
    "user revoke-role nobody r1",
    "user get u1",
    "user get u1 --detail",
    "user get nobody",
    "user delete nobody",
    "user passwd u1 --interactive=false|npw",
    "user passwd u1 --interactive=false|pw",
    "user passwd nobody --interactive=false|pw",
    "U get a",
    "auth disable",
    "put other 1",
    "put a 1",
    "put b/1 1",
    "put e 1",
    "auth enable",
    "auth enable",
    "R auth enable",
    "--user root:bad get a",
    "--user nobody:bad get a",
    "--user u2:bad get a",
    "--user u3:u3pw get a",
    "U get a",
    "U get a --consistency=s",
    "U get other",
    "U get other --consistency=s",
    "U get b/ --prefix",
    "U get b --prefix",
    "U get e g",
    "U get e g0",
    "U get a --from-key",
    "U get w",
    "U put a 2",
    "U put other 2",
    "U put b/2 2 --prev-kv",
    "U put w 2",
    "U put w 2 --prev-kv",
    "U del w",
    "U del w --prev-kv",
    "U del b/2 --prev-kv",
    "U del b --prefix",
    "get a",
    "get a --consistency=s",
    "put a 3",
    "del a",
    "U user list",
    "U user get u1",
    "U user get root",
    "U user add u9:pw",
    "U role get r1",
    "U role get root",
    "U role list",
    "U role add r9",
    "U auth disable",
    "U lease grant 100",
    "R lease list",
    "U put b/l 1 --lease=LEASE",
    "U lease timetolive LEASE --keys",
    "R put other 3 --lease=LEASE",
    "U put a 3 --lease=LEASE",
    "U lease timetolive LEASE",
    "U lease revoke LEASE",
    "lease revoke LEASE",
    "R lease revoke LEASE",
    "U get b/l",
    "R member list",
    "U member remove 1",
    "member remove 1",
    "R defrag",
    "U alarm list",
    "U watch other",
    "watch other",
    "U lock other echo got",
    "U lock b/l echo got",
    "lock b/l echo got",
    "U elect other x",
    "elect b/ x",
    "U txn|value(\"a\") = \"2\"\n\nput a 5\n\n\n\n",
    "U txn|value(\"other\") = \"3\"\n\nput a 5\n\n\n\n",
    "U txn|\nput other 5\n\n\n\n",
    "U txn|\nput a 5\n\nput other 5\n\n",
    "U txn|\nget other\n\n\n\n",
    "U txn|\nget e g\n\n\n\n",
    "txn|\nget a\n\n\n\n",
    "R user delete root",
    "R user revoke-role root root",
    "R role delete root",
    "R role delete none",
    "R user revoke-role u1 r1",
    "U get a",
    "R user grant-role u1 r1",
    "U get a",
    "R role delete r1",
    "U get a",
    "R user get u1",
    "R user delete u1",
    "U get a",
    "R user list",
    "R role list",
    "R auth disable",
    "auth disable",
    "U get a",
    "user delete root",
    "role delete root",
    "role list",
    "user list",
];

fn run(server: &Server, etcdctl: &Path, script: &[&str]) -> Vec<String> {
    let mut lease = String::new();
    let said = script.iter().map(|line| {
        let (words, input) = line.split_once('|').unwrap_or((line, ""));
        let (words, login) = match words.split_once(' ') {
            Some(("U", rest)) => (rest, vec!["--user", "u1:pw"]),
            Some(("R", rest)) => (rest, vec!["--user", "root:rpw"]),
            _ => (words, vec![]),
        };
        let words = words.replace("LEASE", &lease);
        let arguments: Vec<&str> = login.into_iter().chain(words.split(' ')).collect();
        let (text, code) = server.say(etcdctl, &arguments, input);
        if words == "lease grant 100" {
            let list = Command::new(ETCDCTL)
                .env("ETCDCTL_API", "3")
                .args(["--endpoints", &server.client, "--user", "root:rpw", "lease", "list"])
                .output()
                .unwrap();
            lease = String::from_utf8_lossy(&list.stdout).lines().nth(1).unwrap_or("1").to_owned();
        }
        format!("$ {line}\n{text}\n[{code:?}]")
    });
    said.collect()
}

#[test]
fn etcdctl_hears_what_etcd_says() {
    if !original() {
        return;
    }
    let (_folder, link) = ours();
    let etcdctl = Path::new(ETCDCTL);
    let theirs = Server::start(Path::new(ETCD), &[]);
    let expected = run(&theirs, etcdctl, SCRIPT);
    drop(theirs);
    let node = Server::start(&link, &["--bcrypt-cost", "4", "--auth-token-ttl", "60"]);
    compare(&expected, &run(&node, etcdctl, SCRIPT));
}

/// What our own `etcdctl` says differently: its usage errors, and commands that it does not have.
fn own(line: &&str) -> bool {
    let words = line.trim_start_matches("U ").trim_start_matches("R ");
    let missing = ["member remove", "alarm", "defrag", "lock", "elect", "watch", "txn"];
    !missing.iter().any(|verb| words.starts_with(verb))
}

#[test]
fn our_etcdctl_says_what_etcds_does() {
    if !original() {
        return;
    }
    let (folder, link) = ours();
    let script: Vec<&str> = SCRIPT.iter().copied().filter(own).collect();
    let plain = |said: Vec<String>| -> Vec<String> {
        // The texts of refusals by the cluster are compared above; here only that there is one.
        let refused = |one: &String| one.contains("Error:");
        said.into_iter().map(|one| if refused(&one) { "refused".to_owned() } else { one }).collect()
    };
    let node = Server::start(&link, &["--bcrypt-cost", "4"]);
    let expected = plain(run(&node, Path::new(ETCDCTL), &script));
    drop(node);
    let node = Server::start(&link, &["--bcrypt-cost", "4"]);
    compare(&expected, &plain(run(&node, &folder.path().join("etcdctl"), &script)));
    let status = node.say(&folder.path().join("etcdctl"), &["auth", "status"], "");
    assert!(status.0.starts_with("Authentication Status: false\nAuthRevision: "), "{status:?}");
}

#[test]
fn node_ctl_asks_as_a_user() {
    if !original() {
        return;
    }
    let (folder, link) = ours();
    let node = Server::start(&link, &["--bcrypt-cost", "4"]);
    for line in [
        "user add root:rpw",
        "role add root",
        "user grant-role root root",
        "user add u:pw",
        "role add r",
        "role grant-permission r readwrite a",
        "user grant-role u r",
        "auth enable",
    ] {
        let (said, code) = node.say(Path::new(ETCDCTL), &line.split(' ').collect::<Vec<_>>(), "");
        assert_eq!(code, Some(0), "{line}: {said}");
    }
    let ctl = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(NODE);
        command.env_remove("ETCDCTL_USER").env_remove("NODE_CTL_USER").envs(variables.iter().copied());
        command.arg("ctl").args(words).args(["--endpoint", &node.client]).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), text)
    };
    let (fine, said) = ctl(&["kv", "put", "a", "1"], &[]);
    assert!(!fine && said.contains("user name is empty"), "{said}");
    for (words, variables) in [
        (&["kv", "put", "a", "1", "--user", "u:pw"][..], &[][..]),
        (&["kv", "get", "a", "--user", "u", "--password", "pw"], &[]),
        (&["kv", "history", "a"], &[("NODE_CTL_USER", "u:pw")]),
        (&["kv", "history", "a"], &[("ETCDCTL_USER", "u"), ("ETCDCTL_PASSWORD", "pw")]),
        (&["status", "--user", "root:rpw"], &[]),
    ] {
        let (fine, said) = ctl(words, variables);
        assert!(fine, "{words:?}: {said}");
    }
    let (fine, said) = ctl(&["kv", "get", "b", "--user", "u:pw"], &[]);
    assert!(!fine && said.contains("permission denied"), "{said}");
    let (fine, said) = ctl(&["kv", "get", "a", "--user", "u:wrong"], &[]);
    assert!(!fine && said.contains("logging in as u"), "{said}");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ours, etcds) = (file("copy"), file("copy.db"));
    let (fine, said) = ctl(&["snapshot", "save", &ours], &[]);
    assert!(!fine && said.contains("user name is empty"), "{said}");
    for words in [
        &["snapshot", "save", &ours, "--user", "root:rpw"][..],
        &["snapshot", "export", "--etcd", &etcds, "--user", "root:rpw"],
    ] {
        let (fine, said) = ctl(words, &[]);
        assert!(fine, "{words:?}: {said}");
    }
}

#[test]
fn users_tokens_and_refusals_outlive_a_restart_and_go_to_every_member() {
    // Three members: a token that one gave is good at the others, and what is taken back at one is gone at all.
    let folder = tempfile::Builder::new().prefix("corenode-auth-").tempdir().unwrap();
    let link = folder.path().join("etcd");
    std::os::unix::fs::symlink(NODE, &link).unwrap();
    let urls: Vec<String> = free_addresses(6).iter().map(|address| format!("http://{address}")).collect();
    let cluster: Vec<String> = (0..3).map(|at| format!("m{at}={}", urls[at])).collect();
    let cluster = cluster.join(",");
    let start = |at: usize| -> Child {
        let log = File::options().create(true).append(true).open(folder.path().join(format!("log{at}"))).unwrap();
        let name = format!("m{at}");
        let (peer, client) = (urls[at].as_str(), urls[at + 3].as_str());
        Command::new(&link)
            .args(["--name", &name, "--initial-cluster", &cluster, "--bcrypt-cost", "4"])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--listen-client-urls", client, "--advertise-client-urls", client])
            .current_dir(folder.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    };
    let mut members = Members((0..3).map(start).collect());
    let ask = |at: usize, path: &str, token: &str, body: &str| -> (u16, String) {
        post(urls[at + 3].trim_start_matches("http://"), path, token, body)
    };
    let until = |at: usize, path: &str, token: &str, body: &str, expected: u16| -> String {
        let deadline = Instant::now() + WITHIN;
        loop {
            let (status, answer) = ask(at, path, token, body);
            if status == expected {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} at {at}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"r"}"#),
        ("user/grant", r#"{"user":"root","role":"root"}"#),
        ("user/add", r#"{"name":"u","password":"p"}"#),
        ("role/add", r#"{"name":"ur"}"#),
        ("role/grant", r#"{"name":"ur","perm":{"permType":"READWRITE","key":"YQ=="}}"#),
        ("user/grant", r#"{"user":"u","role":"ur"}"#),
        ("enable", "{}"),
    ] {
        until(0, &format!("/v3/auth/{path}"), "", body, 200);
    }
    let token = |answer: &str| answer.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (_, root) = ask(1, "/v3/auth/authenticate", "", r#"{"name":"root","password":"r"}"#);
    let (_, u) = ask(2, "/v3/auth/authenticate", "", r#"{"name":"u","password":"p"}"#);
    let (root, u) = (token(&root), token(&u));
    let key = r#"{"key":"YQ=="}"#;
    for at in 0..3 {
        assert_eq!(ask(at, "/v3/kv/range", "", key).0, 400, "nobody at {at}");
        assert_eq!(ask(at, "/v3/kv/put", &u, r#"{"key":"YQ==","value":"MQ=="}"#).0, 200, "u at {at}");
        assert_eq!(ask(at, "/v3/kv/put", &u, r#"{"key":"Yg=="}"#).0, 403, "u at {at}");
    }
    // Each round takes the permission back at one member and reads at the next, without a pause.
    for round in 0..20 {
        let (here, there) = (round % 3, (round + 1) % 3);
        let revoke = r#"{"role":"ur","key":"YQ=="}"#;
        assert_eq!(ask(here, "/v3/auth/role/revoke", &root, revoke).0, 200);
        let (status, answer) = ask(there, "/v3/kv/range", &u, key);
        assert_eq!(status, 403, "round {round}: {answer}");
        let grant = r#"{"name":"ur","perm":{"permType":"READWRITE","key":"YQ=="}}"#;
        assert_eq!(ask(here, "/v3/auth/role/grant", &root, grant).0, 200);
        let (status, answer) = ask(there, "/v3/kv/range", &u, key);
        assert_eq!(status, 200, "round {round}: {answer}");
        let (status, answer) = ask(there, "/v3/kv/put", &u, r#"{"key":"YQ==","value":"MQ=="}"#);
        assert_eq!(status, 200, "round {round}: {answer}");
    }
    // All of them are killed and come back: the token is still good.
    drop(members);
    members = Members((0..3).map(start).collect());
    until(0, "/v3/kv/range", &u, key, 200);
    assert_eq!(ask(1, "/v3/auth/user/changepw", &root, r#"{"name":"u","password":"new"}"#).0, 200);
    until(2, "/v3/kv/range", &u, key, 401);
    let (_, u) = ask(2, "/v3/auth/authenticate", "", r#"{"name":"u","password":"new"}"#);
    let u = token(&u);
    for at in 0..3 {
        assert_eq!(ask(at, "/v3/kv/range", &u, key).0, 200, "u at {at}");
    }
    drop(members);
}

/// One HTTP request: the status and the answer.
fn post(address: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return (0, "not connected".to_owned()) };
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let header = if token.is_empty() { String::new() } else { format!("Authorization: {token}\r\n") };
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{header}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer).map(drop)).is_err() {
        return (0, answer);
    }
    (answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0), answer)
}
