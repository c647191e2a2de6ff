//! Files as etcd writes them, whole and broken.
