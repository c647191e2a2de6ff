//! The etcd version that clients are told. They branch on it; both must be `x.y.z` in numbers.

/// What `/version`, `Status` and `etcdctl endpoint status` report: the newest etcd line that has both APIs.
pub const ETCD_SERVER: &str = "3.5.21";
/// The cluster version that goes with it.
pub const ETCD_CLUSTER: &str = "3.5.0";
