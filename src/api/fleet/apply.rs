//! Applies: what they would change, their begin, their history, and the way back.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::model::{Applies, Apply, How, Planned, Rollback, Rolling, UnitFileJson};
use super::write::read_body;
use super::{Api, Failure, ok};
use crate::base::limits::FLEET_WRITE_ATTEMPTS_MAX;
use crate::fleet::Cluster;
use crate::fleet::layout::{APPLIES, Key, decode};
use crate::fleet::rollout::history::{BackError, back};
use crate::fleet::rollout::plan::{Asked, PlanError, apply};
use crate::fleet::rollout::{Applied, Rollout, abort};
use crate::fleet::types::DesiredState;
use crate::kv::{Consistency, RangeRequest, SortOrder, Space, prefix_end};
use crate::unit::UnitText;

/// The set of an apply that names none.
const DEFAULT_SET: &str = "default";

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Bad(error.to_string())
    }
}

impl From<BackError> for Failure {
    fn from(error: BackError) -> Self {
        match error {
            BackError::Plan(error) => error.into(),
            BackError::Unknown(_) => Self::NotFound(error.to_string()),
            BackError::Nothing | BackError::Failed(_) => Self::Conflict(error.to_string()),
        }
    }
}

impl Api {
    /// `POST apply`
    pub(super) async fn apply(&self, request: Request) -> Result<Response, Failure> {
        let body: Apply = read_json(request).await?;
        let desired = match body.desired_state.as_str() {
            "" => DesiredState::Launched,
            word => word.parse().map_err(|error| Failure::Bad(format!("{error}")))?,
        };
        let asked = Asked { prune: body.prune, desired, ..self.asked(&body.how) };
        let units = body.units.iter().map(read_unit).collect::<Result<Vec<_>, _>>()?;
        let build = |cluster: &Cluster| apply(cluster, &units, &asked).map_err(Failure::from);
        let mut planned = self.begin(&body.how, &units, build).await?;
        let changed = |name: &String| planned.changes.iter().any(|change| change.unit == *name);
        planned.unchanged = units.iter().map(|(name, _)| name).filter(|name| !changed(name)).cloned().collect();
        Ok(ok(&planned))
    }

    /// `POST rollback`
    pub(super) async fn rollback(&self, request: Request) -> Result<Response, Failure> {
        let body: Rollback = read_json(request).await?;
        if body.to.is_none()
            && let Some(planned) = self.take_back(&body.how).await?
        {
            return Ok(ok(&planned));
        }
        let asked = self.asked(&body.how);
        let applied = self.history().await?;
        let build = |cluster: &Cluster| back(cluster, &applied, body.to, &asked).map_err(Failure::from);
        Ok(ok(&self.begin(&body.how, &[], build).await?))
    }

    /// `GET applies`
    pub(super) async fn applies(&self) -> Result<Response, Failure> {
        let under_way = self.view.read(|cluster| cluster.rollout.clone().zip(Some(cluster.progress.clone()))).await?;
        let mut applies = self.history().await?;
        let under_way = under_way.map(|(rollout, progress)| {
            let revision = rollout.revision;
            applies.push(Applied { rollout: (*rollout).clone(), ..Applied::default() });
            Rolling { revision, progress }
        });
        applies.reverse();
        for applied in &mut applies {
            applied.rollout.texts.clear();
        }
        Ok(ok(&Applies { applies, under_way }))
    }

    /// `GET applies/REVISION`
    pub(super) async fn applied(&self, revision: &str) -> Result<Response, Failure> {
        let unknown = || BackError::Unknown(revision.parse().unwrap_or(0));
        let found = self.history().await?.into_iter().find(|one| one.rollout.revision.to_string() == revision);
        Ok(ok(&Applies { applies: vec![found.ok_or_else(unknown)?], under_way: None }))
    }

    fn asked(&self, how: &How) -> Asked {
        let set = if how.set.is_empty() { DEFAULT_SET } else { &how.set };
        Asked { by: how.by.clone(), at: self.clock.now(), set: set.to_owned(), rules: how.rules, ..Asked::default() }
    }

    /// Plans, and begins what was planned, unless it is only to be told. What is under way with the same units is joined.
    async fn begin(
        &self,
        how: &How,
        units: &[(String, UnitText)],
        build: impl Fn(&Cluster) -> Result<Rollout, Failure>,
    ) -> Result<Planned, Failure> {
        for _ in 0..FLEET_WRITE_ATTEMPTS_MAX {
            let (running, cluster) = self.view.read(|cluster| (cluster.rollout.clone(), cluster.clone())).await?;
            if let Some(running) = running.filter(|_| !how.dry_run) {
                return if brings(&running, &cluster, units) {
                    Ok(Planned { joined: true, ..planned(&running) })
                } else {
                    Err(Failure::Conflict(under_way(&running, &cluster)))
                };
            }
            let mut rollout = build(&cluster)?;
            if how.dry_run || rollout.changes.is_empty() {
                return Ok(planned(&rollout));
            }
            if how.seen.as_ref().is_some_and(|seen| *seen != rollout.changes) {
                return Err(Failure::Conflict(
                    "units have changed since the plan was made, and nothing was applied; try again".to_owned(),
                ));
            }
            rollout.revision = self.newest().await? + 1;
            if self.write(rollout.commit(&cluster)).await? {
                return Ok(planned(&rollout));
            }
        }
        Err(Failure::Contended { unit: "a unit".to_owned(), attempts: FLEET_WRITE_ATTEMPTS_MAX })
    }

    /// Turns what is under way back; `None`: nothing is.
    async fn take_back(&self, how: &How) -> Result<Option<Planned>, Failure> {
        for _ in 0..FLEET_WRITE_ATTEMPTS_MAX {
            let reason = format!("taken back by {}", how.by);
            let read = |cluster: &Cluster| (cluster.rollout.clone(), abort(cluster, &reason));
            let (running, request) = self.view.read(read).await?;
            let Some(running) = running else { return Ok(None) };
            let told = Planned { joined: true, ..planned(&running) };
            let written = match request.filter(|_| !how.dry_run) {
                Some(request) => self.write(request).await?,
                // It goes back already.
                None => true,
            };
            if written {
                return Ok(Some(told));
            }
        }
        Err(Failure::Contended { unit: "the apply".to_owned(), attempts: FLEET_WRITE_ATTEMPTS_MAX })
    }

    /// Applies that are over, the oldest first.
    async fn history(&self) -> Result<Vec<Applied>, Failure> {
        let (_, reply) = self.store.range(below_applies(), Consistency::Linearizable).await?;
        let read = |value: &Bytes| decode(&Key::Applied(0), value).ok();
        // One that cannot be read is as good as gone.
        Ok(reply.kvs.iter().filter_map(|kv| read(&kv.value)).collect())
    }

    /// The newest revision that is over; 0: none is.
    async fn newest(&self) -> Result<u64, Failure> {
        let request = RangeRequest { limit: 1, keys_only: true, sort_order: SortOrder::Descend, ..below_applies() };
        let (_, reply) = self.store.range(request, Consistency::Linearizable).await?;
        let number = |key: &Bytes| std::str::from_utf8(key.strip_prefix(APPLIES.as_bytes())?).ok()?.parse().ok();
        Ok(reply.kvs.first().and_then(|kv| number(&kv.key)).unwrap_or(0))
    }
}

fn below_applies() -> RangeRequest {
    let (key, range_end) = (APPLIES.as_bytes().into(), prefix_end(APPLIES.as_bytes()));
    RangeRequest { space: Space::System, key, range_end, ..RangeRequest::default() }
}

fn planned(rollout: &Rollout) -> Planned {
    Planned {
        revision: rollout.revision,
        changes: rollout.changes.clone(),
        texts: rollout.texts.clone(),
        ..Planned::default()
    }
}

/// Whether a rollout leads to just these units, given what is there besides.
fn brings(rollout: &Arc<Rollout>, cluster: &Cluster, units: &[(String, UnitText)]) -> bool {
    let is_brought = |(name, text): &(String, UnitText)| {
        let change = rollout.changes.iter().find(|change| change.unit == *name);
        let hash = text.hash();
        match change {
            Some(change) => change.after.as_ref().is_some_and(|after| after.hash == hash),
            None => cluster.units.get(name).is_some_and(|unit| unit.hash == hash),
        }
    };
    !units.is_empty() && cluster.progress.failure.is_none() && units.iter().all(is_brought)
}

fn under_way(rollout: &Rollout, cluster: &Cluster) -> String {
    let (made, all) = (cluster.progress.passed, rollout.changes.len());
    format!(
        "revision {} of {} is under way ({made} of {all} units); wait for its end, or take it back with `node ctl rollback`",
        rollout.revision, rollout.by
    )
}

fn read_unit(unit: &UnitFileJson) -> Result<(String, UnitText), Failure> {
    let text = UnitText::parse(&unit.text).map_err(|error| Failure::Bad(format!("{}: {error}", unit.name)))?;
    Ok((unit.name.clone(), text))
}

async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let body = read_body(request.into_body()).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::Bad(format!("unable to decode body: {error}")))
}
