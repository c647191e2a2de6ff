//! Machines taken out of service and back, units moved for the better, and what would move if machines were lost or came.

use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;

use super::query::Query;
use super::scheduling_model::{
    CapacitiesJson, CapacityJson, Cordon, ForecastJson, MoveJson, MovingJson, PassedOverJson, RebalanceJson,
    RemainingJson, WaitingJson,
};
use super::{Api, Failure, empty, ok, write};
use crate::base::MachineId;
use crate::base::limits::{FLEET_TXN_OPS_MAX, FLEET_WRITE_ATTEMPTS_MAX, MOVES_AT_ONCE_MAX, SIMULATED_MACHINES_MAX};
use crate::fleet::operations::cordon_machine;
use crate::fleet::plan::{Arrival, PassedOver, Scenario, moving};
use crate::fleet::{self, Cluster, Decision, Machine, Plan, transactions};
use crate::kv::StoreError;

impl Api {
    /// `GET capacity`
    pub(super) async fn capacity(&self) -> Result<Response, Failure> {
        Ok(ok(&self.consider(capacities).await?))
    }

    /// `PUT cordons/MACHINE`, `DELETE cordons/MACHINE` (without a body)
    pub(super) async fn cordon(&self, machine: &str, body: Option<Request>) -> Result<Response, Failure> {
        let cordon: Option<Cordon> = match body {
            Some(request) => Some(write::read_json(request.into_body()).await?),
            None => None,
        };
        if cordon.and_then(|cordon| cordon.drain).is_some_and(|drain| drain.max_parallel == 0) {
            return Err(Failure::Bad("maxParallel: at least one unit has to go at a time".to_owned()));
        }
        let machine = MachineId(machine.to_owned());
        self.change(&machine.0, |cluster| cordon_machine(cluster, &machine, cordon)).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `GET cordons/MACHINE`
    pub(super) async fn remaining(&self, machine: &str) -> Result<Response, Failure> {
        let machine = MachineId(machine.to_owned());
        Ok(ok(&self.consider(move |cluster| remaining(cluster, &machine)).await?))
    }

    /// `GET simulate`
    pub(super) async fn simulate(&self, query: &Query) -> Result<Response, Failure> {
        let scenario = self.view.read(|cluster| scenario(cluster, query)).await??;
        Ok(ok(&self.consider(move |cluster| forecast(&fleet::simulate(cluster, &scenario))).await?))
    }

    /// `POST rebalance`
    pub(super) async fn rebalance(&self, query: &Query) -> Result<Response, Failure> {
        let most = query.number("max")?.unwrap_or(1);
        if most == 0 || most > MOVES_AT_ONCE_MAX {
            return Err(Failure::Bad(format!("max={most}: write a whole number from 1 to {MOVES_AT_ONCE_MAX}")));
        }
        for _ in 0..FLEET_WRITE_ATTEMPTS_MAX {
            let (plan, told) = self.consider(move |cluster| rebalance(cluster, most)).await?;
            if query.truth("dry-run") || self.carry_out(&plan).await? {
                return Ok(ok(&told));
            }
        }
        Err(Failure::Contended { unit: "the schedule".to_owned(), attempts: FLEET_WRITE_ATTEMPTS_MAX })
    }

    /// Thinks about the cluster as it is, beside all else that goes on: what takes longer than a look.
    async fn consider<T: Send + 'static>(
        &self,
        think: impl FnOnce(&Cluster) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let cluster = self.view.read(Cluster::clone).await?;
        let thought = tokio::task::spawn_blocking(move || think(&cluster)).await;
        Ok(thought.map_err(|error| StoreError::Broken(format!("thinking about the cluster: {error}")))?)
    }

    async fn carry_out(&self, plan: &Plan) -> Result<bool, Failure> {
        for transaction in transactions(plan, FLEET_TXN_OPS_MAX) {
            if !self.write(transaction).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn capacities(cluster: &Cluster) -> CapacitiesJson {
    let present = fleet::capacity(cluster).into_iter().map(|taken| {
        let machine = &cluster.machines[&taken.machine];
        CapacityJson {
            machine_id: taken.machine.0.clone(),
            cordon: machine.cordon,
            absent: false,
            units: taken.units,
            load: taken.load,
            memory_bytes: machine.memory_bytes,
            reserved_memory_bytes: taken.reserved_memory_bytes,
            cpu_millis: u64::from(machine.cores) * 1_000,
            reserved_cpu_millis: taken.reserved_cpu_millis,
        }
    });
    let gone = cluster.cordons.iter().filter(|(id, _)| !cluster.machines.contains_key(id));
    let gone = gone.map(|(id, cordon)| CapacityJson {
        machine_id: id.0.clone(),
        cordon: Some(*cordon),
        absent: true,
        ..CapacityJson::default()
    });
    CapacitiesJson { machines: present.chain(gone).collect() }
}

fn remaining(cluster: &Cluster, machine: &MachineId) -> RemainingJson {
    let found = fleet::remaining(cluster, machine);
    let mut told = RemainingJson { stopping: found.stopping, ..RemainingJson::default() };
    for (unit, reasons) in found.left {
        match reasons {
            Some(reasons) => told.stuck.push(waiting(&unit, false, &reasons)),
            None => told.queued.push(unit),
        }
    }
    told.moving = found.moving.into_iter().map(under_way).collect();
    told
}

fn under_way((unit, to, arrival): (String, MachineId, Arrival)) -> MovingJson {
    MovingJson { unit, to: to.0, failed: arrival == Arrival::Failed }
}

fn scenario(cluster: &Cluster, query: &Query) -> Result<Scenario, Failure> {
    let machines = |name: &str| -> Result<Vec<MachineId>, Failure> {
        let known = |id: &str| {
            let id = MachineId(id.to_owned());
            let missing = || Failure::NotFound(format!("machine {id} is not in the cluster"));
            if cluster.machines.contains_key(&id) { Ok(id) } else { Err(missing()) }
        };
        query.values(name).map(known).collect()
    };
    let add = query.number("add")?.unwrap_or(0);
    if add > SIMULATED_MACHINES_MAX {
        return Err(Failure::Bad(format!("add={add}: at most {SIMULATED_MACHINES_MAX} machines")));
    }
    let pairs = query.values("metadata").map(|pair| {
        let split = pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
        let (key, value) = split.ok_or_else(|| Failure::Bad(format!("metadata={pair}: write key=value")))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let metadata: std::collections::BTreeMap<_, _> = pairs.collect::<Result<_, Failure>>()?;
    // No larger than any that is there.
    let memory_bytes = cluster.machines.values().map(|machine| machine.memory_bytes).min().unwrap_or(0);
    let cores = cluster.machines.values().map(|machine| machine.cores).min().unwrap_or(0);
    let new = |number: usize| Machine {
        id: MachineId(format!("new-{number}")),
        metadata: metadata.clone(),
        memory_bytes,
        cores,
        ..Machine::default()
    };
    let rebalance = query.truth("rebalance");
    Ok(Scenario { kill: machines("kill")?, drain: machines("drain")?, add: (1..=add).map(new).collect(), rebalance })
}

fn forecast(forecast: &fleet::plan::Forecast) -> ForecastJson {
    let waits = |w: &fleet::Waiting| waiting(&w.unit, forecast.newly_waiting.contains(&w.unit), &w.passed_over);
    ForecastJson {
        moves: forecast.moves.iter().map(moved).collect(),
        waiting: forecast.waiting.iter().map(waits).collect(),
    }
}

fn rebalance(cluster: &Cluster, most: usize) -> (Plan, RebalanceJson) {
    let plan = fleet::rebalance(cluster, most);
    let moves = plan.decisions.iter().filter(|decision| decision.moved_from().is_some()).map(moved).collect();
    let moving = moving(cluster).into_iter().map(under_way).collect();
    (plan, RebalanceJson { moves, moving })
}

fn moved(decision: &Decision) -> MoveJson {
    let id = |machine: &Option<MachineId>| machine.as_ref().map(|id| id.0.clone()).unwrap_or_default();
    MoveJson {
        unit: decision.unit.clone(),
        from: id(&decision.from),
        to: id(&decision.to),
        reason: decision.reason.to_string(),
    }
}

fn waiting(unit: &str, newly: bool, passed_over: &PassedOver) -> WaitingJson {
    let passed_over =
        passed_over.iter().map(|(id, why)| PassedOverJson { machine_id: id.0.clone(), reason: why.to_string() });
    WaitingJson { unit: unit.to_owned(), newly, passed_over: passed_over.collect() }
}
