//! etcd's v2 API against Debian's etcd 3.4 with `--enable-v2`: the same requests to one member of each, the same answers.
//!
//! Needs Debian's `etcd-server`. Nothing is skipped: without it the tests fail and say what to install.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "v2/compare.rs"]
mod compare;
#[path = "v2/crowd.rs"]
mod crowd;
#[path = "v2/http.rs"]
mod http;
#[path = "v2/members.rs"]
mod members;
#[path = "v2/pairs.rs"]
mod pairs;
#[path = "v2/random.rs"]
mod random;
#[path = "v2/server.rs"]
mod server;
#[path = "v2/users.rs"]
mod users;

use std::time::Instant;

use http::{Connection, Request, Watch};
use pairs::{FOLLOWS_WITHIN, Pair, Watches, settle};
use random::Requests;
use server::{Server, Side};

/// Requests in one run, long polls apart.
const REQUESTS: usize = 4_000;
/// Long polls that wait at the same time.
const WATCHES: usize = 12;
/// Differences that are told before a run ends.
const DIFFERENCES_MAX: usize = 8;

/// `V2_SEED` repeats a run.
fn seed() -> u64 {
    std::env::var("V2_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap())
}

#[test]
fn random_requests_are_answered_as_by_etcd() {
    let seed = seed();
    eprintln!("V2_SEED={seed}");
    let mut pair = Pair::start();
    let mut requests = Requests::new(seed);
    let mut watches: Vec<Watches> = Vec::new();
    let mut differences = Vec::new();
    for number in 0..REQUESTS {
        if number % 10 == 5 {
            watches.push(pair.watch(&requests.watch().0));
        }
        if watches.len() > WATCHES {
            differences.extend(watches.remove(0).compare().err());
        }
        match pair.compare(&requests.draw()) {
            Ok(answer) => requests.index = requests.index.max(answer.number("X-Etcd-Index")),
            Err(difference) => differences.push(format!("{number}: {difference}")),
        }
        if differences.len() >= DIFFERENCES_MAX {
            break;
        }
    }
    differences.extend(watches.iter().filter_map(|watches| watches.compare().err()));
    differences.extend(ends_are_the_same(&mut pair).err());
    assert!(differences.is_empty(), "V2_SEED={seed}\n{}", differences.join("\n"));
    eprintln!("{REQUESTS} requests, index {}", requests.index);
}

#[test]
fn users_and_roles_are_answered_as_by_etcd() {
    let differences = users::differences(&mut Pair::start());
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn members_are_answered_as_by_etcd() {
    let differences = members::differences(&mut Pair::start());
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Long polls that wait at once in the test of their number.
const CROWD: usize = 10_000;

#[test]
fn ten_thousand_long_polls_miss_nothing() {
    crowd::waits(&Server::start(Side::Ours), CROWD);
}

/// The fields of etcd's figures, and their types.
fn shape(text: &str) -> Vec<String> {
    fn walk(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
        let kind = match value {
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| walk(&format!("{at}.{name}"), value, found));
                return;
            }
            serde_json::Value::Number(_) => "a number",
            serde_json::Value::String(_) => "a text",
            _ => "something else",
        };
        found.push(format!("{at} is {kind}"));
    }
    let mut found = Vec::new();
    walk("", &serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")), &mut found);
    found
}

#[test]
fn figures_have_etcds_fields_and_are_true() {
    let mut pair = Pair::start();
    let keys = [
        ("PUT", "a", "value=1"),
        ("PUT", "a", "value=2&prevExist=true"),
        ("PUT", "a", "value=3&prevValue=x"),
        ("PUT", "a", "value=3&prevValue=2"),
        ("PUT", "a", "value=3&prevExist=false"),
        ("PUT", "b", "value=3&prevExist=true"),
        ("POST", "q", "value=1"),
        ("PUT", "", "value=1"),
        ("GET", "a", ""),
        ("GET", "none", ""),
        ("DELETE", "a?prevValue=x", ""),
        ("DELETE", "a?prevValue=3", ""),
        ("DELETE", "none", ""),
        ("DELETE", "q?recursive=true", ""),
        ("PUT", "e", "value=1&ttl=1"),
    ];
    for (method, path, form) in keys {
        pair.compare(&Request::new(method, format!("/v2/keys/{path}")).form(form)).unwrap();
    }
    // etcd's own figures count its inner reads and writes too, and a compareAndDelete that fails as one that succeeds.
    let figures = |watchers: u32| {
        let others = concat!(
            r#"{"getsSuccess":1,"getsFail":1,"setsSuccess":2,"setsFail":1,"deleteSuccess":1,"deleteFail":1,"#,
            r#""updateSuccess":1,"updateFail":1,"createSuccess":1,"createFail":1,"compareAndSwapSuccess":1,"#,
            r#""compareAndSwapFail":1,"compareAndDeleteSuccess":1,"compareAndDeleteFail":1,"expireCount":1"#
        );
        format!("{others},\"watchers\":{watchers}}}")
    };
    let tells = |watchers: u32| {
        let read = || pair.ours.ask(&Request::new("GET", "/v2/stats/store")).body;
        let what = format!("{} at {}", figures(watchers), read());
        common::wait_for(&what, Instant::now() + FOLLOWS_WITHIN, || (read() == figures(watchers)).then_some(()));
    };
    tells(0);
    let poll = Watch::open(pair.ours.client, &Request::new("GET", "/v2/keys/never?wait=true"));
    tells(1);
    drop(poll);
    tells(0);
    for which in ["self", "store", "leader"] {
        let [etcd, ours] = pair.ask(&Request::new("GET", format!("/v2/stats/{which}")));
        assert_eq!(shape(&etcd.body), shape(&ours.body), "{which}");
        for method in ["HEAD", "PUT", "DELETE"] {
            pair.compare(&Request::new(method, format!("/v2/stats/{which}"))).unwrap();
        }
    }
}

#[test]
fn the_leader_tells_of_its_followers() {
    let cluster = common::TestCluster::start(3);
    let ask = |at: usize, target: &str| Connection::open(cluster.nodes[at].client).ask(&Request::new("GET", target));
    for _ in 0..20 {
        let written = Connection::open(cluster.nodes[0].client).ask(&Request::new("PUT", "/v2/keys/a").form("value=1"));
        assert!(written.status < 300, "{written}");
    }
    let leader = common::wait_for("a leader", Instant::now() + FOLLOWS_WITHIN, || {
        (0..3).find(|at| ask(*at, "/v2/stats/leader").status == 200)
    });
    let own = |at: usize| serde_json::from_str::<serde_json::Value>(&ask(at, "/v2/stats/self").body).unwrap();
    assert!(own(leader)["sendAppendRequestCnt"].as_u64() > Some(0), "{}", own(leader));
    let figures = ask(leader, "/v2/stats/leader").body;
    let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
    let followers = figures["followers"].as_object().unwrap();
    assert_eq!(followers.len(), 2, "{figures}");
    for follower in followers.values() {
        let figure = |name: &str| follower["latency"][name].as_f64().unwrap();
        assert!(follower["counts"]["success"].as_u64() > Some(0), "{figures}");
        assert!(0.0 < figure("minimum") && figure("minimum") <= figure("average"), "{figures}");
        assert!(figure("average") <= figure("maximum") && figure("current") <= figure("maximum"), "{figures}");
    }
    for at in (0..3).filter(|at| *at != leader) {
        let figures = ask(at, "/v2/stats/leader");
        if figures.status != 200 {
            assert_eq!((figures.status, &figures.body[..]), (403, r#"{"message":"not current leader"}"#));
        }
        assert!(own(at)["recvAppendRequestCnt"].as_u64() > Some(0), "{}", own(at));
    }
    let machines = ask(1, "/v2/machines").body;
    let urls: Vec<&str> = machines.split(", ").collect();
    assert!(urls.len() == 3 && cluster.nodes.iter().all(|node| urls.contains(&&node.endpoint()[..])), "{machines}");
}

#[test]
fn history_is_there_until_it_is_compacted() {
    let server = Server::start(Side::Ours);
    let mut connection = Connection::open(server.client);
    const CHANGES: u64 = 3_000;
    for number in 0..CHANGES {
        let put = Request::new("PUT", format!("/v2/keys/deep/{}", number % 7)).form(format!("value={number}"));
        assert!(connection.ask(&put).status < 300);
    }
    // The first change of a member of its own has index 4.
    let past = |path: &str| Request::new("GET", format!("/v2/keys/{path}?wait=true&waitIndex=4"));
    let first = Watch::open(server.client, &past("deep/0")).next(FOLLOWS_WITHIN).unwrap().unwrap();
    assert_eq!(first, r#"{"action":"set","node":{"key":"/deep/0","value":"0","modifiedIndex":4,"createdIndex":4}}"#);
    let stream = Request::new("GET", "/v2/keys/deep?wait=true&waitIndex=4&recursive=true&stream=true");
    let stream = Watch::open(server.client, &stream);
    for number in 0..CHANGES {
        let line = stream.next(FOLLOWS_WITHIN).unwrap().unwrap();
        assert!(line.contains(&format!("\"value\":\"{number}\",\"modifiedIndex\":{}", number + 4)), "{line}");
    }
    let compaction = Request::new("POST", "/v3/kv/compaction").json(format!("{{\"revision\":\"{}\"}}", CHANGES / 2));
    assert_eq!(connection.ask(&compaction).status, 200);
    let gone = connection.ask(&past("deep/0"));
    assert_eq!(gone.status, 400, "{gone}");
    let expected = r#""errorCode":401,"message":"The event in requested index is outdated and cleared""#;
    assert!(gone.body.contains(expected) && gone.number("X-Etcd-Index") == CHANGES + 3, "{gone}");
    let oldest = gone.body.split(['[', '/']).find_map(|word| word.parse::<u64>().ok()).unwrap();
    let kept = Request::new("GET", format!("/v2/keys/deep?wait=true&recursive=true&waitIndex={oldest}"));
    let kept = Watch::open(server.client, &kept).next(FOLLOWS_WITHIN).unwrap().unwrap();
    assert!(kept.contains(&format!("\"modifiedIndex\":{oldest}")), "{kept}");
}

#[test]
fn the_old_ports_are_served_beside_the_new() {
    let server = Server::start(Side::Ours);
    let [client, peer] = server.more;
    let put = Request::new("PUT", "/v2/keys/old").form("value=port");
    assert_eq!(Connection::open(client).ask(&put).status, 201);
    assert!(server.ask(&Request::new("GET", "/v2/keys/old")).body.contains("\"value\":\"port\""));
    assert!(std::net::TcpStream::connect(peer).is_ok());
}

/// Keys and directories that end by themselves: who is told of it, and what.
fn ends_are_the_same(pair: &mut Pair) -> Result<(), String> {
    let watches: Vec<Watches> =
        ["end/dir", "end/dir/a/b", "end/dir/a", "end/dir/_c", "end/dir/none", "end?recursive=true"]
            .iter()
            .map(|path| {
                let and = if path.contains('?') { '&' } else { '?' };
                pair.watch(&Request::new("GET", format!("/v2/keys/{path}{and}wait=true&stream=true")))
            })
            .collect();
    pair.compare(&Request::new("PUT", "/v2/keys/end/now").form("value=3&ttl=0"))?;
    settle(pair, &Request::new("GET", "/v2/keys/end/now"), |answer| answer.status == 404)?;
    for (target, form) in [
        ("/v2/keys/end/dir/a/b", "value=1"),
        ("/v2/keys/end/dir/_c", "value=2"),
        ("/v2/keys/end/dir", "dir=true&ttl=1&prevExist=true"),
    ] {
        pair.compare(&Request::new("PUT", target).form(form))?;
    }
    settle(pair, &Request::new("GET", "/v2/keys/end/dir"), |answer| answer.status == 404)?;
    pair.compare(&Request::new("GET", "/v2/keys/end?recursive=true&sorted=true"))?;
    watches.iter().try_for_each(Watches::compare)
}
