//! What is spoken on the wire: protobuf messages of the etcd v3 API and the JSON of the etcd v2 API.
//!
//! `proto/` holds the messages and services by the names and numbers that etcd's clients use. `generated/` is made from
//! it by prost and tonic and committed; `integration/wire.rs` proves it fresh and rewrites it. The generated services
//! name tonic, so this room does too, and only there: serving and calling stay with the doors above.
//! `history` is the JSON of the door for people, `joining` that of the door for machines that join, `checkup` that of the one for `node ctl doctor`, `program` that of
//! the one for `node ctl upgrade`. `seal` is what is put around snapshots, `stored` what etcd keeps in its database file.

pub mod checkup;
#[rustfmt::skip]
#[allow(clippy::all)]
mod generated;
pub mod history;
pub mod joining;
pub mod json;
pub mod program;
pub mod seal;
pub mod stored;
pub mod v2;

/// All messages and services as a `FileDescriptorSet`, made with the code: what reflection tells of.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

pub use generated::{authpb, etcdserverpb, mvccpb, v3electionpb, v3lockpb};

/// A message as it goes over the wire.
pub fn encoded(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// gRPC's own services, under the names of their package.
pub mod grpc {
    pub mod health {
        pub use crate::wire::generated::health_v1 as v1;
    }
}
