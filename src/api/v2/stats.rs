//! `/v2/stats`: what this node has served, who leads, and how its peers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use hyper::{Method, StatusCode};
use serde::Serialize;

use super::members::message;
use super::render::timestamp;
use crate::api::Shared;
use crate::api::http::{encoded, json, method_not_allowed, not_found};
use crate::base::UnixMillis;
use crate::kv::v2::{Outcome, Write};

/// Requests that succeeded and that failed.
#[derive(Default)]
struct Pair([AtomicU64; 2]);

impl Pair {
    fn count(&self, good: bool) {
        self.0[usize::from(!good)].fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 2] {
        [0, 1].map(|i| self.0[i].load(Ordering::Relaxed))
    }
}

/// Counters since the doors opened, of this node alone.
pub struct Stats {
    shared: Arc<Shared>,
    started: UnixMillis,
    gets: Pair,
    sets: Pair,
    deletes: Pair,
    updates: Pair,
    creates: Pair,
    swaps: Pair,
    compared_deletes: Pair,
    pub watchers: AtomicU64,
}

/// The paths of this file.
pub fn routes(stats: &Arc<Stats>) -> Router {
    let stats = stats.clone();
    let handler = any(async move |request: Request| stats.answer(&request));
    Router::new().route("/v2/stats/{which}", handler)
}

impl Stats {
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            started: shared.clock.now(),
            gets: Pair::default(),
            sets: Pair::default(),
            deletes: Pair::default(),
            updates: Pair::default(),
            creates: Pair::default(),
            swaps: Pair::default(),
            compared_deletes: Pair::default(),
            watchers: AtomicU64::new(0),
        }
    }

    pub fn count_get(&self, outcome: &Outcome) {
        self.gets.count(outcome.is_ok());
    }

    pub fn count_write(&self, write: &Write, good: bool) {
        let pair = match write {
            Write::Set { .. } => &self.sets,
            Write::Create { .. } | Write::CreateInOrder { .. } => &self.creates,
            Write::Update { .. } => &self.updates,
            Write::CompareAndSwap { .. } => &self.swaps,
            Write::Delete { .. } => &self.deletes,
            Write::CompareAndDelete { .. } => &self.compared_deletes,
        };
        pair.count(good);
    }

    fn answer(&self, request: &Request) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return method_not_allowed("GET");
        }
        match request.uri().path() {
            "/v2/stats/self" => line(&self.own()),
            "/v2/stats/store" => line(&self.store()),
            "/v2/stats/leader" => self.leader(),
            _ => not_found(),
        }
    }

    fn own(&self) -> Own {
        let status = self.shared.store.status();
        let leads = status.leader == Some(status.member);
        Own {
            name: status.name,
            id: status.member.to_string(),
            state: if leads { "StateLeader" } else { "StateFollower" },
            start_time: timestamp(self.started),
            leader_info: Leader { leader: status.leader.unwrap_or_default().to_string() },
        }
    }

    fn store(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (good, bad, pair) in [
            ("getsSuccess", "getsFail", &self.gets),
            ("setsSuccess", "setsFail", &self.sets),
            ("deleteSuccess", "deleteFail", &self.deletes),
            ("updateSuccess", "updateFail", &self.updates),
            ("createSuccess", "createFail", &self.creates),
            ("compareAndSwapSuccess", "compareAndSwapFail", &self.swaps),
            ("compareAndDeleteSuccess", "compareAndDeleteFail", &self.compared_deletes),
        ] {
            let [succeeded, failed] = pair.read();
            all.insert(good, succeeded);
            all.insert(bad, failed);
        }
        all.insert("watchers", self.watchers.load(Ordering::Relaxed));
        all
    }

    fn leader(&self) -> Response {
        let status = self.shared.store.status();
        if status.leader != Some(status.member) {
            return message(StatusCode::FORBIDDEN, "not current leader");
        }
        let followers = status.peers.iter().map(|peer| {
            let silent_ms = peer.silent.as_ref().map(|(silent, _)| silent.as_millis());
            (peer.id.to_string(), Follower { silent_ms })
        });
        line(&Leading { leader: status.member.to_string(), followers: followers.collect() })
    }
}

fn line<T: Serialize>(body: &T) -> Response {
    let mut body = encoded(body);
    body.pop();
    json(StatusCode::OK, body)
}

#[derive(Serialize)]
struct Own {
    name: String,
    id: String,
    state: &'static str,
    #[serde(rename = "startTime")]
    start_time: String,
    #[serde(rename = "leaderInfo")]
    leader_info: Leader,
}

#[derive(Serialize)]
struct Leader {
    leader: String,
}

#[derive(Serialize)]
struct Leading {
    leader: String,
    followers: BTreeMap<String, Follower>,
}

/// `silentMs` is missing while the peer answers.
#[derive(Serialize)]
struct Follower {
    #[serde(rename = "silentMs", skip_serializing_if = "Option::is_none")]
    silent_ms: Option<u128>,
}

/// A watcher while it lives.
pub struct Counted(pub Arc<Stats>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
