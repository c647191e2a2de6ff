//! What `etcdctl snapshot status` tells of a file: a hash over all of it, the newest revision, how many keys all buckets have.

use std::ops::ControlFlow;

use super::load::revision;
use super::{EtcdFile, EtcdFileError};
use crate::bolt::{Bucket, Content};

/// The figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CRC-32 (Castagnoli) over buckets' names, keys and values.
    pub hash: u32,
    pub revision: i64,
    pub keys: u64,
    pub bytes: u64,
}

/// Reads all of a file.
///
/// # Errors
/// Damage.
pub fn status(file: &EtcdFile) -> Result<Status, EtcdFileError> {
    let mut buckets: Vec<(Vec<u8>, Bucket)> = Vec::new();
    file.bolt.visit(&file.bolt.root(), &mut |name, content| match content {
        Content::Bucket(bucket) => {
            buckets.push((name.to_vec(), bucket));
            Ok(ControlFlow::Continue(()))
        }
        Content::Value(_) => Err(EtcdFileError::Foreign("it has keys outside of buckets".to_owned())),
    })?;
    let mut sum = Castagnoli::default();
    let mut status = Status { bytes: file.bolt.bytes(), ..Status::default() };
    for (name, bucket) in buckets {
        sum.update(&name);
        file.bolt.visit(&bucket, &mut |key, content| {
            sum.update(key);
            if let Content::Value(value) = content {
                sum.update(value);
            }
            if name == b"key" {
                status.revision = revision(key)?.0;
            }
            status.keys += 1;
            Ok::<_, EtcdFileError>(ControlFlow::Continue(()))
        })?;
    }
    status.hash = sum.end();
    Ok(status)
}

/// The CRC-32 that Go calls Castagnoli's, byte by byte.
struct Castagnoli {
    table: [u32; 256],
    sum: u32,
}

impl Default for Castagnoli {
    fn default() -> Self {
        let mut table = [0; 256];
        for (byte, entry) in (0u32..).zip(&mut table) {
            *entry = (0..8).fold(byte, |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82F6_3B78 } else { sum >> 1 });
        }
        Self { table, sum: !0 }
    }
}

impl Castagnoli {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.sum = self.table[((self.sum ^ u32::from(*byte)) & 0xff) as usize] ^ (self.sum >> 8);
        }
    }

    fn end(self) -> u32 {
        !self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_castagnolis() {
        let mut sum = Castagnoli::default();
        sum.update(b"1234");
        sum.update(b"56789");
        assert_eq!(sum.end(), 0xE306_9283);
    }
}
