//! The same questions to etcd and to ours, and how the answers differ.

use std::time::{Duration, Instant};

use crate::compare::{difference, same_body};
use crate::http::{Answer, Connection, Request, Watch};
use crate::random::TRUE;
use crate::server::{Server, Side};

/// What one side has told, the other one tells within this time.
pub const FOLLOWS_WITHIN: Duration = Duration::from_secs(60);
/// What neither has told by then is not waited for.
const QUIET: Duration = Duration::from_millis(30);

/// One member of each.
pub struct Pair {
    pub etcd: Server,
    pub ours: Server,
    connections: [Connection; 2],
}

impl Pair {
    pub fn start() -> Self {
        let (etcd, ours) = std::thread::scope(|scope| {
            let etcd = scope.spawn(|| Server::start(Side::Etcd));
            let ours = scope.spawn(|| Server::start(Side::Ours));
            (etcd.join().unwrap(), ours.join().unwrap())
        });
        let connections = [&etcd, &ours].map(|server| Connection::open(server.client));
        Self { etcd, ours, connections }
    }

    /// Etcd's answer and ours.
    pub fn ask(&mut self, request: &Request) -> [Answer; 2] {
        for connection in &mut self.connections {
            connection.send(request);
        }
        let [etcd, ours] = &mut self.connections;
        let answers = [etcd.answer(&request.method), ours.answer(&request.method)];
        for (at, answer) in answers.iter().enumerate() {
            if answer.header("Connection") == Some("close") {
                self.connections[at] = Connection::open([&self.etcd, &self.ours][at].client);
            }
        }
        answers
    }

    /// How the answers differ, told in full.
    pub fn compare(&mut self, request: &Request) -> Result<Answer, String> {
        let [etcd, ours] = self.ask(request);
        match difference(&etcd, &ours, is_sorted(request)) {
            None => Ok(etcd),
            Some(what) => Err(format!("{request}\n  differs in {what}\n  etcd: {etcd}\n  ours: {ours}")),
        }
    }

    /// The same long poll at both.
    pub fn watch(&self, request: &Request) -> Watches {
        let [etcd, ours] = [&self.etcd, &self.ours].map(|server| Watch::open(server.client, request));
        Watches { request: request.clone(), etcd, ours }
    }
}

/// Listings come in the order of a Go map unless one asks for theirs.
fn is_sorted(request: &Request) -> bool {
    let asked = request.target.split(['?', '&']).find_map(|pair| pair.strip_prefix("sorted="));
    asked.is_some_and(|asked| TRUE.contains(&asked)) || request.method != "GET"
}

/// A long poll at both.
pub struct Watches {
    pub request: Request,
    etcd: Watch,
    ours: Watch,
}

impl Watches {
    /// Compares the headers, and all that has been told up to now.
    pub fn compare(&self) -> Result<(), String> {
        let request = &self.request;
        if let Some(what) = difference(&self.etcd.head, &self.ours.head, true) {
            let (etcd, ours) = (&self.etcd.head, &self.ours.head);
            return Err(format!("{request}\n  differs in {what}\n  etcd: {etcd}\n  ours: {ours}"));
        }
        let mut before = None;
        loop {
            let mut etcd = self.etcd.next(QUIET);
            // Of the end of the node itself etcd tells a stream twice.
            while before.is_some() && matches!(&etcd, Ok(Some(line)) if Some(line) == before.as_ref()) {
                etcd = self.etcd.next(QUIET);
            }
            let ours = self.ours.next(if matches!(etcd, Ok(Some(_))) { FOLLOWS_WITHIN } else { QUIET });
            if matches!((&etcd, &ours), (Ok(None), Ok(Some(_)))) {
                etcd = self.etcd.next(FOLLOWS_WITHIN);
            }
            match (&etcd, &ours) {
                (Ok(Some(one)), Ok(Some(other))) if same_body(one, other, true) => before = etcd.unwrap(),
                (Ok(None) | Err(()), Ok(None) | Err(())) => return Ok(()),
                _ => return Err(format!("{request}\n  tells something else\n  etcd: {etcd:?}\n  ours: {ours:?}")),
            }
        }
    }
}

/// Asks both until they say the same; for what each does in its own time.
pub fn settle(pair: &mut Pair, request: &Request, done: impl Fn(&Answer) -> bool) -> Result<(), String> {
    let deadline = Instant::now() + FOLLOWS_WITHIN;
    loop {
        if pair.ask(request).iter().all(&done) {
            return pair.compare(request).map(drop);
        }
        if Instant::now() > deadline {
            return pair.compare(request).and_then(|answer| Err(format!("{request} stays at {answer}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
