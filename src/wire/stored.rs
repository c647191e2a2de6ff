//! What etcd keeps in its database file: messages of the API, and one that the API does not have.

use bytes::Bytes;
use prost::Message as _;

use super::mvccpb::KeyValue;

/// A lease. Source: `lease.proto` of etcd's `lease/leasepb`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StoredLease {
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Seconds as granted.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// Seconds that were left at the last checkpoint; 0: all.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

/// Reads a key and its value.
///
/// # Errors
/// Bytes that are no such message.
pub fn key_value(bytes: &[u8]) -> Result<KeyValue, String> {
    KeyValue::decode(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())
}

/// Reads a lease.
///
/// # Errors
/// Bytes that are no such message.
pub fn lease(bytes: &[u8]) -> Result<StoredLease, String> {
    StoredLease::decode(bytes).map_err(|error| error.to_string())
}

/// The bytes of a message.
pub fn encode(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}
