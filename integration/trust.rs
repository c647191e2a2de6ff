//! Whom a cluster trusts, while it changes: another authority takes over, certificates are taken back, and who is refused is in the log.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use common::machine::{Machine, done, folder, machines, now, token_in};
use common::{NODE, WITHIN, ok, text, wait_for, wait_for_ok};
use corenode::base::UnixMillis;
use corenode::ctl::http::{self, Answer, HttpError};
use corenode::net::Address;
use corenode::net::tls::{Authority, ClientTls, Identity, about_pem};
use hyper::Method;

/// A cluster of these machines.
fn cluster(folder: &Path, names: &[&str]) -> Vec<Machine> {
    let mut machines = machines(folder, names);
    let token = token_in(&done(&machines[0].asked(&["init"])));
    for (at, machine) in machines.iter_mut().enumerate() {
        if at > 0 {
            done(&machine.asked(&["join", &token]));
        }
        machine.run();
        machine.wait_until_it_writes();
    }
    machines
}

fn put(address: &Address, value: usize) -> Result<Answer, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = format!(r#"{{"key":"bG9hZA==","value":"{}"}}"#, value % 10_000 * 4 + 1_000);
    let body = Some(("application/json", body.into_bytes()));
    runtime.block_on(http::call(address, Method::POST, "/v3/kv/put", body, WITHIN))
}

/// Clients that write all the time, each write on a connection of its own; none may fail.
struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(addresses: Vec<Address>) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |address: Address| {
            let (stop, written) = (stop.clone(), written.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let answer = put(&address, written.load(Ordering::Relaxed)).unwrap();
                    assert_eq!(answer.status, 200, "{address}: {answer:?}");
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = addresses.into_iter().map(client).collect();
        Self { stop, written, threads }
    }

    fn wait_for_more(&self) {
        let before = self.written.load(Ordering::Relaxed);
        let more = || (self.written.load(Ordering::Relaxed) > before + 20).then_some(());
        wait_for("writes to go on", Instant::now() + WITHIN, more);
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// How somebody comes whose certificate and key are in a folder that `node ctl login` has made.
fn login(folder: &Path) -> ClientTls {
    let own = folder.join("client.pem");
    let identity = Some(Identity { certificate: own.clone(), key: own });
    ClientTls { trusted_ca: Some(folder.join("ca.pem")), identity, ..ClientTls::default() }
}

fn log_in(machine: &Machine, user: &str, folder: &Path) -> ClientTls {
    let mut command = Command::new(NODE);
    command.args(["ctl", "login", "--name", user, "--endpoint", &machine.endpoint()]);
    done(&command.env("NODE_CREDENTIALS", folder).output().unwrap());
    login(folder)
}

/// The file of an identity as it is now, kept for later.
fn kept(machine: &Machine, file: &str, as_name: &str) -> PathBuf {
    let copy = machine.dir.join(as_name);
    std::fs::copy(machine.identity().folder().join(file), &copy).unwrap();
    copy
}

#[test]
fn another_authority_takes_over_and_no_write_fails() {
    let folder = folder();
    let mut members = cluster(folder.path(), &["a", "b", "c"]);
    let mut late = machines(folder.path(), &["d"]).pop().unwrap();
    let (early, relogged) = (folder.path().join("early"), folder.path().join("later"));
    let ann = log_in(&members[0], "ann", &early);
    let token = token_in(&done(&members[0].ctl(&["token", "create", "--uses", "5"])));
    let (old_ca, old_member) = (kept(&members[0], "ca.pem", "old-ca"), kept(&members[1], "member.pem", "old-member"));
    let socket = |machine: &Machine| Address::from_url(&machine.endpoint()).unwrap();
    let sockets = Load::start(members.iter().map(socket).collect());
    let clients = Load::start(members.iter().map(|machine| machine.by_tls(&ann)).collect());
    sockets.wait_for_more();

    let said = done(&members[1].ctl(&["ca", "rotate", "--keep-old", "1h"]));
    assert!(said.contains("every member has a certificate of the new one"), "{said}");
    // Who logged in before and knows the old authority alone is served as before.
    clients.wait_for_more();
    let shown = done(&members[2].ctl(&["ca", "show"]));
    assert!(shown.contains("former") && shown.contains("missing    nobody"), "{shown}");
    assert!(done(&members[0].ctl(&["ca", "rotate"])).contains("every member has"), "what is on its way goes on");
    // A token of before names the old authority, and lets in until that one is gone.
    done(&late.asked(&["join", &token]));
    late.run();
    late.wait_until_it_writes();
    let went_over = || done(&members[0].ctl(&["ca", "show"])).contains("missing    nobody").then_some(());
    wait_for("the newcomer to go over", Instant::now() + WITHIN, went_over);
    clients.end();

    let again = log_in(&members[2], "ann", &relogged);
    let clients = Load::start(members.iter().map(|machine| machine.by_tls(&again)).collect());
    clients.wait_for_more();
    done(&members[0].ctl(&["ca", "finish"]));
    let dropped = |machine: &Machine| {
        let ca = std::fs::read_to_string(machine.identity().ca()).unwrap();
        (ca.matches("BEGIN CERTIFICATE").count() == 1).then_some(())
    };
    for machine in &members {
        wait_for("the old authority to go", Instant::now() + WITHIN, || dropped(machine));
    }
    clients.wait_for_more();
    sockets.wait_for_more();
    clients.end();
    sockets.end();

    let new_ca = members[0].identity().ca();
    let stale = Identity { certificate: old_member.clone(), key: old_member };
    for (what, tls) in [
        ("a login of before", ClientTls { trusted_ca: Some(new_ca.clone()), ..ann.clone() }),
        ("a member's of before", ClientTls { trusted_ca: Some(new_ca), identity: Some(stale), ..ClientTls::default() }),
    ] {
        for machine in &members {
            let before = machine.log().matches("a client is not let in").count();
            put(&machine.by_tls(&tls), 1).unwrap_err();
            let logged = || (machine.log().matches("a client is not let in").count() > before).then_some(());
            wait_for(what, Instant::now() + WITHIN, logged);
            assert!(machine.answers_at_peer_port(&tls).map_or(true, |answer| answer.is_empty()), "{what}");
        }
    }
    let old_trust = ClientTls { trusted_ca: Some(old_ca), ..again };
    put(&members[0].by_tls(&old_trust), 1).unwrap_err();
    let refused = text(&machines(folder.path(), &["e"])[0].asked(&["join", &token]));
    assert!(refused.contains("does not vouch for whoever answers"), "{refused}");
    // Whoever starts again is one of them still.
    members[2].kill_9();
    members[2].run();
    members[2].wait_until_it_writes();
}

#[test]
fn a_machine_that_is_away_goes_over_when_it_is_back() {
    let folder = folder();
    let mut members = cluster(folder.path(), &["a", "b", "c"]);
    let recorded = || (done(&members[0].ctl(&["cert", "list"])).matches("member").count() == 3).then_some(());
    wait_for("every member's certificate to be known", Instant::now() + WITHIN, recorded);
    members[2].kill_9();
    let rotated = members[0].ctl(&["ca", "rotate", "--keep-old", "0s", "--wait", "2s"]);
    let said = text(&rotated);
    assert!(rotated.status.code() == Some(1) && said.contains("not yet gone over: c."), "{said}");
    let refused = members[1].ctl(&["ca", "finish"]);
    assert!(!refused.status.success() && text(&refused).contains("c would be shut out"), "{}", text(&refused));
    // Nobody else may be needed for it: who leads changes meanwhile.
    members[0].kill_9();
    members[0].run();
    members[2].run();
    members[2].wait_until_it_writes();
    let over = || {
        let shown = done(&members[2].ctl(&["ca", "show"]));
        (!shown.contains("former")).then_some(())
    };
    wait_for("the old authority to go by itself", Instant::now() + WITHIN, over);
    members[0].wait_until_it_writes();

    // One that stays away while the old one goes is refused, joins anew, and is told so.
    members[2].kill_9();
    assert_eq!(members[0].ctl(&["ca", "rotate", "--keep-old", "1h", "--wait", "0s"]).status.code(), Some(1));
    let only_c = || done(&members[1].ctl(&["ca", "show"])).contains("missing    c\n").then_some(());
    wait_for("the others to go over", Instant::now() + WITHIN, only_c);
    done(&members[1].ctl(&["ca", "finish", "--force"]));
    members[2].run();
    let turned_away = || members[..2].iter().any(|machine| machine.log().contains("UnknownIssuer")).then_some(());
    wait_for("the machine to be turned away", Instant::now() + WITHIN, turned_away);
    members[2].kill_9();
    std::fs::remove_dir_all(members[2].dir.join("data")).unwrap();
    let token = token_in(&done(&members[0].ctl(&["token", "create"])));
    // The others have to miss it before it may take the place of the one that it was.
    wait_for_ok("the machine to join anew", || members[2].asked(&["join", &token]));
    members[2].run();
    members[2].wait_until_it_writes();
}

/// Whoever comes with what is not good is refused, and the node that refused him has it in its log.
#[test]
fn what_is_not_good_is_refused_and_logged() {
    let folder = folder();
    let members = cluster(folder.path(), &["a", "b", "c"]);
    let (member, identity) = (&members[0], members[0].identity());
    let foreign = member.as_client_of(&Authority::found("another", now()).unwrap().0, "eve", now());
    let month_ago = UnixMillis(now().0 - 30 * 86_400_000);
    let expired = member.as_client_of(&identity.authority().unwrap(), "eve", month_ago);
    let by_name = log_in(member, "ann", &folder.path().join("ann"));
    let by_serial = log_in(member, "bob", &folder.path().join("bob"));
    let good = log_in(member, "carl", &folder.path().join("carl"));
    for tls in [&by_name, &by_serial, &good] {
        assert_eq!(put(&member.by_tls(tls), 1).unwrap().status, 200);
    }
    // A connection that is open ends with its certificate.
    let address = members[1].by_tls(&by_name);
    let waiting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(http::call(&address, Method::GET, "/v2/keys/nothing?wait=true", None, 4 * WITHIN))
    });
    let watched = || ok("etcdctl", &members[1].endpoint(), &["endpoint", "status"]).contains('\n').then_some(());
    wait_for("the long poll", Instant::now() + WITHIN, watched);
    let said = done(&member.ctl(&["cert", "revoke", "ann"]));
    assert!(said.contains("of ann is taken no more"), "{said}");
    let ended = waiting.join().unwrap();
    assert!(ended.as_ref().map_or(true, |answer| answer.status != 200 || answer.body.is_empty()), "{ended:?}");
    assert!(members[1].log().contains("a client is let in no more: the certificate of ann"), "{}", members[1].log());

    let pem = std::fs::read_to_string(folder.path().join("bob/client.pem")).unwrap();
    done(&members[2].ctl(&["cert", "revoke", &about_pem(&pem).unwrap().serial]));
    let again = member.ctl(&["cert", "revoke", "bob"]);
    assert!(text(&again).contains("no certificate that is good"), "{}", text(&again));
    let in_use = member.ctl(&["cert", "revoke", "b"]);
    assert!(text(&in_use).contains("etcdctl member remove"), "{}", text(&in_use));

    // A machine that was removed: its certificate goes with it, at both ports.
    let copy = kept(&members[2], "member.pem", "copy");
    let removed = ClientTls {
        trusted_ca: Some(identity.ca()),
        identity: Some(Identity { certificate: copy.clone(), key: copy }),
        ..ClientTls::default()
    };
    let listed = ok("etcdctl", &member.endpoint(), &["member", "list"]);
    let id = listed.lines().find(|line| line.contains(", c, ")).unwrap().split(',').next().unwrap();
    ok("etcdctl", &member.endpoint(), &["member", "remove", id]);
    let revoked = || {
        let listed = done(&member.ctl(&["cert", "list"]));
        let mut of_c = listed.lines().filter(|line| line.ends_with("  c"));
        of_c.all(|line| line.contains("revoked")).then_some(())
    };
    wait_for("the removed member's certificate to be revoked", Instant::now() + WITHIN, revoked);

    let cases = [
        ("foreign", &foreign, "UnknownIssuer"),
        ("expired", &expired, "certificate expired"),
        ("revoked by name", &by_name, "a revoked certificate was shown: that of ann"),
        ("revoked by serial number", &by_serial, "a revoked certificate was shown: that of bob"),
        ("a removed member's", &removed, "a revoked certificate was shown: that of corenode-member"),
    ];
    for (what, tls, logged) in cases {
        for machine in &members[..2] {
            let refused = || put(&machine.by_tls(tls), 1).is_err().then_some(());
            wait_for(what, Instant::now() + WITHIN, refused);
            wait_for(what, Instant::now() + WITHIN, || machine.log().contains(logged).then_some(()));
            assert!(machine.answers_at_peer_port(tls).map_or(true, |answer| answer.is_empty()), "{what}");
        }
        assert_eq!(put(&member.by_tls(&good), 1).unwrap().status, 200, "{what}");
    }
    // A stolen token that was used.
    let token = token_in(&done(&member.ctl(&["token", "create"])));
    let mut machines = machines(folder.path(), &["d", "thief"]);
    done(&machines[0].asked(&["join", &token]));
    machines[0].run();
    machines[0].wait_until_it_writes();
    let refused = text(&machines[1].asked(&["join", &token]));
    assert!(refused.contains("is used up: 1 machines have joined with it"), "{refused}");
    let logged =
        members[..2].iter().any(|machine| machine.log().contains("a machine is not let in: this token is used up"));
    assert!(logged);
}
