//! The protobuf packages, one file each, side by side as their code expects it.

pub mod authpb;
pub mod etcdserverpb;
#[path = "grpc.health.v1.rs"]
pub mod health_v1;
pub mod mvccpb;
pub mod v3electionpb;
pub mod v3lockpb;
