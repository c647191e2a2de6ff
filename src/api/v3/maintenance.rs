//! The service `etcdserverpb.Maintenance`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::Answers;
use crate::api::{Shared, status, version};
use crate::wire::etcdserverpb as pb;

#[derive(Clone)]
pub struct Maintenance(pub Arc<Shared>);

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let status = self.0.store.status();
        let errors = match status.leader {
            Some(_) => Vec::new(),
            None => vec![status::no_leader().message().to_owned()],
        };
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.0.header(&status.position)),
            version: version::ETCD_SERVER.to_owned(),
            db_size: i64::try_from(status.db_bytes).unwrap_or(i64::MAX),
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.position.raft_index,
            raft_term: status.position.raft_term,
            raft_applied_index: status.raft_applied,
            errors,
            db_size_in_use: i64::try_from(status.db_bytes_in_use).unwrap_or(i64::MAX),
            is_learner: status.learner,
        }))
    }

    /// There are no alarms: reading and clearing them is answered, raising one is not.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        if request.into_inner().action() == pb::alarm_request::AlarmAction::Activate {
            return Err(status::unsupported("raising an alarm"));
        }
        Ok(Response::new(pb::AlarmResponse { header: Some(self.0.header_now()), alarms: Vec::new() }))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        Err(status::unsupported("defragmentation; the store reuses its pages and needs none"))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(status::unsupported("hash"))
    }

    async fn hash_kv(&self, _: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        Err(status::unsupported("hash of the keys"))
    }

    type SnapshotStream = Answers<pb::SnapshotResponse>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(status::unsupported("snapshots in etcd's file format"))
    }

    async fn move_leader(&self, _: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(status::unsupported("moving the leader"))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(status::unsupported("downgrading"))
    }
}
