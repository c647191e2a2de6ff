//! The service `v3lockpb.Lock`: a lock is held by the oldest key of its queue.
//!
//! A lock that ends with its lease excludes nobody who acts on it late. `create_revision` of the key rises from holder to
//! holder: what is guarded refuses a lower one.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::kv::write;
use super::{convert, queue};
use crate::api::users::Credentials;
use crate::api::{Shared, status};
use crate::kv::{Op, Reply};
use crate::wire::{etcdserverpb, v3lockpb as pb};

#[derive(Clone)]
pub struct Lock(pub Arc<Shared>);

#[tonic::async_trait]
impl pb::lock_server::Lock for Lock {
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        let who = Credentials::of_call(&request);
        let pb::LockRequest { name, lease } = request.into_inner();
        let entrant = queue::Entrant { what: "mutex", name, lease, value: None };
        let (position, place) = queue::enter(&self.0, &who, entrant).await?;
        Ok(Response::new(pb::LockResponse { header: Some(self.0.header(&position)), key: place.key }))
    }

    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Result<Response<pb::UnlockResponse>, Status> {
        let who = Credentials::of_call(&request);
        let key = request.into_inner().key;
        let delete = etcdserverpb::DeleteRangeRequest { key, ..etcdserverpb::DeleteRangeRequest::default() };
        match write(&self.0, &who, Op::DeleteRange(convert::delete_range(delete)?)).await? {
            (position, Reply::DeleteRange { .. }) => {
                Ok(Response::new(pb::UnlockResponse { header: Some(self.0.header(&position)) }))
            }
            _ => Err(status::wrong_reply()),
        }
    }
}
