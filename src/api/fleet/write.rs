//! Changes: units put, destroyed and restarted, metadata of machines patched. A change is built on the cluster as it is
//! read, and built anew when somebody else was quicker.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap};
use serde::Deserialize;

use super::model::{Restarted, UnitJson};
use super::query::Query;
use super::{Api, Failure, empty, fleetctl, ok};
use crate::api::body::{self, BodyError};
use crate::base::MachineId;
use crate::base::limits::{FLEET_TXN_OPS_MAX, FLEET_WRITE_ATTEMPTS_MAX, REQUEST_BYTES_MAX};
use crate::fleet::metadata::{MetadataPatch, patch_metadata};
use crate::fleet::operations::{PutUnit, destroy_unit, put_unit, restart_unit};
use crate::fleet::{Cluster, DesiredState, Operation, Outcome, Refusal, RefusalKind};
use crate::kv::{Op, Reply, StoreError, TxnRequest};
use crate::unit::UnitOption;

/// One entry of a `PATCH machines`. The value is a text, or, as fleet 1.0 wants it, an object that holds one.
#[derive(Deserialize)]
struct PatchJson {
    #[serde(default)]
    op: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    value: Option<PatchValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PatchValue {
    Text(String),
    Object {
        #[serde(default, alias = "Value")]
        value: String,
    },
}

impl From<PatchJson> for MetadataPatch {
    fn from(patch: PatchJson) -> Self {
        let value = patch.value.map(|value| match value {
            PatchValue::Text(value) | PatchValue::Object { value } => value,
        });
        Self { op: patch.op, path: patch.path, value }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal.kind() {
            RefusalKind::Invalid => Self::Bad(refusal.to_string()),
            RefusalKind::Conflict => Self::Conflict(refusal.to_string()),
            RefusalKind::Missing => Self::NotFound(refusal.to_string()),
        }
    }
}

impl Api {
    /// `PUT units/NAME`
    pub(super) async fn put_unit(&self, name: &str, request: Request) -> Result<Response, Failure> {
        check_media_type(request.headers())?;
        let by_fleetctl = fleetctl::asks(request.headers());
        let body = read_body(request.into_body()).await?;
        let undecodable = |error| Failure::Bad(format!("unable to decode body: {error}"));
        let unit: UnitJson = serde_json::from_slice(&body).map_err(undecodable)?;
        if !unit.name.is_empty() && unit.name != name {
            return Err(Failure::Bad(format!(
                "name in URL {name:?} differs from unit name in request body {:?}",
                unit.name
            )));
        }
        let stops = by_fleetctl && unit.options.is_empty() && unit.desired_state == DesiredState::Loaded.to_string();
        let is_launched = |cluster: &Cluster| cluster.current_state(name) == Some(DesiredState::Launched);
        let stops = stops && self.view.read(is_launched).await?;
        let put = PutUnit {
            name: name.to_owned(),
            options: unit.options.iter().map(UnitOption::from).collect(),
            desired: Some(unit.desired_state),
        };
        let outcome = self.change(name, |cluster| put_unit(cluster, &put)).await?;
        if stops {
            self.first_looks.expect(name, self.clock.now());
        }
        Ok(empty(match outcome {
            Outcome::Created => StatusCode::CREATED,
            Outcome::Done => StatusCode::NO_CONTENT,
        }))
    }

    /// `DELETE units/NAME`
    pub(super) async fn destroy_unit(&self, name: &str) -> Result<Response, Failure> {
        self.change(name, |cluster| destroy_unit(cluster, name)).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `POST restart/NAME[?machine=ID]`
    pub(super) async fn restart_unit(&self, name: &str, query: &Query) -> Result<Response, Failure> {
        let machine = query.value("machine").map(|id| MachineId(id.to_owned()));
        self.change(name, |cluster| restart_unit(cluster, name, machine.as_ref())).await?;
        let Some(machine) = machine else { return Ok(empty(StatusCode::NO_CONTENT)) };
        let launch = |cluster: &Cluster| cluster.units.get(name).map(|unit| unit.launch_on(&machine));
        let launch = self.view.read(launch).await?.ok_or_else(Failure::no_unit)?;
        Ok(ok(&Restarted { launch }))
    }

    /// `PATCH machines`
    pub(super) async fn patch_machines(&self, request: Request) -> Result<Response, Failure> {
        let patches: Vec<PatchJson> = read_json(request.into_body()).await?;
        let patches: Vec<MetadataPatch> = patches.into_iter().map(MetadataPatch::from).collect();
        let request = patch_metadata(&patches).map_err(|error| Failure::Bad(error.to_string()))?;
        if request.success.len() > FLEET_TXN_OPS_MAX {
            return Err(Failure::Bad(format!("more than {FLEET_TXN_OPS_MAX} changes; send them in several requests")));
        }
        if !request.success.is_empty() {
            self.write(request).await?;
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// Builds a change on the cluster as it is and writes it, again and again where somebody else was quicker.
    pub(super) async fn change(
        &self,
        unit: &str,
        build: impl Fn(&Cluster) -> Result<Operation, Refusal>,
    ) -> Result<Outcome, Failure> {
        for _ in 0..FLEET_WRITE_ATTEMPTS_MAX {
            let operation = self.view.read(&build).await??;
            let Some(transaction) = operation.transaction else { return Ok(operation.outcome) };
            if self.write(transaction).await? {
                return Ok(operation.outcome);
            }
        }
        Err(Failure::Contended { unit: unit.to_owned(), attempts: FLEET_WRITE_ATTEMPTS_MAX })
    }

    /// Whether the transaction's conditions held.
    pub(super) async fn write(&self, transaction: TxnRequest) -> Result<bool, Failure> {
        let applied = self.store.write(Op::Txn(transaction)).await?;
        match applied.result.map_err(StoreError::Refused)? {
            Reply::Txn(reply) => Ok(reply.succeeded),
            _ => Err(StoreError::Broken("the store answered with a reply of another kind".to_owned()).into()),
        }
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    let given: Vec<_> = headers.get_all(header::CONTENT_TYPE).iter().collect();
    let [one] = given.as_slice() else {
        return Err(Failure::MediaType(format!("expected 1 Content-Type, got {}", given.len())));
    };
    let kind = one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Failure::MediaType("only acceptable Content-Type is application/json".to_owned()))
    }
}

/// A body that is JSON.
pub(super) async fn read_json<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, Failure> {
    let body = read_body(body).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::Bad(error.to_string()))
}

pub(super) async fn read_body(body: Body) -> Result<Bytes, Failure> {
    let read = body::read(body, REQUEST_BYTES_MAX).await;
    read.map_err(|error: BodyError| Failure::Bad(format!("unable to decode body: {error}")))
}
