//! Where keys come from: anything that can be read at one moment and tells of changes after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::snapshot::{Changes, Snapshot, read};
use crate::base::{BoxFuture, UnixMillis};
use crate::confd::{Selection, View};
use crate::gotemplate::Str;
use crate::kv::Store;

/// A source of keys.
pub trait Keys: Send + Sync + 'static {
    /// The keys below `folders`, at one moment.
    fn read<'a>(&'a self, folders: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>>;

    /// What changes below `folders` after `revision`.
    fn follow<'a>(&'a self, folders: &'a [String], revision: i64)
    -> BoxFuture<'a, Result<Box<dyn KeyChanges>, String>>;
}

/// Changes as they come.
pub trait KeyChanges: Send {
    /// The next change; an error means that everything must be read anew. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<KeyChange, String>>;
}

/// Keys that were set or, without a value, removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    pub revision: i64,
    /// When they were written, where the source tells.
    pub written: Option<UnixMillis>,
    pub keys: Vec<(String, Option<Str>)>,
}

/// A store of etcd's kind.
pub struct StoreKeys(pub Arc<dyn Store>);

impl Keys for StoreKeys {
    fn read<'a>(&'a self, folders: &'a [String]) -> BoxFuture<'a, Result<Snapshot, String>> {
        Box::pin(async move { read(&*self.0, folders).await.map_err(|error| error.to_string()) })
    }

    fn follow<'a>(
        &'a self,
        folders: &'a [String],
        revision: i64,
    ) -> BoxFuture<'a, Result<Box<dyn KeyChanges>, String>> {
        Box::pin(async move {
            let changes = Changes::open(&*self.0, folders, revision).await.map_err(|error| error.to_string())?;
            Ok(Box::new(changes) as Box<dyn KeyChanges>)
        })
    }
}

/// The views of one snapshot: resources that ask for the same keys share theirs.
pub struct Views<'a> {
    snapshot: &'a Snapshot,
    made: BTreeMap<&'a Selection, Arc<View>>,
}

impl<'a> Views<'a> {
    /// No view is made yet.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, made: BTreeMap::new() }
    }

    /// The view of a selection.
    pub fn get(&mut self, selection: &'a Selection) -> Arc<View> {
        let make = || Arc::new(View::new(selection, &self.snapshot.keys).refused(self.snapshot.refusal(selection)));
        self.made.entry(selection).or_insert_with(make).clone()
    }
}
