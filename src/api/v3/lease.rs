//! The service `etcdserverpb.Lease`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use tonic::{Request, Response, Status, Streaming};

use super::Answers;
use super::kv::write;
use crate::api::users::{Credentials, anybody};
use crate::api::{Shared, status};
use crate::base::LeaseId;
use crate::base::limits::{LEASE_TTL_SECONDS_MAX, LEASE_TTL_SECONDS_MIN};
use crate::kv::auth::{Access, Auth};
use crate::kv::{Consistency, KvError, Op, Reply, is_system_lease, user_lease};
use crate::wire::etcdserverpb as pb;

/// How often another id is drawn when a drawn one is taken.
const DRAWS_MAX: usize = 3;

#[derive(Clone)]
pub struct Lease(pub Arc<Shared>);

impl Lease {
    /// A positive id that is not kept for v2 or for the cluster itself.
    fn draw(&self) -> LeaseId {
        user_lease(self.0.random.next_u64())
    }

    async fn grant(&self, who: &Credentials, id: LeaseId, ttl_ms: i64) -> Result<pb::LeaseGrantResponse, Status> {
        match write(&self.0, who, Op::LeaseGrant { id, ttl_ms }).await? {
            (position, Reply::LeaseGrant { id, ttl_ms }) => Ok(pb::LeaseGrantResponse {
                header: Some(self.0.header(&position)),
                id: id.0,
                ttl: seconds_up(ttl_ms),
                error: String::new(),
            }),
            _ => Err(status::wrong_reply()),
        }
    }

    /// Grants a lease under an id that nobody has.
    pub async fn grant_any(&self, who: &Credentials, ttl_ms: i64) -> Result<pb::LeaseGrantResponse, Status> {
        let taken = status::refused(&KvError::LeaseExists);
        let mut granted = Err(taken.clone());
        for _ in 0..DRAWS_MAX {
            granted = self.grant(who, self.draw(), ttl_ms).await;
            match &granted {
                Err(refusal) if refusal.message() == taken.message() => {}
                _ => break,
            }
        }
        granted
    }

    /// One keep-alive; a lease that is gone is answered with a time to live of 0.
    pub async fn keep_alive(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let ttl_ms = self.0.store.keep_alive(users(id)).await;
        Ok(pb::LeaseKeepAliveResponse {
            header: Some(self.0.header_now()),
            id,
            ttl: seconds_up(ttl_ms.map_err(|error| status::failed(&error))?),
        })
    }
}

/// The lease as clients may name it: one of the cluster's own is to them as if it did not exist.
fn users(id: i64) -> LeaseId {
    Some(LeaseId(id)).filter(|id| !is_system_lease(*id)).unwrap_or(LeaseId::NONE)
}

fn seconds_up(ms: i64) -> i64 {
    ms.saturating_add(999) / 1000
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Lease {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let who = Credentials::of_call(&request);
        let request = request.into_inner();
        if request.ttl > LEASE_TTL_SECONDS_MAX {
            return Err(status::refused(&KvError::LeaseTtlTooLarge));
        }
        let ttl_ms = request.ttl.max(LEASE_TTL_SECONDS_MIN) * 1000;
        if is_system_lease(LeaseId(request.id)) {
            return Err(status::refused(&KvError::LeaseExists));
        }
        if request.id != 0 {
            return self.grant(&who, LeaseId(request.id), ttl_ms).await.map(Response::new);
        }
        self.grant_any(&who, ttl_ms).await.map(Response::new)
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let who = Credentials::of_call(&request);
        let id = users(request.into_inner().id);
        let (position, _) = write(&self.0, &who, Op::LeaseRevoke { id }).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(self.0.header(&position)) }))
    }

    type LeaseKeepAliveStream = Answers<pb::LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        // Once: a stream that ends in the middle ends the leases of a client that means well.
        self.0.need(&request, &anybody).await?;
        let state = (self.clone(), request.into_inner());
        let answers = stream::try_unfold(state, async |(lease, mut requests)| {
            let asked = tokio::select! {
                asked = requests.message() => asked?,
                () = lease.0.stop.cancelled() => return Err(status::stopping()),
            };
            let Some(asked) = asked else { return Ok(None) };
            let answer = lease.keep_alive(asked.id).await?;
            Ok(Some((answer, (lease, requests))))
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let who = Credentials::of_call(&request);
        let request = request.into_inner();
        let find = |_| self.0.store.lease_time_to_live(users(request.id), request.keys);
        let found = self.0.read_as(&who, Consistency::Linearizable, &anybody, find).await;
        let found = found.map_err(|error| status::failed(&error))?;
        if let Some((_, _, keys)) = &found {
            // Who may not read a key shall not learn of it either.
            let readable = |auth: &Auth, user: &str| {
                keys.iter().try_for_each(|key| auth.may(user, Access::Read, key, &Bytes::new()))
            };
            self.0.check(&who, &readable).await.map_err(|error| status::failed(&error))?;
        }
        let mut answer = pb::LeaseTimeToLiveResponse {
            header: Some(self.0.header_now()),
            id: request.id,
            ttl: -1,
            ..pb::LeaseTimeToLiveResponse::default()
        };
        if let Some((lease, remaining_ms, keys)) = found {
            answer.ttl = remaining_ms / 1000;
            answer.granted_ttl = seconds_up(lease.ttl_ms);
            answer.keys = keys;
        }
        Ok(Response::new(answer))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let who = Credentials::of_call(&request);
        let leases = self.0.read_as(&who, Consistency::Linearizable, &anybody, |_| self.0.store.leases()).await;
        let leases = leases.map_err(|error| status::failed(&error))?;
        let leases = leases.into_iter().filter(|id| !is_system_lease(*id)).map(|id| pb::LeaseStatus { id: id.0 });
        Ok(Response::new(pb::LeaseLeasesResponse { header: Some(self.0.header_now()), leases: leases.collect() }))
    }
}
