//! A container's output as its unit's journal: what the engine kept of it, and between that the executor's own words, by time.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;

use super::engine::{self, EngineError};
use super::shared::{Link, Shared};
use crate::base::limits::JOURNAL_CHUNK_BYTES_MAX;
use crate::base::{BoxFuture, UnixMillis};
use crate::fleet::executor::{ExecutorError, JournalLine, JournalQuery, JournalStream};
use crate::fleet::journal::{self, FORMATS, Origin};

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

/// A place among lines of which several may be of one moment: Podman tells times in whole seconds.
#[derive(Clone, Copy)]
struct Place {
    at: Timestamp,
    /// So many of that moment were taken.
    lines: usize,
}

impl Place {
    const START: Self = Self { at: Timestamp::MIN, lines: 0 };
}

/// Reads on while it is held.
pub struct Logs {
    shared: Arc<Shared>,
    origin: Origin,
    format: String,
    query: JournalQuery,
    /// What the container's lines are said to come from.
    identifier: String,
    noted: watch::Receiver<u64>,
    nudge: watch::Receiver<u64>,
    /// The engine's lines, while there are some to be read.
    output: Option<Output>,
    /// Whether what was there at the beginning has been read.
    caught_up: bool,
    /// The container whose lines are read.
    container: String,
    /// How far they have been taken.
    taken: Place,
    /// How far they had been when they were opened, and how many of that moment came since.
    resumed: Place,
    seen_again: usize,
    /// The number of the last note that was taken.
    last_note: u64,
    ready: VecDeque<JournalLine>,
}

/// Opens a unit's journal.
///
/// # Errors
/// There is no such unit or format.
pub fn open(shared: &Arc<Shared>, name: &str, query: JournalQuery) -> Result<Logs, ExecutorError> {
    let format = if query.output.is_empty() { "short" } else { &query.output };
    if !FORMATS.contains(&format) {
        return Err(ExecutorError::Unsupported {
            unit: name.to_owned(),
            reason: format!("no such journal format: {format:?}; there are {}", FORMATS.join(", ")),
        });
    }
    let board = shared.board();
    let entry = board.units.get(name).ok_or_else(|| ExecutorError::NotLoaded { unit: name.to_owned() })?;
    let origin = Origin {
        unit: name.to_owned(),
        hostname: shared.options.hostname.clone(),
        machine_id: shared.options.machine_id.clone(),
    };
    Ok(Logs {
        shared: shared.clone(),
        origin,
        format: format.to_owned(),
        identifier: entry.wish.borrow().container.name.clone(),
        noted: entry.noted.subscribe(),
        nudge: entry.nudge.subscribe(),
        query,
        output: None,
        caught_up: false,
        container: String::new(),
        taken: Place::START,
        resumed: Place::START,
        seen_again: 0,
        last_note: 0,
        ready: VecDeque::new(),
    })
}

impl Logs {
    async fn read(&mut self) -> Option<Result<Vec<u8>, ExecutorError>> {
        if !self.caught_up {
            self.caught_up = true;
            if let Err(error) = self.catch_up().await {
                return Some(Err(self.failed(&error)));
            }
        }
        loop {
            if !self.ready.is_empty() {
                return Some(Ok(self.take()));
            }
            if !self.query.follow {
                return None;
            }
            self.follow().await;
        }
    }

    fn failed(&self, error: &EngineError) -> ExecutorError {
        ExecutorError::Failed {
            unit: self.origin.unit.clone(),
            doing: "reading its output".to_owned(),
            reason: error.to_string(),
        }
    }

    /// Some of what is ready, printed.
    fn take(&mut self) -> Vec<u8> {
        let mut bytes = 0;
        let mut lines = Vec::new();
        while let Some(line) = self.ready.pop_front() {
            bytes += line.message.len();
            lines.push(line);
            if bytes > JOURNAL_CHUNK_BYTES_MAX {
                break;
            }
        }
        journal::lines(&lines, &self.format, &self.origin)
    }

    /// Reads what there is until now.
    async fn catch_up(&mut self) -> Result<(), EngineError> {
        let wanted = self.query.lines;
        let mut lines = VecDeque::new();
        if let Some(mut output) = self.open_output(false).await? {
            while let Some(piece) = output.next().await {
                let line = self.line_of(piece.map_err(EngineError::from)?);
                lines.extend(line);
                if wanted.is_some_and(|most| lines.len() > most) {
                    lines.pop_front();
                }
            }
        }
        let mut all: Vec<JournalLine> = lines.into_iter().chain(self.new_notes()).collect();
        all.sort_by_key(|line| line.at);
        let first = wanted.map_or(0, |most| all.len().saturating_sub(most));
        self.ready.extend(all.drain(first..));
        Ok(())
    }

    /// Waits for something new.
    async fn follow(&mut self) {
        self.noted.mark_unchanged();
        let notes = self.new_notes();
        if !notes.is_empty() {
            self.ready.extend(notes);
            return;
        }
        if self.output.is_none() {
            self.nudge.mark_unchanged();
            self.output = self.open_output(true).await.unwrap_or_default();
        }
        let Some(output) = &mut self.output else {
            // No container yet, or the engine is away.
            tokio::select! {
                _ = self.nudge.changed() => {}
                changed = self.noted.changed() => forever_if_closed(changed.is_err()).await,
            }
            return;
        };
        tokio::select! {
            piece = output.next() => match piece {
                Some(Ok(piece)) => {
                    let line = self.line_of(piece);
                    self.ready.extend(line);
                }
                // It has ended for now: another life of it begins with an event.
                Some(Err(_)) | None => {
                    self.output = None;
                    tokio::select! {
                        _ = self.nudge.changed() => {}
                        changed = self.noted.changed() => forever_if_closed(changed.is_err()).await,
                    }
                }
            },
            changed = self.noted.changed() => forever_if_closed(changed.is_err()).await,
        }
    }

    async fn open_output(&mut self, follow: bool) -> Result<Option<Output>, EngineError> {
        let docker = match &*self.shared.link.borrow() {
            Link::Up(docker) => docker.clone(),
            Link::Away(why) if !follow => return Err(EngineError::Away(why.clone())),
            Link::Away(_) => return Ok(None),
        };
        let (machine, unit) = (self.shared.options.machine_id.clone(), self.origin.unit.clone());
        let listed = engine::list(&docker, &machine, Some(&unit)).await?;
        let Some(container) = listed.first() else { return Ok(None) };
        let mut options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).follow(follow);
        if let Some(lines) = self.query.lines.filter(|_| !follow) {
            options = options.tail(&lines.to_string());
        }
        // In whole seconds: what is from before is passed over line by line.
        let wanted = self.query.since.and_then(|since| Timestamp::from_millisecond(since.0).ok());
        let since = wanted.unwrap_or(Timestamp::MIN).max(if follow { self.taken.at } else { Timestamp::MIN });
        let same = std::mem::replace(&mut self.container, container.id.clone()) == container.id;
        (self.resumed, self.seen_again) = (if same { self.taken } else { Place::START }, 0);
        if since > Timestamp::MIN {
            options = options.since(i32::try_from(since.as_second()).unwrap_or_default());
        }
        Ok(Some(Box::pin(docker.logs(&container.id, Some(options.build())))))
    }

    /// A line of the container's, unless it was taken before.
    fn line_of(&mut self, piece: LogOutput) -> Option<JournalLine> {
        let bytes = piece.into_bytes();
        let end = bytes.iter().position(|byte| *byte == b' ')?;
        let at: Timestamp = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
        let at_ms = UnixMillis(at.as_millisecond());
        if at == self.resumed.at {
            self.seen_again += 1;
        }
        let again = at < self.resumed.at || (at == self.resumed.at && self.seen_again <= self.resumed.lines);
        if again || self.query.since.is_some_and(|since| at_ms < since) {
            return None;
        }
        let lines = if at == self.taken.at { self.taken.lines + 1 } else { 1 };
        self.taken = Place { at, lines };
        let message = bytes[end + 1..].strip_suffix(b"\n").unwrap_or(&bytes[end + 1..]);
        let message = message.strip_suffix(b"\r").unwrap_or(message).to_vec();
        Some(JournalLine { at: at_ms, pid: 1, identifier: self.identifier.clone(), message })
    }

    /// Notes that were not taken yet.
    fn new_notes(&mut self) -> Vec<JournalLine> {
        let board = self.shared.board();
        let Some(entry) = board.units.get(&self.origin.unit) else { return Vec::new() };
        let since = self.query.since;
        let newer = entry
            .notes
            .iter()
            .filter(|(number, line)| *number > self.last_note && since.is_none_or(|since| line.at >= since));
        let notes = newer.map(|(_, line)| line.clone()).collect();
        self.last_note = entry.notes.back().map_or(self.last_note, |(number, _)| *number);
        notes
    }
}

/// The unit was forgotten: nothing will come, and the reader hangs up when it likes.
async fn forever_if_closed(closed: bool) {
    if closed {
        std::future::pending::<()>().await;
    }
}

impl JournalStream for Logs {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<u8>, ExecutorError>>> {
        Box::pin(self.read())
    }
}
