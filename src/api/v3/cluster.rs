//! The service `etcdserverpb.Cluster`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::convert;
use crate::api::users::{administrator, anybody};
use crate::api::{Shared, status};
use crate::base::MemberId;
use crate::kv::{Member, MemberChange, MemberChanged};
use crate::wire::etcdserverpb as pb;

#[derive(Clone)]
pub struct Cluster(pub Arc<Shared>);

impl Cluster {
    /// Members are no keys: etcd's answers have no revision.
    fn header(&self) -> pb::ResponseHeader {
        pb::ResponseHeader { revision: 0, ..self.0.header_now() }
    }

    async fn change(&self, change: MemberChange) -> Result<MemberChanged, Status> {
        self.0.store.change_members(change).await.map_err(|error| status::failed(&error))
    }
}

fn all(members: Vec<Member>) -> Vec<pb::Member> {
    members.into_iter().map(convert::member).collect()
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Cluster {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.need(&request, &anybody).await?;
        let members = match request.into_inner().linearizable {
            true => self.0.store.members_now().await,
            false => self.0.store.members().await,
        };
        let members = members.map_err(|error| status::failed(&error))?;
        Ok(Response::new(pb::MemberListResponse { header: Some(self.header()), members: all(members) }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let request = request.into_inner();
        let change = MemberChange::Add { peer_urls: request.peer_ur_ls, learner: request.is_learner };
        let changed = self.change(change).await?;
        let member = changed.members.iter().find(|member| member.id == changed.id).cloned().map(convert::member);
        Ok(Response::new(pb::MemberAddResponse { header: Some(self.header()), member, members: all(changed.members) }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let changed = self.change(MemberChange::Remove { id: MemberId(request.into_inner().id) }).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: Some(self.header()), members: all(changed.members) }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let request = request.into_inner();
        let change = MemberChange::Update { id: MemberId(request.id), peer_urls: request.peer_ur_ls };
        let changed = self.change(change).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: Some(self.header()), members: all(changed.members) }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let changed = self.change(MemberChange::Promote { id: MemberId(request.into_inner().id) }).await?;
        Ok(Response::new(pb::MemberPromoteResponse { header: Some(self.header()), members: all(changed.members) }))
    }
}
