//! etcd's v2 API against Debian's etcd 3.4 with `--enable-v2`: the same requests to one member of each, the same answers.
//!
//! Needs Debian's `etcd-server`. Nothing is skipped: without it the tests fail and say what to install.

#![allow(clippy::unwrap_used)]

#[path = "v2/compare.rs"]
mod compare;
#[path = "v2/http.rs"]
mod http;
#[path = "v2/pairs.rs"]
mod pairs;
#[path = "v2/random.rs"]
mod random;
#[path = "v2/server.rs"]
mod server;
#[path = "v2/users.rs"]
mod users;

use http::Request;
use pairs::{Pair, Watches, settle};
use random::Requests;

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
        match pair.compare(&requests.next()) {
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
        ("/v2/keys/end/dir", "dir=true&ttl=2"),
        ("/v2/keys/end/dir/a/b", "value=1"),
        ("/v2/keys/end/dir/_c", "value=2"),
    ] {
        pair.compare(&Request::new("PUT", target).form(form))?;
    }
    settle(pair, &Request::new("GET", "/v2/keys/end/dir"), |answer| answer.status == 404)?;
    pair.compare(&Request::new("GET", "/v2/keys/end?recursive=true&sorted=true"))?;
    watches.iter().try_for_each(Watches::compare)
}
