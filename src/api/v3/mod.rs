//! etcd's v3 API over gRPC: one service a file, and the JSON gateway over the same handlers. gRPC's own services too: health, and
//! reflection, by which tools learn the messages from the node itself.

mod auth;
mod changes;
mod cluster;
mod convert;
mod election;
pub mod gateway;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod outbox;
mod queue;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod tests;
mod watch;
mod watching;
pub mod websocket;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use futures_util::Stream;
use tonic::service::Routes;
use tonic::{Request, Status};

use super::users::{Credentials, Needs};
use super::{Shared, status};
use crate::base::limits::GRPC_MESSAGE_BYTES_MAX;
use crate::kv::Position;
use crate::wire::DESCRIPTORS;
use crate::wire::etcdserverpb as pb;
use crate::wire::grpc::health::v1::health_server::HealthServer;
use crate::wire::v3electionpb::election_server::ElectionServer;
use crate::wire::v3lockpb::lock_server::LockServer;
use pb::auth_server::AuthServer;
use pb::cluster_server::ClusterServer;
use pb::kv_server::KvServer;
use pb::lease_server::LeaseServer;
use pb::maintenance_server::MaintenanceServer;
use pb::watch_server::WatchServer;

/// What a streaming call answers with.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services.
pub fn routes(shared: &Arc<Shared>) -> Router {
    let bound = GRPC_MESSAGE_BYTES_MAX;
    let told = || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let readable = "the descriptors are committed as they are, and a test reads them";
    Routes::new(KvServer::new(kv::Kv(shared.clone())).max_decoding_message_size(bound))
        .add_service(WatchServer::new(watch::Watch(shared.clone())).max_decoding_message_size(bound))
        .add_service(LeaseServer::new(lease::Lease(shared.clone())).max_decoding_message_size(bound))
        .add_service(ClusterServer::new(cluster::Cluster(shared.clone())).max_decoding_message_size(bound))
        .add_service(MaintenanceServer::new(maintenance::Maintenance(shared.clone())).max_decoding_message_size(bound))
        .add_service(AuthServer::new(auth::Auth(shared.clone())).max_decoding_message_size(bound))
        .add_service(LockServer::new(lock::Lock(shared.clone())).max_decoding_message_size(bound))
        .add_service(ElectionServer::new(election::Election(shared.clone())).max_decoding_message_size(bound))
        .add_service(HealthServer::new(health::Health(shared.clone())).max_decoding_message_size(bound))
        .add_service(told().build_v1().expect(readable))
        .add_service(told().build_v1alpha().expect(readable))
        .prepare()
        .into_axum_router()
}

/// Whether a call's requests are a stream, which may be silent for as long as it likes.
pub fn takes_stream(path: &str) -> bool {
    let reflects = |path: &str| path.starts_with("/grpc.reflection.") && path.ends_with("/ServerReflectionInfo");
    matches!(path, "/etcdserverpb.Watch/Watch" | "/etcdserverpb.Lease/LeaseKeepAlive") || reflects(path)
}

impl Shared {
    /// Whether whoever asks may, as far as this node knows.
    async fn need<T>(&self, request: &Request<T>, needs: Needs<'_>) -> Result<(), Status> {
        let who = Credentials::of_call(request);
        self.check(&who, needs).await.map_err(|error| status::failed(&error))
    }

    /// The header of an answer that was true at `position`.
    fn header(&self, position: &Position) -> pb::ResponseHeader {
        let (cluster, member) = self.ids();
        pb::ResponseHeader {
            cluster_id: cluster.0,
            member_id: member.0,
            revision: position.revision,
            raft_term: position.raft_term,
        }
    }

    /// The header of an answer that is true now, as far as this node knows.
    fn header_now(&self) -> pb::ResponseHeader {
        self.header(&self.store.position())
    }
}
