//! A unit's journal as the executor hands it out: read from the files, woken by the shim when they grow.

use tokio::sync::watch;

use super::journal::Reader;
use super::show::{self, Origin};
use crate::base::{BoxFuture, UnixMillis};
use crate::fleet::executor::{ExecutorError, JournalStream};

/// Reads on while it is held, and does what it was given on drop.
pub struct Stream {
    pub reader: Reader,
    pub origin: Origin,
    pub format: String,
    /// Lines from before are passed over.
    pub since: Option<UnixMillis>,
    /// Changes when there may be more; `None`: the reading ends with what is there.
    pub grown: Option<watch::Receiver<u64>>,
    pub farewell: Option<Box<dyn FnOnce() + Send>>,
}

impl Stream {
    async fn read(&mut self) -> Option<Result<Vec<u8>, ExecutorError>> {
        loop {
            if let Some(grown) = &mut self.grown {
                grown.mark_unchanged();
            }
            match self.reader.read() {
                Ok(mut lines) if !lines.is_empty() => {
                    lines.retain(|line| self.since.is_none_or(|since| line.at >= since));
                    if lines.is_empty() {
                        continue;
                    }
                    return Some(Ok(show::lines(&lines, &self.format, &self.origin)));
                }
                Ok(_) => {}
                Err(error) => {
                    return Some(Err(ExecutorError::Failed {
                        unit: self.origin.unit.clone(),
                        doing: "reading its journal".to_owned(),
                        reason: error.to_string(),
                    }));
                }
            }
            let grown = self.grown.as_mut()?;
            if grown.changed().await.is_err() {
                // The unit was forgotten: nothing will come, and the reader hangs up when it likes.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl JournalStream for Stream {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<u8>, ExecutorError>>> {
        Box::pin(self.read())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            farewell();
        }
    }
}
