//! Tables in memory, for tests.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::tables::{Table, Tables, TablesError, TablesMut, Visit};

/// The tables as sorted maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemTables(pub BTreeMap<Table, BTreeMap<Vec<u8>, Bytes>>);

impl Tables for MemTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        Ok(self.0.get(&table).and_then(|t| t.get(key)).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        reverse: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), TablesError> {
        let Some(entries) = self.0.get(&table) else {
            return Ok(());
        };
        let range = entries.range::<[u8], _>((from, to));
        let mut each = |(key, value): (&Vec<u8>, &Bytes)| visit(key, value).is_break();
        let _ = if reverse { range.rev().any(&mut each) } else { range.into_iter().any(&mut each) };
        Ok(())
    }
}

impl TablesMut for MemTables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
        let entries = self.0.entry(table).or_default();
        entries.insert(key.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), TablesError> {
        if let Some(entries) = self.0.get_mut(&table) {
            entries.remove(key);
        }
        Ok(())
    }
}
