//! `/v2/stats`: what was asked of the store, who leads, and how its peers do, in etcd's fields.
//!
//! Reads and watchers are this node's own; writes are those of the v2 API that every member has applied since it started.

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
use crate::kv::Appends;
use crate::kv::v2::{Outcome, Tally};
use crate::wire::v2 as wire;

/// Counters since the doors opened, of this node alone.
pub struct Stats {
    shared: Arc<Shared>,
    started: UnixMillis,
    gets_succeeded: AtomicU64,
    gets_failed: AtomicU64,
    watchers: AtomicU64,
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
            gets_succeeded: AtomicU64::new(0),
            gets_failed: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
        }
    }

    pub fn count_get(&self, outcome: &Outcome) {
        let counter = if outcome.is_ok() { &self.gets_succeeded } else { &self.gets_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a watcher for as long as what is returned lives.
    pub fn count_watcher(self: &Arc<Self>) -> Counted {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn answer(&self, request: &Request) -> Response {
        let tell = match request.uri().path() {
            "/v2/stats/self" => Self::own,
            "/v2/stats/store" => Self::store,
            "/v2/stats/leader" => Self::leader,
            _ => return not_found(),
        };
        if *request.method() == Method::GET { tell(self) } else { method_not_allowed("GET") }
    }

    fn own(&self) -> Response {
        let status = self.shared.store.status();
        let leads = status.leader == Some(status.member);
        let since = UnixMillis(self.shared.leader_since.load(Ordering::Relaxed));
        let sent = |appends: Appends| appends.succeeded + appends.failed;
        line(&wire::SelfStats {
            name: status.name,
            id: status.member.to_string(),
            state: if leads { "StateLeader" } else { "StateFollower" },
            start_time: timestamp(self.started),
            leader_info: wire::LeaderInfo {
                leader: status.leader.map(|leader| leader.to_string()).unwrap_or_default(),
                uptime: duration(self.shared.clock.now().0.saturating_sub(since.0)),
                start_time: timestamp(since),
            },
            appends_received: status.appends_received,
            appends_sent: status.peers.iter().map(|peer| sent(peer.appends)).sum(),
        })
    }

    fn store(&self) -> Response {
        let Tally { sets, creates, updates, swaps, deletes, compared_deletes, expired } =
            self.shared.store.status().v2_writes;
        line(&wire::StoreStats {
            gets_success: self.gets_succeeded.load(Ordering::Relaxed),
            gets_fail: self.gets_failed.load(Ordering::Relaxed),
            sets_success: sets.succeeded,
            sets_fail: sets.refused,
            delete_success: deletes.succeeded,
            delete_fail: deletes.refused,
            update_success: updates.succeeded,
            update_fail: updates.refused,
            create_success: creates.succeeded,
            create_fail: creates.refused,
            compare_and_swap_success: swaps.succeeded,
            compare_and_swap_fail: swaps.refused,
            compare_and_delete_success: compared_deletes.succeeded,
            compare_and_delete_fail: compared_deletes.refused,
            expire_count: expired,
            watchers: self.watchers.load(Ordering::Relaxed),
        })
    }

    fn leader(&self) -> Response {
        let status = self.shared.store.status();
        if status.leader != Some(status.member) {
            return message(StatusCode::FORBIDDEN, "not current leader");
        }
        let followers = status.peers.iter().map(|peer| (peer.id.to_string(), follower(&peer.appends)));
        let followers: BTreeMap<String, wire::FollowerStats> = followers.collect();
        line(&wire::LeaderStats { leader: status.member.to_string(), followers })
    }
}

fn follower(appends: &Appends) -> wire::FollowerStats {
    wire::FollowerStats {
        latency: wire::Latency {
            current: appends.current_ms,
            average: appends.average_ms,
            standard_deviation: appends.deviation_ms,
            minimum: appends.minimum_ms,
            maximum: appends.maximum_ms,
        },
        counts: wire::Counts { fail: appends.failed, success: appends.succeeded },
    }
}

fn line<T: Serialize>(body: &T) -> Response {
    let mut body = encoded(body);
    body.pop();
    json(StatusCode::OK, body)
}

/// A span of milliseconds as Go writes it.
fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    if ms < 1_000 {
        return if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") };
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let seconds = format!("{}.{:03}", ms / 1_000 % 60, ms % 1_000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// A watcher while it lives.
pub struct Counted(Arc<Stats>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        let cases = [
            (-5, "0s"),
            (0, "0s"),
            (7, "7ms"),
            (1_000, "1s"),
            (10_000, "10s"),
            (61_250, "1m1.25s"),
            (3_600_000, "1h0m0s"),
            (90_061_001, "25h1m1.001s"),
        ];
        for (ms, expected) in cases {
            assert_eq!(duration(ms), expected);
        }
    }
}
