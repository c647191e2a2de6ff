//! Random requests of the v2 API, over few paths so that they meet, with sense and nonsense in every parameter.

use rand::prelude::*;
use rand::rngs::StdRng;

use crate::http::Request;

/// No name is the beginning of another: etcd's history tells the end of `/a` to watchers of `/ab` too, which is not meant.
const NAMES: &[&str] = &["a", "b", "c", "_h", "d%20e", "%C3%BC", "x%2Fy", "q+r", "%3Cz%3E%26%22", ".dot", "%e2%80%a8"];
const VALUES: &[&str] =
    &["", "1", "2", "two+words", "%C3%A9%00", "%3Ctag%3E%26", "a%0Ab%09%08%22%5C", "%ff%fe", "%e2%80%a9", "x%3Dy", "7"];
pub const TRUE: &[&str] = &["true", "1", "t", "T", "TRUE", "True"];
const FALSE: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
const NO_TRUTHS: &[&str] = &["", "yes", "tRue", "2", "true%20", "null"];
const NO_NUMBERS: &[&str] = &["", "-1", "1.5", "abc", "0x10", "%2B1", "18446744073709551616", "1e3", "+5"];
/// Far enough from each other to be told apart whatever the machine is doing, and not over before the test is.
const TTLS: &[&str] = &["1000", "50000", "9000000", "0000002000000"];

/// A source of requests. The same seed gives the same requests to the same indexes.
pub struct Requests {
    pub random: StdRng,
    /// The newest index that an answer told.
    pub index: u64,
}

/// A parameter and its value, escaped.
type Pair = (&'static str, String);

impl Requests {
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), index: 0 }
    }

    fn chance(&mut self, of_hundred: u32) -> bool {
        self.random.random_ratio(of_hundred, 100)
    }

    fn one_of(&mut self, from: &[&'static str]) -> &'static str {
        from.choose(&mut self.random).unwrap()
    }

    /// The path of a node, mostly of one that may be there.
    pub fn path(&mut self) -> String {
        let mut path = "/v2/keys".to_owned();
        let depth = [0, 1, 1, 1, 1, 2, 2, 2, 3, 4].choose(&mut self.random).copied().unwrap();
        for _ in 0..depth {
            let few = self.chance(80);
            path.push('/');
            path.push_str(self.one_of(if few { &NAMES[..3] } else { NAMES }));
        }
        if self.chance(8) {
            path.push('/');
        }
        if depth > 0 && self.chance(2) {
            path.push_str(self.one_of(&["//a", "/./b", "/../c", "/a/..", "%2F", "%2e%2e/a", "/%zz", "/;p"]));
        }
        path
    }

    /// An index near one that was taken, or none.
    fn some_index(&mut self) -> String {
        if self.chance(8) {
            return self.one_of(NO_NUMBERS).to_owned();
        }
        let back = self.random.random_range(0..30);
        match self.random.random_range(0..10) {
            0 => "0".to_owned(),
            1 => (self.index + 3).to_string(),
            2 => format!("000{}", self.index),
            _ => self.index.saturating_sub(back).max(4).to_string(),
        }
    }

    fn truth(&mut self) -> String {
        let of = match self.random.random_range(0..100) {
            0..65 => TRUE,
            65..93 => FALSE,
            _ => NO_TRUTHS,
        };
        self.one_of(of).to_owned()
    }

    fn value(&mut self) -> String {
        self.one_of(VALUES).to_owned()
    }

    fn ttl(&mut self) -> String {
        let sense = self.chance(90);
        self.one_of(if sense { TTLS } else { NO_NUMBERS }).to_owned()
    }

    fn pairs(&mut self, chances: &[(&'static str, u32)]) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for (name, of_hundred) in chances {
            while self.chance(*of_hundred) {
                let value = match *name {
                    "value" | "prevValue" => self.value(),
                    "ttl" => self.ttl(),
                    "prevIndex" | "waitIndex" => self.some_index(),
                    "unknown" => self.one_of(&["", "1", "%zz", "a;b", "%"]).to_owned(),
                    _ => self.truth(),
                };
                pairs.push((*name, value));
                // Now and then one twice.
                if !self.chance(4) {
                    break;
                }
            }
        }
        pairs.shuffle(&mut self.random);
        pairs
    }

    /// Any request that is answered at once.
    pub fn draw(&mut self) -> Request {
        match self.random.random_range(0..100) {
            0..32 => self.put(),
            32..39 => self.post(),
            39..52 => self.delete(),
            52..92 => self.get(),
            92..94 => self.odd_method(),
            94..97 => self.odd_body(),
            _ => self.elsewhere(),
        }
    }

    fn put(&mut self) -> Request {
        let chances = match self.random.random_range(0..7) {
            0..2 => vec![("value", 95), ("ttl", 10)],
            2 => vec![("dir", 95), ("ttl", 20), ("prevExist", 30), ("value", 10)],
            3 => vec![("value", 90), ("prevExist", 95), ("ttl", 20)],
            4 => vec![("value", 80), ("prevValue", 50), ("prevIndex", 50), ("prevExist", 10), ("ttl", 10)],
            5 => {
                vec![("refresh", 90), ("ttl", 90), ("prevExist", 50), ("prevValue", 10), ("prevIndex", 10), ("dir", 5)]
            }
            _ => vec![
                ("value", 60),
                ("ttl", 20),
                ("dir", 20),
                ("prevExist", 20),
                ("prevValue", 15),
                ("prevIndex", 15),
                ("refresh", 10),
                ("noValueOnSuccess", 40),
                ("recursive", 5),
                ("sorted", 5),
                ("quorum", 5),
                ("stream", 5),
                ("wait", 3),
                ("waitIndex", 3),
                ("unknown", 3),
            ],
        };
        self.with_form("PUT", &chances)
    }

    fn post(&mut self) -> Request {
        let chances =
            [("value", 90), ("ttl", 15), ("dir", 15), ("prevExist", 5), ("refresh", 5), ("noValueOnSuccess", 10)];
        self.with_form("POST", &chances)
    }

    /// Parameters in the query, in the body, or in both.
    fn with_form(&mut self, method: &str, chances: &[(&'static str, u32)]) -> Request {
        let (path, pairs) = (self.path(), self.pairs(chances));
        let (query, body): (Vec<Pair>, Vec<Pair>) = match self.random.random_range(0..3) {
            0 => (pairs, Vec::new()),
            1 => (Vec::new(), pairs),
            _ => pairs.into_iter().partition(|_| self.random.random_ratio(1, 2)),
        };
        let request = Request::new(method, with_query(path, &query));
        if body.is_empty() { request } else { request.form(joined(&body)) }
    }

    fn delete(&mut self) -> Request {
        let pairs = self.pairs(&[("dir", 30), ("recursive", 30), ("prevValue", 12), ("prevIndex", 12), ("unknown", 2)]);
        Request::new("DELETE", with_query(self.path(), &pairs))
    }

    fn get(&mut self) -> Request {
        let pairs = self.pairs(&[
            ("recursive", 45),
            ("sorted", 45),
            ("quorum", 20),
            ("dir", 3),
            ("waitIndex", 3),
            ("stream", 3),
        ]);
        let method = if self.chance(8) { "HEAD" } else { "GET" };
        let wait = method == "HEAD" && self.chance(10);
        Request::new(
            method,
            with_query(self.path(), &[pairs, if wait { vec![("wait", "true".to_owned())] } else { vec![] }].concat()),
        )
    }

    /// A long poll or a stream: its target, and whether it is a stream.
    pub fn watch(&mut self) -> (Request, bool) {
        let stream = self.chance(30);
        // A stream of the past is not compared: of etcd's, only the first event ever comes.
        let past = if stream { 0 } else { 50 };
        let mut pairs = self.pairs(&[("recursive", 60), ("waitIndex", past), ("sorted", 3)]);
        pairs.push(("wait", "true".to_owned()));
        if stream {
            pairs.push(("stream", "true".to_owned()));
        }
        (Request::new("GET", with_query(self.path(), &pairs)), stream)
    }

    fn odd_method(&mut self) -> Request {
        let method = self.one_of(&["PATCH", "OPTIONS", "FOO", "TRACE", "LOCK"]);
        let path = if self.chance(50) { self.path() } else { self.one_of(ELSEWHERE).to_owned() };
        Request::new(method, path)
    }

    /// Bodies that are no forms, and forms that are broken.
    fn odd_body(&mut self) -> Request {
        let body =
            self.one_of(&["value=1", "{\"value\":\"1\"}", "value=%zz", "value=1;ttl=5", "&&value=3&", "=", "value"]);
        let kind = self.one_of(&[
            "application/json",
            "text/plain; charset=utf-8",
            "application/x-www-form-urlencoded; charset=utf-8",
            "APPLICATION/X-WWW-FORM-URLENCODED",
            "application/x-www-form-urlencoded",
        ]);
        let method = self.one_of(&["PUT", "POST", "DELETE", "GET"]);
        let mut request = Request::new(method, self.path()).header("Content-Type", kind);
        request.body = body.to_owned();
        request
    }

    fn elsewhere(&mut self) -> Request {
        Request::new(self.one_of(&["GET", "HEAD"]), self.one_of(ELSEWHERE))
    }
}

/// Paths beside the nodes.
const ELSEWHERE: &[&str] =
    &["/", "/v2", "/v2/", "/v2/key", "/v2/keysx", "/v2/stats", "/v1/keys/a", "/v2/members/none", "/v2/auth"];

fn joined(pairs: &[Pair]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn with_query(path: String, pairs: &[Pair]) -> String {
    if pairs.is_empty() { path } else { format!("{path}?{}", joined(pairs)) }
}
