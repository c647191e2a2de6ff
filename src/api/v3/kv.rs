//! The service `etcdserverpb.KV`.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};

use super::convert;
use crate::api::users::{Credentials, reading};
use crate::api::{Shared, status};
use crate::base::limits::REQUEST_BYTES_MAX;
use crate::kv::{Consistency, KvError, Op, Position, RangeReply, RangeRequest, Reply, Space};
use crate::wire::etcdserverpb as pb;

#[derive(Clone)]
pub struct Kv(pub Arc<Shared>);

impl Kv {
    async fn write(&self, who: &Credentials, op: Op) -> Result<(Position, Reply), Status> {
        write(&self.0, who, op).await
    }
}

/// Carries out a write; refusals and failures become a status.
pub(super) async fn write(shared: &Shared, who: &Credentials, op: Op) -> Result<(Position, Reply), Status> {
    let applied = shared.write_as(who, op).await;
    let applied = applied.map_err(|error| status::failed(&error))?;
    match applied.result {
        Ok(reply) => Ok((applied.position, reply)),
        Err(refusal) => Err(status::refused(&refusal)),
    }
}

/// Reads a range; refusals and failures become a status.
pub(super) async fn range(
    shared: &Shared,
    who: &Credentials,
    request: RangeRequest,
    consistency: Consistency,
) -> Result<(Position, RangeReply), Status> {
    let needs = reading(request.key.clone(), request.range_end.clone());
    let answer = shared.read_as(who, consistency, &needs, |consistency| shared.store.range(request, consistency));
    answer.await.map_err(|error| status::failed(&error))
}

fn bounded<M: Message>(message: &M) -> Result<(), Status> {
    if message.encoded_len() > REQUEST_BYTES_MAX {
        return Err(status::refused(&KvError::RequestTooLarge));
    }
    Ok(())
}

#[tonic::async_trait]
impl pb::kv_server::Kv for Kv {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let who = Credentials::of_call(&request);
        let request = request.into_inner();
        let consistency = if request.serializable { Consistency::Serializable } else { Consistency::Linearizable };
        let (position, reply) = range(&self.0, &who, convert::range(request)?, consistency).await?;
        Ok(Response::new(convert::range_reply(self.0.header(&position), reply)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let who = Credentials::of_call(&request);
        let request = request.into_inner();
        bounded(&request)?;
        match self.write(&who, Op::Put(convert::put(request)?)).await? {
            (position, Reply::Put { prev }) => Ok(Response::new(convert::put_reply(self.0.header(&position), prev))),
            _ => Err(status::wrong_reply()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let who = Credentials::of_call(&request);
        let request = request.into_inner();
        bounded(&request)?;
        let op = Op::DeleteRange(convert::delete_range(request)?);
        match self.write(&who, op).await? {
            (position, Reply::DeleteRange { deleted, prev }) => {
                Ok(Response::new(convert::delete_reply(self.0.header(&position), deleted, prev)))
            }
            _ => Err(status::wrong_reply()),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let who = Credentials::of_call(&request);
        let request = request.into_inner();
        bounded(&request)?;
        match self.write(&who, Op::Txn(convert::txn(request)?)).await? {
            (position, Reply::Txn(reply)) => Ok(Response::new(convert::txn_reply(self.0.header(&position), reply))),
            _ => Err(status::wrong_reply()),
        }
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let who = Credentials::of_call(&request);
        let op = Op::Compact { space: Space::User, revision: request.into_inner().revision };
        let (position, _) = self.write(&who, op).await?;
        Ok(Response::new(pb::CompactionResponse { header: Some(self.0.header(&position)) }))
    }
}
