//! The service `v3electionpb.Election`: the oldest key of a queue leads, and its value says who that is.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::changes::Changes;
use super::{Answers, convert, queue};
use crate::api::users::{Credentials, anybody};
use crate::api::{Shared, status};
use crate::base::LeaseId;
use crate::base::limits::OBSERVED_QUEUED_MAX;
use crate::kv::{EventKind, KeyValue, KvError, is_system_lease, prefix_end};
use crate::wire::v3electionpb as pb;

#[derive(Clone)]
pub struct Election(pub Arc<Shared>);

type Answer = Result<pb::LeaderResponse, Status>;

#[tonic::async_trait]
impl pb::election_server::Election for Election {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        let who = Credentials::of_call(&request);
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let entrant = queue::Entrant { what: "election", name: name.clone(), lease, value: Some(value) };
        let (position, place) = queue::enter(&self.0, &who, entrant).await?;
        let leader = pb::LeaderKey { name, key: place.key, rev: place.revision, lease: place.lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: Some(self.0.header(&position)), leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        let who = Credentials::of_call(&request);
        let pb::ProclaimRequest { leader, value } = request.into_inner();
        let leader = shown(leader)?;
        let lease = LeaseId(leader.lease);
        if is_system_lease(lease) {
            return Err(status::refused(&KvError::LeaseNotFound));
        }
        let position = queue::replace(&self.0, &who, &leader.key, leader.rev, lease, value).await?;
        Ok(Response::new(pb::ProclaimResponse { header: Some(self.0.header(&position)) }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        let who = Credentials::of_call(&request);
        let (position, leader) = queue::first(&self.0, &who, &request.into_inner().name).await?;
        let leader = leader.ok_or_else(status::nobody_elected)?;
        Ok(Response::new(told(&self.0, position.revision, leader)))
    }

    type ObserveStream = Answers<pb::LeaderResponse>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let who = Credentials::of_call(&request);
        Ok(Response::new(self.watched(who, request.into_inner().name)))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        let who = Credentials::of_call(&request);
        let leader = shown(request.into_inner().leader)?;
        let position = queue::remove(&self.0, &who, &leader.key, leader.rev).await?;
        Ok(Response::new(pb::ResignResponse { header: Some(self.0.header(&position)) }))
    }
}

impl Election {
    /// The leader now, and each change of it or of what it says, until the answers are dropped.
    pub fn watched(&self, who: Credentials, name: Bytes) -> Answers<pb::LeaderResponse> {
        let (answers, queue) = mpsc::channel(OBSERVED_QUEUED_MAX);
        let shared = self.0.clone();
        tokio::spawn(async move {
            let who = match shared.admit(&who, &anybody).await {
                Ok(who) => who,
                Err(error) => {
                    let _ = answers.try_send(Err(status::failed(&error)));
                    return;
                }
            };
            let farewell = tokio::select! {
                () = answers.closed() => return,
                () = shared.stop.cancelled() => status::stopping(),
                end = follow(&shared, &who, &name, &answers) => match end {
                    Ok(()) => return,
                    Err(refusal) => refusal,
                },
            };
            // Nobody waits for this where the client does not read.
            let _ = answers.try_send(Err(farewell));
        });
        stream::unfold(queue, async |mut queue| queue.recv().await.map(|answer| (answer, queue))).boxed()
    }
}

/// The key that a leader shows. One without a revision was never given by campaigning.
fn shown(leader: Option<pb::LeaderKey>) -> Result<pb::LeaderKey, Status> {
    let leader = leader.ok_or_else(status::leader_missing)?;
    if leader.rev <= 0 {
        return Err(status::not_leader());
    }
    Ok(leader)
}

fn told(shared: &Shared, revision: i64, kv: KeyValue) -> pb::LeaderResponse {
    let mut header = shared.header_now();
    header.revision = revision;
    pb::LeaderResponse { header: Some(header), kv: Some(convert::key_value(kv)) }
}

/// Tells of leaders until the client is gone.
async fn follow(
    shared: &Arc<Shared>,
    who: &Credentials,
    name: &Bytes,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), Status> {
    loop {
        let (position, leader) = queue::first(shared, who, name).await?;
        let leader = match leader {
            Some(leader) => leader,
            None => match next_leader(shared, who, name, position.revision + 1).await? {
                Some(leader) => leader,
                None => continue,
            },
        };
        let revision = position.revision.max(leader.mod_revision);
        let key = leader.key.clone();
        if answers.send(Ok(told(shared, revision, leader))).await.is_err() {
            return Ok(());
        }
        let Some(mut changes) = Changes::from(shared, who, key, Bytes::new(), revision + 1).await? else { continue };
        'reign: while let Some(events) = changes.next().await? {
            for event in events {
                if event.kind == EventKind::Delete {
                    break 'reign;
                }
                let revision = event.kv.mod_revision;
                if answers.send(Ok(told(shared, revision, event.kv))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Waits for the first who enters an empty queue. `None`: the queue is to be read anew.
async fn next_leader(
    shared: &Arc<Shared>,
    who: &Credentials,
    name: &Bytes,
    revision: i64,
) -> Result<Option<KeyValue>, Status> {
    let prefix = queue::prefix(name);
    let end = prefix_end(&prefix);
    let Some(mut changes) = Changes::from(shared, who, prefix, end, revision).await? else { return Ok(None) };
    while let Some(events) = changes.next().await? {
        if let Some(event) = events.into_iter().find(|event| event.kind == EventKind::Put) {
            return Ok(Some(event.kv));
        }
    }
    Ok(None)
}
