//! One error type for `?` inside the room: a refusal, which every member computes alike, or broken tables.

use super::error::KvError;
use super::tables::TablesError;

/// Why an operation stopped.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(KvError),
    Failed(TablesError),
}

impl From<KvError> for Stop {
    fn from(error: KvError) -> Self {
        Self::Refused(error)
    }
}

impl From<TablesError> for Stop {
    fn from(error: TablesError) -> Self {
        Self::Failed(error)
    }
}

/// Separates the two: the outer error is the tables', the inner one the request's.
pub(super) fn split<T>(result: Result<T, Stop>) -> Result<Result<T, KvError>, TablesError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(error)) => Ok(Err(error)),
        Err(Stop::Failed(error)) => Err(error),
    }
}
