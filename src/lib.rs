//! corenode: one binary that replaces etcd, fleet and confd on every machine of a cluster.

pub mod base;
pub mod fleet;
pub mod kv;
