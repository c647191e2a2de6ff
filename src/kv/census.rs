//! What a state holds, counted from its tables' entries as they pass by: for copies that are only looked at.

use super::layout::{self, Head, META_MARKS};
use super::state::Marks;
use super::tables::{Table, TablesError};
use super::types::Space;

/// Figures of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Newest revision of the user space.
    pub revision: i64,
    /// Its compaction mark; 0: never compacted.
    pub compacted: i64,
    /// Its keys, without the deleted ones.
    pub keys: u64,
    /// Log index up to which the state was made.
    pub raft_index: u64,
    /// The checksum of all that was ever applied.
    pub checksum: u32,
}

impl Census {
    /// Counts one entry of a table.
    ///
    /// # Errors
    /// A record that is damaged.
    pub fn note(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        match table {
            Table::Meta if key == META_MARKS => {
                let marks: Marks = layout::decode(value, "the record of counters")?;
                self.revision = marks.revision(Space::User);
                self.compacted = marks.compacted(Space::User);
                self.raft_index = marks.log.index;
                self.checksum = marks.checksum;
            }
            Table::Keys if key.first() == layout::head_key(Space::User, b"").first() => {
                let head: Head = layout::decode(value, "a record of table keys")?;
                self.keys += u64::from(head.live());
            }
            _ => {}
        }
        Ok(())
    }
}
