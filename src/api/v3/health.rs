//! The service `grpc.health.v1.Health`: this node serves while it knows a leader.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tonic::{Request, Response, Status};

use super::Answers;
use crate::api::{Shared, status};
use crate::wire::grpc::health::v1 as pb;
use pb::health_check_response::ServingStatus;

#[derive(Clone)]
pub struct Health(pub Arc<Shared>);

/// The name under which a server as a whole is asked for; there is no other, as in etcd.
const WHOLE_SERVER: &str = "";

fn answer(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status.into() }
}

fn serving(leader_known: bool) -> ServingStatus {
    if leader_known { ServingStatus::Serving } else { ServingStatus::NotServing }
}

#[tonic::async_trait]
impl pb::health_server::Health for Health {
    async fn check(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        if request.into_inner().service != WHOLE_SERVER {
            return Err(status::unknown_service());
        }
        Ok(Response::new(answer(serving(self.0.store.status().leader.is_some()))))
    }

    type WatchStream = Answers<pb::HealthCheckResponse>;

    /// The status now and at each change. A service that is not known might be one day: its watch goes on.
    async fn watch(&self, request: Request<pb::HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = request.into_inner().service == WHOLE_SERVER;
        let state = (self.0.clone(), known, None::<ServingStatus>);
        let answers = stream::unfold(state, async |(shared, known, told)| {
            let next = tokio::select! {
                () = shared.stop.cancelled() => None,
                next = changed(&shared, known, told) => Some(next),
            };
            // The last word before the doors close.
            let last = || Some(ServingStatus::NotServing).filter(|_| told != Some(ServingStatus::NotServing));
            let next = next.or_else(last)?;
            Some((Ok(answer(next)), (shared, known, Some(next))))
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// Waits until the status is another one than `told`.
async fn changed(shared: &Shared, known: bool, told: Option<ServingStatus>) -> ServingStatus {
    if !known {
        return match told {
            None => ServingStatus::ServiceUnknown,
            Some(_) => std::future::pending().await,
        };
    }
    let mut leader = shared.store.status().leader;
    while told == Some(serving(leader.is_some())) {
        leader = shared.store.leader_changed(leader).await;
    }
    serving(leader.is_some())
}
