//! The watch: what is there, line by line, then what changes, as it changes. One JSON object a line.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use hyper::header;
use tokio::sync::broadcast;

use super::model::{Gone, MachineJson, News, Rolling};
use super::query::Query;
use super::view::Changes;
use super::{Api, Failure};
use crate::base::MachineId;
use crate::fleet::{Cluster, Key, wire};

/// What a line is about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Machine(MachineId),
    State(String, MachineId),
    Unit(String),
    Rollout,
}

/// The units that somebody wants to hear of; empty: all of them. Machines are always told.
#[derive(Default)]
struct Wanted {
    units: BTreeSet<String>,
    /// The apply that is under way, and nothing else.
    rollout_only: bool,
}

impl Api {
    /// `GET watch`. The stream ends when the node stops or the reader was too slow: whoever wants to go on asks again.
    pub(super) async fn watch(self: &Arc<Self>, query: &Query) -> Result<Response, Failure> {
        let units = query.values("unit").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let wanted = Wanted { units, rollout_only: query.truth("rollout") };
        let (present, changes) = self.view.follow(|cluster| wanted.present(cluster)).await?;
        let watch = Watch { api: self.clone(), wanted, changes, first: Some(present) };
        let lines = stream::unfold(watch, async |mut watch| {
            let lines = watch.next().await?;
            Some((Ok::<_, std::convert::Infallible>(lines), watch))
        });
        let kind = (header::CONTENT_TYPE, "application/x-ndjson");
        Ok(([kind], Body::from_stream(lines)).into_response())
    }
}

struct Watch {
    api: Arc<Api>,
    wanted: Wanted,
    changes: broadcast::Receiver<Changes>,
    first: Option<Vec<u8>>,
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(present) = self.first.take() {
            return Some(present.into());
        }
        let stop = self.api.stop.clone();
        loop {
            let changes = tokio::select! {
                () = stop.cancelled() => return None,
                // Too slow, or the end: either way the reader has to begin anew.
                changes = self.changes.recv() => changes.ok()?,
            };
            let lines = self.api.view.now(|cluster| self.wanted.changed(cluster, &changes))?;
            if !lines.is_empty() {
                return Some(lines.into());
            }
        }
    }
}

impl Wanted {
    fn has(&self, unit: &str) -> bool {
        !self.rollout_only && (self.units.is_empty() || self.units.contains(unit))
    }

    /// All that is there, then the sign that it was all.
    fn present(&self, cluster: &Cluster) -> Vec<u8> {
        let mut lines = Vec::new();
        let machines = cluster.machines.keys().filter(|_| !self.rollout_only).cloned().map(Subject::Machine);
        let units = cluster.units.keys().filter(|name| self.has(name)).cloned().map(Subject::Unit);
        let states = cluster.states.iter().filter(|(name, _)| self.has(name));
        let states = states.flat_map(|(name, on)| on.keys().map(|id| Subject::State(name.clone(), id.clone())));
        let rollout = (self.rollout_only || cluster.rollout.is_some()).then_some(Subject::Rollout);
        for subject in machines.chain(units).chain(states).chain(rollout) {
            line(&mut lines, &news(cluster, subject));
        }
        line(&mut lines, &News { synced: true, ..News::default() });
        lines
    }

    /// What has become of all that changed.
    fn changed(&self, cluster: &Cluster, changes: &Changes) -> Vec<u8> {
        let mut subjects = BTreeSet::new();
        for key in changes.iter() {
            match key {
                Key::Rollout | Key::Progress => {
                    subjects.insert(Subject::Rollout);
                }
                Key::Machine(id) | Key::Metadata(id, _) if !self.rollout_only => {
                    subjects.insert(Subject::Machine(id.clone()));
                }
                Key::Unit(name) | Key::Schedule(name) if self.has(name) => {
                    subjects.insert(Subject::Unit(name.clone()));
                }
                Key::State(name, id) if self.has(name) => {
                    subjects.insert(Subject::State(name.clone(), id.clone()));
                    // How far the unit has come follows from it.
                    if cluster.units.contains_key(name) {
                        subjects.insert(Subject::Unit(name.clone()));
                    }
                }
                _ => {}
            }
        }
        let mut lines = Vec::new();
        for subject in subjects {
            line(&mut lines, &news(cluster, subject));
        }
        lines
    }
}

fn news(cluster: &Cluster, subject: Subject) -> News {
    let (told, gone) = match subject {
        Subject::Machine(id) => {
            let machine = cluster.machines.get(&id).map(MachineJson::from);
            let gone = Gone { machine_id: id.0, ..Gone::default() };
            (News { machine, ..News::default() }, gone)
        }
        Subject::Unit(name) => {
            let mut unit = wire::unit(cluster, &name);
            if let Some(unit) = &mut unit {
                unit.options.clear();
            }
            let gone = Gone { unit: name, ..Gone::default() };
            (News { unit, ..News::default() }, gone)
        }
        Subject::Rollout => {
            let rolling = cluster
                .rollout
                .as_ref()
                .map(|rollout| Rolling { revision: rollout.revision, progress: cluster.progress.clone() });
            return News { rollout: Some(rolling.unwrap_or_default()), ..News::default() };
        }
        Subject::State(name, id) => {
            let state = wire::states(cluster, Some(&name), Some(&id)).into_iter().next();
            let gone = Gone { machine_id: id.0, state: true, unit: name };
            let launched = cluster.states.get(&gone.unit).and_then(|on| on.get(&MachineId(gone.machine_id.clone())));
            let launched = launched.map_or(0, |state| state.launched);
            (News { state, launched, ..News::default() }, gone)
        }
    };
    if told == News::default() { News { gone: Some(gone), ..News::default() } } else { told }
}

fn line(lines: &mut Vec<u8>, news: &News) {
    // Plain structs with string keys: serde_json has no way to fail on them.
    lines.extend(serde_json::to_vec(news).unwrap_or_default());
    lines.push(b'\n');
}
