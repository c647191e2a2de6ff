//! The v2 view against etcd's behaviour: each case is a request and what etcd 3.4 answers to it.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::*;
use crate::kv::apply_tests::Bench;
use crate::kv::*;

/// A node in one line: `/a=v c4 m5 ttl3`, directories as `/a/`, with what is in them in brackets.
fn node(node: &Node) -> String {
    let mut text = node.path.clone();
    if node.dir {
        text.push('/');
    }
    if let Some(value) = &node.value {
        text.push('=');
        text.push_str(&String::from_utf8_lossy(value));
    }
    text.push_str(&format!(" c{} m{}", node.created_index, node.modified_index));
    if let Some((_, seconds)) = node.expiration {
        text.push_str(&format!(" ttl{seconds}"));
    }
    if !node.nodes.is_empty() {
        let nodes: Vec<String> = node.nodes.iter().map(self::node).collect();
        text.push_str(&format!(" [{}]", nodes.join(", ")));
    }
    text
}

fn answer(answer: &Answer) -> String {
    let action = match answer.action {
        Action::Get => "get".to_owned(),
        Action::Change(action) => format!("{action:?}").to_lowercase(),
    };
    let mut text = format!("{action} {}", node(&answer.node));
    if let Some(prev) = &answer.prev_node {
        text.push_str(&format!(" was {}", node(prev)));
    }
    if answer.refresh {
        text.push_str(" refresh");
    }
    text
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Ok(good) => answer(&good),
        Err(bad) => format!("{} {} @{}", bad.code, bad.cause, bad.index),
    }
}

impl Bench {
    fn v2(&mut self, path: &str, ttl_seconds: Option<u64>, write: Write) -> String {
        let request = WriteRequest { path: path.to_owned(), ttl_seconds, write };
        match self.ok(Op::V2(request)) {
            Reply::V2(done) => outcome(done),
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, path: &str, recursive: bool) -> String {
        let request =
            GetRequest { path: path.to_owned(), recursive, sorted: true, now: crate::base::UnixMillis(self.now) };
        outcome(v2::get(&self.tables, &request).unwrap().1)
    }

    /// What a live watcher is told of the last command.
    fn seen(&self, path: &str, recursive: bool) -> Vec<String> {
        self.told(path, recursive, false)
    }

    fn told(&self, path: &str, recursive: bool, past: bool) -> Vec<String> {
        let (from, end) = watch_range(path);
        let events: Vec<Event> =
            self.events.iter().filter(|event| in_range(&event.kv.key, &from, &end)).cloned().collect();
        groups(&events)
            .filter_map(|group| watch_match(path, recursive, past, group))
            .map(|told| answer(&told))
            .collect()
    }

    fn expire_all(&mut self) {
        let ids = self.state.leases().map(|record| record.lease.id).collect();
        self.ok(Op::LeaseExpire { ids });
    }
}

/// A store of one member, whose first index is 4.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bootstrap(&mut bench.state, &mut bench.tables, 1).unwrap();
    bootstrap(&mut bench.state, &mut bench.tables, 1).unwrap();
    bench
}

fn set(value: &str) -> Write {
    Write::Set { value: value.to_owned(), dir: false, refresh: false }
}

fn set_dir() -> Write {
    Write::Set { value: String::new(), dir: true, refresh: false }
}

fn create(value: &str, dir: bool) -> Write {
    Write::Create { value: value.to_owned(), dir }
}

fn update(value: &str, refresh: bool) -> Write {
    Write::Update { value: value.to_owned(), dir: false, refresh }
}

fn condition(prev_value: &str, prev_index: u64) -> Condition {
    Condition { prev_value: (!prev_value.is_empty()).then(|| prev_value.to_owned()), prev_index }
}

fn cas(value: &str, prev_value: &str, prev_index: u64) -> Write {
    Write::CompareAndSwap { value: value.to_owned(), condition: condition(prev_value, prev_index), refresh: false }
}

fn cad(prev_value: &str, prev_index: u64) -> Write {
    Write::CompareAndDelete { condition: condition(prev_value, prev_index) }
}

fn delete(recursive: bool, dir: bool) -> Write {
    Write::Delete { recursive, dir }
}

#[test]
fn writes_answer_as_etcd_does() {
    let in_order = Write::CreateInOrder { value: "j".to_owned(), dir: false };
    let cases: Vec<(&str, Option<u64>, Write, &str)> = vec![
        ("/a", None, set("1"), "set /a=1 c4 m4"),
        ("/a", None, set("2"), "set /a=2 c5 m5 was /a=1 c4 m4"),
        ("/a", None, create("3", false), "105 /a @5"),
        ("/a/b", None, set("3"), "104 /a @5"),
        ("/a/b/c", None, create("3", false), "104 /a @5"),
        ("/a/b", None, update("3", false), "104 /a @5"),
        ("/a", None, update("3", false), "update /a=3 c5 m6 was /a=2 c5 m5"),
        ("/none", None, update("3", false), "100 /none @6"),
        ("/none/x", None, delete(false, false), "100 /none @6"),
        ("/a", None, cas("4", "x", 0), "101 [x != 3] @6"),
        ("/a", None, cas("4", "", 9), "101 [9 != 6] @6"),
        ("/a", None, cas("4", "x", 9), "101 [x != 3] [9 != 6] @6"),
        ("/a", None, cas("4", "3", 9), "101 [9 != 6] @6"),
        ("/a", None, cas("4", "3", 6), "compareandswap /a=4 c5 m7 was /a=3 c5 m6"),
        ("/a", Some(5), set("5"), "set /a=5 c8 m8 ttl5 was /a=4 c5 m7"),
        ("/a", Some(9), update("", true), "update /a=5 c8 m9 ttl9 was /a=5 c8 m8 ttl5 refresh"),
        ("/a", None, cad("x", 0), "101 [x != 5] @9"),
        ("/a", None, cad("5", 9), "compareanddelete /a c8 m10 was /a=5 c8 m9 ttl9"),
        ("/d", None, create("", true), "create /d/ c11 m11"),
        ("/d", None, set("1"), "102 /d @11"),
        ("/d", None, set_dir(), "102 /d @11"),
        ("/d", None, create("", true), "105 /d @11"),
        ("/d", None, update("v", false), "102 /d @11"),
        ("/d", None, cas("4", "x", 0), "102 /d @11"),
        ("/d", None, cad("4", 0), "102 /d @11"),
        ("/d", Some(7), update("", false), "update /d/ c11 m12 ttl7 was /d/ c11 m11"),
        ("/d", None, update("", false), "update /d/ c11 m13 was /d/ c11 m11 ttl7"),
        ("/d", None, in_order.clone(), "create /d/00000000000000000014=j c14 m14"),
        ("/d", None, delete(false, false), "102 /d @14"),
        ("/d", None, delete(false, true), "108 /d @14"),
        ("/d", None, delete(true, false), "delete /d/ c11 m15 was /d/ c11 m11"),
        ("/q", None, in_order.clone(), "create /q/00000000000000000016=j c16 m16"),
        ("/", None, in_order.clone(), "create /00000000000000000017=j c17 m17"),
        ("/00000000000000000017", None, in_order, "104 /00000000000000000017 @17"),
        ("/", None, set("x"), "107 / @17"),
        ("/", None, create("", true), "107 / @17"),
        ("/", None, update("", false), "107 / @17"),
        ("/", None, cas("x", "y", 0), "107 / @17"),
        ("/", None, delete(true, true), "107 / @17"),
        ("/", None, cad("x", 0), "102  @17"),
        ("/f", Some(3), set("1"), "set /f=1 c18 m18 ttl3"),
        ("/f", None, set_dir(), "set /f/ c19 m19 was /f=1 c18 m18 ttl3"),
        ("/f", None, delete(false, true), "delete /f/ c19 m20 was /f/ c19 m19"),
        ("/x/../y", None, set("1"), "209 /x/../y @20"),
    ];
    let mut store = bench();
    for (path, ttl, write, expected) in cases {
        let shown = format!("{write:?} of {path}");
        assert_eq!(store.v2(path, ttl, write), expected, "{shown}");
    }
    assert_eq!(store.state.leases().count(), 0, "leases of v2 end with their keys");
}

#[test]
fn directories_are_implied_and_outlive_their_files() {
    let mut store = bench();
    store.v2("/a/b/c", None, set("1"));
    assert_eq!(store.get("/", false), "get // c0 m0 [/a/ c4 m4]");
    assert_eq!(store.get("/", true), "get // c0 m0 [/a/ c4 m4 [/a/b/ c4 m4 [/a/b/c=1 c4 m4]]]");
    assert_eq!(store.get("/a/b/c/d", false), "104 /a/b/c @4");
    assert_eq!(store.get("/a/x/y", false), "100 /a/x @4");
    store.v2("/a/b/d", None, set("2"));
    assert_eq!(store.get("/a/b", false), "get /a/b/ c4 m4 [/a/b/c=1 c4 m4, /a/b/d=2 c5 m5]");
    store.v2("/a/b/c", None, delete(false, false));
    assert_eq!(store.events.len(), 1);
    store.v2("/a/b/d", None, delete(false, false));
    assert_eq!(store.events.len(), 2, "the deletion and the marker of the directory");
    assert_eq!(store.all(0), ["/a/b/="]);
    assert_eq!(store.get("/a", true), "get /a/ c4 m4 [/a/b/ c4 m4]");
    store.v2("/a/b", None, delete(false, true));
    assert_eq!(store.all(0), ["/a/="]);
    assert_eq!(store.get("/", true), "get // c0 m0 [/a/ c4 m4]");
    store.v2("/a", None, delete(true, false));
    assert!(store.all(0).is_empty());
    assert_eq!(store.get("/", true), "get // c0 m0");
}

#[test]
fn v3_keys_are_v2_nodes_where_they_are_paths() {
    let mut store = bench();
    for key in ["/a/x", "/a-b", "plain", "/a//b", "/c/", "/_h/k", "/a/_h", "/a/../b"] {
        store.put(key, "v");
    }
    assert_eq!(store.get("/", true), "get // c0 m0 [/a/ c4 m4 [/a/x=v c4 m4], /a-b=v c5 m5, /c/ c8 m8]");
    assert_eq!(store.get("/", false), "get // c0 m0 [/a/ c4 m4, /a-b=v c5 m5, /c/ c8 m8]");
    assert_eq!(store.get("/_h", false), "get /_h/ c9 m9 [/_h/k=v c9 m9]");
    assert_eq!(store.get("/a/_h", false), "get /a/_h=v c10 m10");
    assert_eq!(store.get("/a", false), "get /a/ c4 m4 [/a/x=v c4 m4]");
    // A key that is a directory too is not in the view until the directory is gone.
    store.put("/a", "file");
    assert!(store.seen("/a", true).is_empty());
    assert_eq!(store.get("/a", false), "get /a/ c4 m4 [/a/x=v c4 m4]");
    assert_eq!(store.v2("/a", None, set("1")), "102 /a @12");
    store.ok(Op::DeleteRange(DeleteRangeRequest {
        key: "/a/".into(),
        range_end: "/a0".into(),
        ..DeleteRangeRequest::default()
    }));
    assert_eq!(store.get("/a", false), "get /a=file c12 m12");
    store.put("/a/x", "again");
    assert_eq!(store.v2("/a", None, delete(true, false)), "delete /a/ c17 m18 was /a/ c17 m17");
    assert_eq!(store.get("/a", false), "100 /a @18");
    assert_eq!(store.all(0), ["/_h/k=v", "/a-b=v", "/c/=v", "plain=v"]);
    store.put("/p/a", "file");
    store.put("/p/a/x", "1");
    store.v2("/p/a", None, delete(true, false));
    assert_eq!(store.get("/p", true), "get /p/ c19 m19");
}

#[test]
fn a_long_or_deep_key_is_not_in_the_view() {
    let mut store = bench();
    let long = format!("/{}", "x".repeat(crate::base::limits::V2_PATH_BYTES_MAX));
    let deep = "/x".repeat(crate::base::limits::V2_PATH_COMPONENTS_MAX + 1);
    for path in [&long, &deep] {
        store.put(path, "v");
        assert_eq!(store.get("/", true), "get // c0 m0");
        assert!(store.v2(path, None, set("v")).starts_with("209 "));
    }
}

#[test]
fn files_and_directories_expire() {
    let mut store = bench();
    store.v2("/d/f", Some(10), set("1"));
    store.now += 4_500;
    assert_eq!(store.get("/d/f", false), "get /d/f=1 c4 m4 ttl6");
    store.expire_all();
    assert_eq!(store.seen("/d/f", false), ["expire /d/f c4 m5 was /d/f=1 c4 m4 ttl6"]);
    assert_eq!(store.seen("/", true), ["expire /d/f c4 m5 was /d/f=1 c4 m4 ttl6"]);
    assert!(store.seen("/d", false).is_empty());
    assert_eq!(store.get("/", true), "get // c0 m0 [/d/ c4 m4]");
    store.v2("/d", Some(5), update("", false));
    store.v2("/d/g", Some(60), set("2"));
    store.put("/d/h", "3");
    let revision = store.state.revision(Space::User);
    let lease = store.state.leases().next().unwrap().lease.id;
    assert!(is_v2_lease(lease));
    store.ok(Op::LeaseExpire { ids: vec![lease] });
    assert_eq!(store.state.revision(Space::User), revision + 1);
    assert!(store.all(0).is_empty());
    assert_eq!(store.state.leases().count(), 0);
    let told = ["expire /d/ c4 m9 was /d/ c4 m4 ttl5"];
    for (path, recursive) in [("/d", false), ("/", true), ("/d/g", false), ("/d/h", true)] {
        assert_eq!(store.seen(path, recursive), told, "{path}");
    }
    assert!(store.seen("/d/other", false).is_empty());
    // A lease that v2 made cannot be taken by v3.
    let refused = store.refused(Op::LeaseGrant { id: lease, ttl_ms: 1000 });
    assert_eq!(refused, KvError::LeaseExists);
    // No time to live at all: it ends with the next sweep.
    assert_eq!(store.v2("/z", Some(0), set("1")), "set /z=1 c10 m10 ttl0");
    // A v3 put takes the time to live away.
    store.put("/z", "2");
    assert_eq!(store.get("/z", false), "get /z=2 c11 m11");
    assert_eq!(store.state.leases().count(), 0);
    assert_eq!(store.v2("/z", Some(u64::MAX), set("3")), "set /z=3 c12 m12 ttl9000000000 was /z=2 c11 m11");
}

#[test]
fn watchers_are_told_as_in_etcd() {
    let mut store = bench();
    let nothing: [&str; 0] = [];
    store.v2("/a/b", None, set("1"));
    let told = ["set /a/b=1 c4 m4"];
    for (path, recursive, hears) in [
        ("/a/b", false, true),
        ("/a/b", true, true),
        ("/a", true, true),
        ("/", true, true),
        ("/a", false, false),
        ("/", false, false),
        ("/a/b/c", true, false),
        ("/a/", true, true),
        ("/ab", true, false),
    ] {
        let expected = if hears { &told[..] } else { &nothing[..] };
        assert_eq!(store.seen(path, recursive), expected, "{path} {recursive}");
    }
    store.v2("/a/b", Some(9), update("", true));
    assert_eq!(store.seen("/a/b", false), nothing, "a refresh");
    store.v2("/a/_h/c", None, set("1"));
    assert_eq!(store.seen("/a", true), nothing, "hidden");
    assert_eq!(store.seen("/a/_h", true), ["set /a/_h/c=1 c6 m6"]);
    assert_eq!(store.told("/a", true, true), ["set /a/_h/c=1 c6 m6"], "in the past");
    store.v2("/a/_h/c", None, delete(false, false));
    assert_eq!(store.seen("/a/_h", true), ["delete /a/_h/c c6 m7 was /a/_h/c=1 c6 m6"]);
    assert_eq!(store.seen("/a/_h", false), nothing, "its marker is no event");
    store.v2("/a", None, delete(true, false));
    let gone = ["delete /a/ c4 m8 was /a/ c4 m4"];
    for (path, recursive) in [("/a", false), ("/", true), ("/a/b", false), ("/a/_h", true)] {
        assert_eq!(store.seen(path, recursive), gone, "{path}");
    }
    assert_eq!(store.seen("/a/none", false), nothing);
    assert_eq!(store.seen("/", false), nothing);
    store.v2("/m", None, create("", true));
    assert_eq!(store.seen("/m", false), ["create /m/ c9 m9"]);
    // v3 changes, each with an index of its own.
    store.ok(Op::Txn(TxnRequest {
        success: [("/m/x", "1"), ("/m/y", "2")]
            .into_iter()
            .map(|(key, value)| {
                TxnOp::Put(PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() })
            })
            .collect(),
        ..TxnRequest::default()
    }));
    assert_eq!(store.seen("/m", true), ["set /m/x=1 c10 m10", "set /m/y=2 c11 m11"]);
    // The marker of a directory that stays is no event for v2.
    store.put("/m/", "");
    assert_eq!(store.seen("/m", true), nothing);
    store.ok(Op::DeleteRange(DeleteRangeRequest { key: "/m/".into(), ..DeleteRangeRequest::default() }));
    assert_eq!(store.seen("/m", true), nothing);
    store.ok(Op::DeleteRange(DeleteRangeRequest { key: "/m/x".into(), ..DeleteRangeRequest::default() }));
    assert_eq!(store.seen("/m", true), ["delete /m/x c10 m14 was /m/x=1 c10 m10"]);
}

#[test]
fn indexes_lead_to_revisions() {
    let mut store = bench();
    store.put("/a", "1");
    store.v2("/d/x", None, set("1"));
    store.v2("/d", None, delete(true, false));
    let place = |store: &Bench, index| revision_of_index(&store.tables, index).unwrap();
    for (index, revision) in [(0, 2), (1, 2), (4, 2), (5, 3), (6, 4)] {
        assert_eq!(place(&store, index), IndexPlace::Revision(revision), "{index}");
    }
    assert_eq!(place(&store, 7), IndexPlace::Future);
    store.ok(Op::Compact { space: Space::User, revision: 4 });
    for _ in 0..2 {
        for (index, expected) in [
            (4, IndexPlace::Cleared { oldest: 6 }),
            (5, IndexPlace::Cleared { oldest: 6 }),
            (6, IndexPlace::Revision(4)),
            (7, IndexPlace::Future),
        ] {
            assert_eq!(place(&store, index), expected, "{index}");
        }
        while compact_step(&mut store.tables, Space::User, 1).unwrap().more {}
    }
    assert_eq!(Bytes::from_static(b"/"), watch_range("/").0);
}
