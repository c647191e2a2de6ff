//! The service `etcdserverpb.Cluster`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert;
use crate::api::{Shared, status};
use crate::wire::etcdserverpb as pb;

#[derive(Clone)]
pub struct Cluster(pub Arc<Shared>);

const STATIC: &str = "members are those of the configuration";

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_list(&self, _: Request<pb::MemberListRequest>) -> Result<Response<pb::MemberListResponse>, Status> {
        let members = self.0.store.members().await;
        let members = members.map_err(|error| status::failed(&error))?;
        // Members are no keys: etcd's answer has no revision.
        let header = pb::ResponseHeader { revision: 0, ..self.0.header_now() };
        Ok(Response::new(pb::MemberListResponse {
            header: Some(header),
            members: members.into_iter().map(convert::member).collect(),
        }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(status::unsupported(&format!("adding a member; {STATIC}")))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(status::unsupported(&format!("removing a member; {STATIC}")))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(status::unsupported(&format!("updating a member; {STATIC}")))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(status::unsupported(&format!("promoting a member; {STATIC}")))
    }
}
