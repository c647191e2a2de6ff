//! Lists and single entities: machines, units, states, and why a unit fits where.

use axum::response::Response;
use hyper::header::HeaderMap;

use super::model::{Explanation, Page, UnitStateJson, Verdict};
use super::query::Query;
use super::{Api, Failure, fleetctl, ok, page};
use crate::api::history::render;
use crate::base::MachineId;
use crate::fleet::{self, Cluster, DesiredState, Fit, explain, wire};

impl Api {
    /// `GET machines`
    pub(super) async fn machines(&self, query: &Query) -> Result<Response, Failure> {
        let page = page::asked(query)?;
        let all = self.view.read(wire::machines).await?;
        let (machines, next_page_token) = page::cut(all.into_iter(), page);
        Ok(ok(&Page { machines, next_page_token, ..Page::default() }))
    }

    /// `GET units`
    pub(super) async fn units(&self, query: &Query) -> Result<Response, Failure> {
        let page = page::asked(query)?;
        let all = self.view.read(wire::units).await?;
        let (units, next_page_token) = page::cut(all.into_iter(), page);
        Ok(ok(&Page { units, next_page_token, ..Page::default() }))
    }

    /// `GET units/NAME`
    pub(super) async fn unit(&self, name: &str, headers: &HeaderMap) -> Result<Response, Failure> {
        let unit = self.view.read(|cluster| wire::unit(cluster, name)).await?;
        let mut unit = unit.ok_or_else(Failure::no_unit)?;
        if fleetctl::asks(headers) && self.first_looks.take(name, self.clock.now()) {
            unit.current_state = DesiredState::Launched.to_string();
        }
        Ok(ok(&unit))
    }

    /// `GET state`
    pub(super) async fn states(&self, query: &Query) -> Result<Response, Failure> {
        let page = page::asked(query)?;
        let machine = query.value("machineID").map(|id| MachineId(id.to_owned()));
        let read = |cluster: &Cluster| wire::states(cluster, query.value("unitName"), machine.as_ref());
        let all = self.view.read(read).await?;
        let (states, next_page_token) = page::cut(all.into_iter(), page);
        Ok(ok(&Page { states, next_page_token, ..Page::default() }))
    }

    /// `GET state/NAME`: of a unit on several machines the first; of one that moves, where it is to be. `fleetctl` 1.0 breaks
    /// down where a unit that it started has none: it is told of an empty one, and asks again.
    pub(super) async fn state(&self, name: &str, headers: &HeaderMap) -> Result<Response, Failure> {
        let read = |cluster: &Cluster| {
            let target = cluster.schedule.get(name).map(|at| &at.machine);
            let there = target.and_then(|machine| wire::states(cluster, Some(name), Some(machine)).into_iter().next());
            let state = there.or_else(|| wire::states(cluster, Some(name), None).into_iter().next());
            let unknown = || UnitStateJson { name: name.to_owned(), ..UnitStateJson::default() };
            state.or_else(|| (fleetctl::asks(headers) && cluster.units.contains_key(name)).then(unknown))
        };
        let state = self.view.read(read).await?;
        state.map(|state| ok(&state)).ok_or_else(|| Failure::NotFound("unit state does not exist".to_owned()))
    }

    /// `GET explain/NAME`
    pub(super) async fn explain(&self, name: &str) -> Result<Response, Failure> {
        let read = |cluster: &Cluster| explain(cluster, name).map(|verdicts| told(cluster, name, verdicts));
        let explanation = self.view.read(read).await?;
        explanation.map(|explanation| ok(&explanation)).ok_or_else(Failure::no_unit)
    }
}

fn told(cluster: &Cluster, name: &str, verdicts: Vec<fleet::Verdict>) -> Explanation {
    let at = cluster.schedule.get(name).map(|scheduled| &scheduled.machine);
    let best = verdicts.iter().filter_map(|verdict| verdict.outcome.as_ref().ok()).map(Fit::rank).min();
    let verdict = |verdict: &fleet::Verdict| {
        let (fit, reason) = (verdict.outcome.as_ref().ok(), verdict.outcome.as_ref().err());
        Verdict {
            fits: fit.is_some(),
            primary_ip: cluster.machines.get(&verdict.machine).map(|m| m.primary_ip.clone()).unwrap_or_default(),
            machine_id: verdict.machine.0.clone(),
            best: fit.is_some_and(|fit| Some(fit.rank()) == best),
            holds: at == Some(&verdict.machine),
            fit: fit.map(ToString::to_string).unwrap_or_default(),
            reason: reason.map(ToString::to_string).unwrap_or_default(),
        }
    };
    Explanation {
        elapsed: cluster.elapsed.get(name).map(|elapsed| render::time(elapsed.at)),
        machines: verdicts.iter().map(verdict).collect(),
        unit: name.to_owned(),
    }
}
