//! The service `etcdserverpb.Maintenance`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tonic::{Request, Response, Status};

use super::Answers;
use crate::api::users::{Credentials, administrator, anybody};
use crate::api::{Shared, status, version};
use crate::base::MemberId;
use crate::kv::{
    Alarm, AlarmChange, AlarmKind, Consistency, Hash, HashOf, Op, Position, RangeRequest, Reply, SnapshotStream,
};
use crate::wire::etcdserverpb as pb;
use crate::wire::seal::{Sealer, seal_bytes};

#[derive(Clone)]
pub struct Maintenance(pub Arc<Shared>);

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Maintenance {
    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.0.need(&request, &anybody).await?;
        let status = self.0.store.status();
        let mut errors: Vec<String> = status.alarms.iter().map(alarm_text).collect();
        errors.extend(status.alarms.iter().filter_map(|alarm| alarm.finding.clone()));
        errors.extend(status.warnings.iter().filter(|warning| !errors.contains(warning)).cloned().collect::<Vec<_>>());
        if status.leader.is_none() {
            errors.push(status::no_leader().message().to_owned());
        }
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
            storage_version: version::ETCD_CLUSTER.to_owned(),
            // There is no quota.
            db_size_quota: 0,
        }))
    }

    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let reads = request.get_ref().action() == AlarmAction::Get;
        self.0.need(&request, if reads { &anybody } else { &administrator }).await?;
        let request = request.into_inner();
        let wanted = kind(request.alarm());
        let (action, member) = (request.action(), MemberId(request.member_id));
        let alarms = match (action, wanted) {
            (AlarmAction::Get, wanted) => self.alarms(wanted).await?,
            // Nothing is meant by such an alarm, in etcd neither.
            (AlarmAction::Activate | AlarmAction::Deactivate, None) => Vec::new(),
            (AlarmAction::Activate, Some(kind)) => {
                self.change_alarm(AlarmChange::Raise(Alarm { member, kind, finding: None })).await?
            }
            (AlarmAction::Deactivate, Some(kind)) => self.change_alarm(AlarmChange::Lower { member, kind }).await?,
        };
        let alarms = alarms.iter().map(alarm_member).collect();
        // etcd gives none along.
        Ok(Response::new(pb::AlarmResponse { header: None, alarms }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        tracing::info!("asked to defragment: nothing to do, the state file reuses its pages while it is in use");
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let taken = self.take_hash(HashOf::Applied).await?;
        Ok(Response::new(pb::HashResponse { header: Some(self.0.header(&taken.position)), hash: taken.hash }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let taken = self.take_hash(HashOf::Keys { revision: request.into_inner().revision }).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: Some(self.0.header(&taken.position)),
            hash: taken.hash,
            // etcd's word for a store that was never compacted.
            compact_revision: if taken.compacted == 0 { -1 } else { taken.compacted },
            hash_revision: taken.revision,
        }))
    }

    type SnapshotStream = Answers<pb::SnapshotResponse>;

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.copy(&Credentials::of_call(&request)).await.map(Response::new)
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.0.need(&request, &administrator).await?;
        let to = MemberId(request.into_inner().target_id);
        self.0.store.move_leader(to).await.map_err(|error| status::failed(&error))?;
        Ok(Response::new(pb::MoveLeaderResponse { header: None }))
    }

    /// There is one format of data, so there is nothing to go back to.
    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        use pb::downgrade_request::DowngradeAction;
        self.0.need(&request, &administrator).await?;
        let request = request.into_inner();
        Err(match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) => status::no_downgrade_to(&request.version),
            Ok(DowngradeAction::Cancel) => status::no_downgrade(),
            Err(_) => status::nonsense("unknown method"),
        })
    }
}

fn kind(alarm: pb::AlarmType) -> Option<AlarmKind> {
    match alarm {
        pb::AlarmType::None => None,
        pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
        pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

fn alarm_type(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

fn alarm_member(alarm: &Alarm) -> pb::AlarmMember {
    pb::AlarmMember { member_id: alarm.member.0, alarm: alarm_type(alarm.kind).into() }
}

/// As etcd prints it in a status.
fn alarm_text(alarm: &Alarm) -> String {
    format!("memberID:{} alarm:{} ", alarm.member.0, alarm_type(alarm.kind).as_str_name())
}

impl Maintenance {
    /// The alarms of a kind, or all of them, as of now.
    async fn alarms(&self, wanted: Option<AlarmKind>) -> Result<Vec<Alarm>, Status> {
        // Whatever this reads, this node's state is as new as the cluster's then.
        let probe = RangeRequest { key: Bytes::from_static(b"alarm"), count_only: true, ..RangeRequest::default() };
        self.0.store.range(probe, Consistency::Linearizable).await.map_err(|error| status::failed(&error))?;
        let alarms = self.0.store.status().alarms.into_iter();
        Ok(alarms.filter(|alarm| wanted.is_none_or(|wanted| wanted == alarm.kind)).collect())
    }

    async fn change_alarm(&self, change: AlarmChange) -> Result<Vec<Alarm>, Status> {
        tracing::warn!(?change, "an alarm is changed by request");
        let applied = self.0.store.write(Op::Alarm(change)).await.map_err(|error| status::failed(&error))?;
        match applied.result.map_err(|refusal| status::refused(&refusal))? {
            Reply::Alarm(changed) => Ok(changed.into_iter().collect()),
            _ => Err(status::wrong_reply()),
        }
    }

    async fn take_hash(&self, of: HashOf) -> Result<Hash, Status> {
        self.0.store.hash(of).await.map_err(|error| status::failed(&error))
    }

    /// A copy of the state, sealed, in pieces.
    pub async fn copy(&self, who: &Credentials) -> Result<Answers<pb::SnapshotResponse>, Status> {
        self.0.check(who, &administrator).await.map_err(|error| status::failed(&error))?;
        let source = self.0.store.snapshot().await.map_err(|error| status::failed(&error))?;
        let content = source.bytes();
        let copying = Copying {
            shared: self.0.clone(),
            position: self.0.store.position(),
            left: content + seal_bytes(content),
            source,
            sealer: Some(Sealer::default()),
        };
        Ok(Box::pin(stream::try_unfold(copying, |mut copying| async move {
            Ok(copying.next().await?.map(|answer| (answer, copying)))
        })))
    }
}

/// A copy of the state on its way to a client.
struct Copying {
    shared: Arc<Shared>,
    position: Position,
    /// Bytes that are still to be sent, the seal included.
    left: u64,
    source: Box<dyn SnapshotStream>,
    /// `None` once the seal is sent.
    sealer: Option<Sealer>,
}

impl Copying {
    async fn next(&mut self) -> Result<Option<pb::SnapshotResponse>, Status> {
        let Some(sealer) = &mut self.sealer else {
            return Ok(None);
        };
        let piece = tokio::select! {
            piece = self.source.next() => piece.map_err(|error| status::failed(&error))?,
            () = self.shared.stop.cancelled() => return Err(status::stopping()),
        };
        let blob = match piece {
            Some(piece) => {
                sealer.piece(&piece);
                piece
            }
            None => self.sealer.take().map(|sealer| Bytes::from(sealer.seal())).unwrap_or_default(),
        };
        self.left = self.left.saturating_sub(blob.len() as u64);
        Ok(Some(pb::SnapshotResponse {
            header: Some(self.shared.header(&self.position)),
            remaining_bytes: self.left,
            blob,
            version: version::ETCD_CLUSTER.to_owned(),
        }))
    }
}
