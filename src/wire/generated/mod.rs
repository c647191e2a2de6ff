//! The protobuf packages, one file each, side by side as their code expects it.

pub mod authpb;
pub mod etcdserverpb;
pub mod mvccpb;
