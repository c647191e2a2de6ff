//! What can be wrong with the state file, each with its path, its cause and a way out.

use std::cell::Cell;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::kv::TablesError;

/// Why the state on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error(
        "state file {}: another process has it open; stop that node, or give this one a data directory of its own",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "state file {}: damaged ({cause}); move the data directory away and let the node fetch its state from its peers, or restore a backup",
        path.display()
    )]
    Damaged { path: PathBuf, cause: String },
    #[error(
        "state file {}: written in file format {format} that this program does not read; use the program that wrote it",
        path.display()
    )]
    Format { path: PathBuf, format: u8 },
    #[error("state file {}: cannot {doing}: {cause}", path.display())]
    Io { path: PathBuf, doing: &'static str, cause: String },
    #[error(
        "state file {}: an earlier write failed ({cause}); see to its disk and start the node again: the log has what is missing",
        path.display()
    )]
    Failed { path: PathBuf, cause: String },
    /// A snapshot that was to be read. The state is as it was before.
    #[error("snapshot: {0}; fetch or copy it again")]
    Snapshot(String),
}

impl From<DiskError> for TablesError {
    fn from(error: DiskError) -> Self {
        Self(error.to_string())
    }
}

/// Turns redb's errors into ours; all kinds of them convert into [`redb::Error`].
pub(super) fn explain(path: &Path, doing: &'static str, error: impl Into<redb::Error>) -> DiskError {
    let path = path.to_owned();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => DiskError::Locked { path },
        redb::Error::UpgradeRequired(format) => DiskError::Format { path, format },
        redb::Error::Corrupted(cause) => DiskError::Damaged { path, cause },
        redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            DiskError::Damaged { path, cause: error.to_string() }
        }
        redb::Error::TableTypeMismatch { table, .. } | redb::Error::TableIsMultimap(table) => {
            DiskError::Damaged { path, cause: format!("table {table} is of another kind") }
        }
        redb::Error::TableDoesNotExist(table) => {
            DiskError::Damaged { path, cause: format!("table {table} is missing") }
        }
        other => DiskError::Io { path, doing, cause: other.to_string() },
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would be caught here and told as damage: whoever ends the program on panics lets it pass.
pub fn panic_is_expected() -> bool {
    GUARDED.get()
}

/// Calls redb. It reports most damage as an error, but meets some of it as a broken assumption, which must not end the program.
pub(super) fn guarded<T>(path: &Path, call: impl FnOnce() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    result.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<&str>().copied();
        let text = text.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
        let cause = text.unwrap_or("unreadable").to_owned();
        Err(DiskError::Damaged { path: path.to_owned(), cause })
    })
}
