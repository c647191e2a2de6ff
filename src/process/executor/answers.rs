//! What an executor tells: its units, their states, status and journals.

use super::*;

/// Lines of the journal that `status` shows.
const STATUS_LINES: usize = 10;

impl Inner {
    pub(super) fn held(&self) -> Vec<Held> {
        let shared = self.lock();
        let units = shared.units.iter();
        units
            .map(|(name, entry)| Held {
                name: name.clone(),
                hash: entry.hash().to_owned(),
                state: entry.report.state.clone(),
            })
            .collect()
    }

    pub(super) async fn changes(&self) -> Vec<StateChange> {
        loop {
            // A permit is kept where the change came before the waiting.
            let changed = self.changed.notified();
            let all = std::mem::take(&mut self.lock().changes);
            if !all.is_empty() {
                return all.into_iter().map(|(name, state)| StateChange { name, state }).collect();
            }
            changed.await;
        }
    }

    pub(super) fn origin(&self, name: &str) -> Origin {
        Origin {
            unit: name.to_owned(),
            hostname: self.options.host.hostname.clone(),
            machine_id: self.options.host.machine_id.clone(),
        }
    }

    pub(super) fn status(&self, name: &str) -> StatusText {
        let shared = self.lock();
        let Some(entry) = shared.units.get(name) else {
            return StatusText { text: format!("Unit {name} could not be found.\n"), exit_code: 4 };
        };
        let journal = last_lines(&entry.dir);
        show::status(&Standing {
            name,
            description: &entry.description,
            path: entry.dir.unit_path().display().to_string(),
            report: &entry.report,
            now: now(),
            journal: show::lines(&journal, "short", &self.origin(name)),
        })
    }

    pub(super) fn main_process(&self, name: &str) -> Result<u32, ExecutorError> {
        let shared = self.lock();
        let entry = shared.units.get(name).ok_or_else(|| not_loaded(name))?;
        entry.report.main_pid.ok_or_else(|| ExecutorError::Unsupported {
            unit: name.to_owned(),
            reason: format!(
                "it has no main process to run a command beside: it is {} ({})",
                entry.report.state.active, entry.report.state.sub
            ),
        })
    }

    pub(super) fn journal(self: &Arc<Self>, name: &str, query: &JournalQuery) -> Result<Stream, ExecutorError> {
        let format = if query.output.is_empty() { "short" } else { &query.output };
        if !FORMATS.contains(&format) {
            return Err(ExecutorError::Unsupported {
                unit: name.to_owned(),
                reason: format!("no such journal format: {format:?}; there are {}", FORMATS.join(", ")),
            });
        }
        let mut shared = self.lock();
        let entry = shared.units.get_mut(name).ok_or_else(|| not_loaded(name))?;
        let grown = query.follow.then(|| entry.grown.subscribe());
        let reader = Reader::open(entry.dir.path(), query.lines).map_err(|error| ExecutorError::Failed {
            unit: name.to_owned(),
            doing: "opening its journal".to_owned(),
            reason: error.to_string(),
        })?;
        let farewell = query.follow.then(|| {
            entry.followers += 1;
            if entry.followers == 1 {
                entry.wish(name, Wish::Follow(true));
            }
            let (inner, name) = (Arc::clone(self), name.to_owned());
            Box::new(move || inner.unfollow(&name)) as Box<dyn FnOnce() + Send>
        });
        Ok(Stream { reader, origin: self.origin(name), format: format.to_owned(), since: query.since, grown, farewell })
    }

    pub(super) fn unfollow(&self, name: &str) {
        if let Some(entry) = self.lock().units.get_mut(name) {
            entry.followers = entry.followers.saturating_sub(1);
            if entry.followers == 0 {
                entry.wish(name, Wish::Follow(false));
            }
        }
    }
}

fn last_lines(dir: &UnitDir) -> Vec<JournalLine> {
    let mut all = Vec::new();
    if let Ok(mut reader) = Reader::open(dir.path(), Some(STATUS_LINES)) {
        while let Ok(lines) = reader.read() {
            if lines.is_empty() {
                break;
            }
            all.extend(lines);
        }
    }
    all.split_off(all.len().saturating_sub(STATUS_LINES))
}
