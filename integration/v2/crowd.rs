//! Many long polls on one node at the same time: what they cost, what a write costs meanwhile, and that none misses its event.

use std::time::{Duration, Instant};

use crate::http::{Connection, Request};
use crate::server::Server;

/// Resident memory of a process.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// This process may have so many files open.
fn allow_files(count: u64) {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    assert!(limit.current.is_none_or(|limit| limit >= count), "ulimit -Hn must be {count} or more, it is {limit:?}");
}

fn put(server: &Server, path: &str) -> Duration {
    let began = Instant::now();
    let answer = server.ask(&Request::new("PUT", format!("/v2/keys{path}")).form("value=now"));
    assert!(answer.status == 201 || answer.status == 200, "{answer}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Opens `count` long polls of one key, writes beside it and then to it, and hears every one of them.
pub fn waits(server: &Server, count: usize) {
    allow_files(count as u64 + 1_000);
    let alone = median((0..50).map(|_| put(server, "/other")).collect());
    let before = resident_kib(server.pid());
    let poll = Request::new("GET", "/v2/keys/crowd?wait=true");
    let began = Instant::now();
    let mut polls: Vec<Connection> = (0..count)
        .map(|_| {
            let mut connection = Connection::open(server.client);
            connection.send(&poll);
            assert_eq!(connection.head().status, 200);
            connection
        })
        .collect();
    let opened = began.elapsed();
    let waiting = resident_kib(server.pid());
    let beside = median((0..50).map(|_| put(server, "/other")).collect());
    let began = Instant::now();
    let to_all = put(server, "/crowd");
    for connection in &mut polls {
        let told = connection.piece();
        assert!(told.starts_with(r#"{"action":"set","node":{"key":"/crowd","value":"now""#), "{told}");
    }
    let heard = began.elapsed();
    eprintln!("{count} long polls, opened in {opened:.2?}");
    eprintln!("memory: {before} KiB before, {waiting} KiB while they wait, {} KiB after", resident_kib(server.pid()));
    eprintln!("{:.1} KiB for each", (waiting - before) as f64 / count as f64);
    eprintln!(
        "a write: {alone:.2?} before, {beside:.2?} beside them, {to_all:.2?} to all; heard by all after {heard:.2?}"
    );
}
