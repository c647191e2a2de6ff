//! fleet's HTTP API, `/fleet/v1` and its alias `/v1-alpha`, and what is new beside it: a watch instead of polling, status
//! and journal of a unit on whichever machine, restarts, and the reasons why a unit fits or does not.
//!
//! New paths, below the same bases:
//!
//! | path | answer |
//! | --- | --- |
//! | `GET watch[?unit=NAME…&rollout]` | lines of [`News`](model::News): all that is there, `{"synced":true}`, then each change |
//! | `GET status/NAME[?machine=ID]` | [`Status`](model::Status), asked of the machine |
//! | `GET journal/NAME[?machine=ID&lines=N&follow=true&output=FMT]` | the unit's output as it comes |
//! | `GET exec/NAME[?machine=ID]`, `GET exec?machine=ID` | a websocket: a command in the unit, or a command or a shell on the machine |
//! | `GET explain/NAME` | [`Explanation`](model::Explanation): every machine and what speaks against it |
//! | `POST restart/NAME` | 204; the unit's machine stops and starts it |
//! | `POST restart/NAME?machine=ID` | [`Restarted`](model::Restarted); of a global unit, one machine does |
//! | `POST apply` | [`Apply`](model::Apply) in, [`Planned`](model::Planned) out: units changed together, or what that would change |
//! | `POST rollback` | [`Rollback`](model::Rollback) in, [`Planned`](model::Planned) out: an apply that brings back what was |
//! | `GET applies[/REVISION]` | [`Applies`](model::Applies), the newest first; of one with its units' texts |
//! | `GET capacity` | [`CapacitiesJson`](scheduling_model::CapacitiesJson): how full machines are |
//! | `PUT cordons/MACHINE`, `DELETE …` | 204; takes a machine out of what is scheduled, with `{"drain":{"maxParallel":N}}` its units too, or back in |
//! | `GET cordons/MACHINE` | [`RemainingJson`](scheduling_model::RemainingJson): what a drain has not done yet |
//! | `GET simulate?kill=ID…&drain=ID…&add=N&metadata=K=V…[&rebalance]` | [`ForecastJson`](scheduling_model::ForecastJson): what would move |
//! | `POST rebalance?max=N[&dry-run]` | [`RebalanceJson`](scheduling_model::RebalanceJson): what moved, so many at once |
//!
//! And the keys that fleet had in etcd, for those who read them there: `registry`.

mod apply;
mod exec;
mod failure;
mod fleetctl;
mod inspect;
pub mod model;
mod page;
mod query;
mod read;
mod registry;
mod scheduling;
pub mod scheduling_model;
#[cfg(test)]
mod tests;
mod view;
mod watch;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(super) use failure::Failure;
use fleetctl::FirstLooks;
use query::Query;
use view::View;

use super::http::{decode, json};
use crate::base::Clock;
use crate::base::limits::SESSIONS_MAX;
use crate::fleet::inspect::Inspector;
use crate::kv::Store;

/// The release of fleet whose API this is: what `fleetctl version` and the `Server` header tell.
pub const FLEET_VERSION: &str = "1.0.0";

const SERVER: HeaderValue = HeaderValue::from_static("fleetd/1.0.0");
const BASES: [&str; 2] = ["/fleet/v1", "/v1-alpha"];
const DISCOVERY: &str = include_str!("discovery.json");

const ONLY_GET: &str = "only GET supported against this resource";
const ONLY_GET_AND_PATCH: &str = "only GET and PATCH supported against this resource";
const ONLY_GET_PUT_AND_DELETE: &str = "only GET, PUT and DELETE supported against this resource";
const ONLY_POST: &str = "only POST supported against this resource";
const ONLY_HTTP_GET: &str = "only HTTP GET supported against this resource";

/// What all handlers share.
struct Api {
    view: View,
    store: Arc<dyn Store>,
    inspector: Arc<dyn Inspector>,
    clock: Arc<dyn Clock>,
    first_looks: FirstLooks,
    /// Places for commands that are run by way of this node.
    sessions: Arc<Semaphore>,
    /// Ends watches, journals and commands when the doors close.
    stop: CancellationToken,
}

/// The paths of fleet's API, without a fallback of their own. `stop` ends watches and followed journals, which would
/// otherwise keep the doors from closing.
pub fn router(
    store: Arc<dyn Store>,
    inspector: Arc<dyn Inspector>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Router {
    let api = Arc::new(Api {
        view: View::new(store.clone()),
        store,
        inspector,
        clock,
        first_looks: FirstLooks::default(),
        sessions: Arc::new(Semaphore::new(SESSIONS_MAX)),
        stop,
    });
    let mut router = Router::new();
    for base in BASES {
        for path in [base.to_owned(), format!("{base}/"), format!("{base}/{{*rest}}")] {
            let api = api.clone();
            router = router.route(&path, any(move |request| answer(api.clone(), request)));
        }
    }
    for path in registry::paths() {
        let api = api.clone();
        router = router.route(&path, any(async move |request| api.registry(request).await));
    }
    router
}

async fn answer(api: Arc<Api>, request: Request) -> Response {
    let outcome = api.dispatch(request).await;
    let mut response = outcome.unwrap_or_else(|failure| failure.response());
    response.headers_mut().insert(header::SERVER, SERVER);
    response
}

impl Api {
    async fn dispatch(self: &Arc<Self>, request: Request) -> Result<Response, Failure> {
        let path = decode(request.uri().path()).unwrap_or_default();
        let rest = BASES.iter().find_map(|base| path.strip_prefix(base)).unwrap_or_default();
        let query = Query::parse(request.uri().query().unwrap_or_default())?;
        let parts: Vec<&str> = rest.split('/').skip(1).collect();
        let method = request.method().clone();
        let only =
            |allowed: Method, complaint| if method == allowed { Ok(()) } else { Err(Failure::Method(complaint)) };
        match parts.as_slice() {
            [] => Err(Failure::Method("")),
            ["machines"] => match method {
                Method::GET => self.machines(&query).await,
                Method::PATCH => self.patch_machines(request).await,
                _ => Err(Failure::Method(ONLY_GET_AND_PATCH)),
            },
            ["units"] => {
                only(Method::GET, ONLY_GET)?;
                self.units(&query).await
            }
            ["units", name] if !name.is_empty() => match method {
                Method::GET => self.unit(name, request.headers()).await,
                Method::PUT => self.put_unit(name, request).await,
                Method::DELETE => self.destroy_unit(name).await,
                _ => Err(Failure::Method(ONLY_GET_PUT_AND_DELETE)),
            },
            ["state"] => {
                only(Method::GET, ONLY_GET)?;
                self.states(&query).await
            }
            ["state", name] if !name.is_empty() => {
                only(Method::GET, ONLY_GET)?;
                self.state(name, request.headers()).await
            }
            ["discovery"] if method == Method::GET => Ok(json(StatusCode::OK, DISCOVERY)),
            ["discovery"] => Err(Failure::Bad(ONLY_HTTP_GET.to_owned())),
            ["watch"] => {
                only(Method::GET, ONLY_GET)?;
                self.watch(&query).await
            }
            ["exec"] => self.exec(None, &query, request).await,
            ["exec", name] => self.exec(Some(name), &query, request).await,
            ["explain", name] => {
                only(Method::GET, ONLY_GET)?;
                self.explain(name).await
            }
            ["status", name] => {
                only(Method::GET, ONLY_GET)?;
                self.status(name, &query).await
            }
            ["journal", name] => {
                only(Method::GET, ONLY_GET)?;
                self.journal(name, &query).await
            }
            ["restart", name] => {
                only(Method::POST, ONLY_POST)?;
                self.restart_unit(name, &query).await
            }
            ["apply"] => {
                only(Method::POST, ONLY_POST)?;
                self.apply(request).await
            }
            ["rollback"] => {
                only(Method::POST, ONLY_POST)?;
                self.rollback(request).await
            }
            ["applies"] => {
                only(Method::GET, ONLY_GET)?;
                self.applies().await
            }
            ["applies", revision] => {
                only(Method::GET, ONLY_GET)?;
                self.applied(revision).await
            }
            ["capacity"] => {
                only(Method::GET, ONLY_GET)?;
                self.capacity().await
            }
            ["cordons", machine] if !machine.is_empty() => match method {
                Method::GET => self.remaining(machine).await,
                Method::PUT => self.cordon(machine, Some(request)).await,
                Method::DELETE => self.cordon(machine, None).await,
                _ => Err(Failure::Method(ONLY_GET_PUT_AND_DELETE)),
            },
            ["simulate"] => {
                only(Method::GET, ONLY_GET)?;
                self.simulate(&query).await
            }
            ["rebalance"] => {
                only(Method::POST, ONLY_POST)?;
                self.rebalance(&query).await
            }
            _ => Err(Failure::NotFound(String::new())),
        }
    }
}

/// A whole answer.
fn ok<T: Serialize>(body: &T) -> Response {
    // Plain structs with string keys: serde_json has no way to fail on them.
    json(StatusCode::OK, serde_json::to_vec(body).unwrap_or_default())
}

/// An answer without a body.
fn empty(code: StatusCode) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")]).into_response()
}
