//! Units that read their configuration anew: by `ExecReload=`, or by a restart where they have none.

use super::*;

/// What a reload that is under way is known by.
struct Before {
    /// Reloads that had ended.
    ended: u64,
    invocation: String,
}

impl Inner {
    /// Reloads a unit, or restarts it where it cannot be reloaded; returns once that is done.
    pub(super) async fn reload(&self, name: &str) -> Result<(), ExecutorError> {
        let turn = {
            let shared = self.lock();
            known(&shared, name)?;
            shared.units.get(name).map(|entry| entry.reloading.clone()).ok_or_else(|| not_loaded(name))?
        };
        let _turn = turn.lock().await;
        let before = self.begin_reload(name)?;
        loop {
            let reported = self.reported.notified();
            tokio::pin!(reported);
            // From here on no report is missed.
            reported.as_mut().enable();
            if let Some(end) = self.reload_ended(name, before.as_ref()) {
                return end;
            }
            reported.await;
        }
    }

    /// Sends a signal to the main process of a unit.
    pub(super) fn signal(&self, name: &str, number: i32) -> Result<(), ExecutorError> {
        let shared = self.lock();
        known(&shared, name)?;
        let entry = shared.units.get(name).ok_or_else(|| not_loaded(name))?;
        if entry.report.main_pid.is_none() {
            let (unit, doing) = (name.to_owned(), "sending it a signal".to_owned());
            return Err(ExecutorError::Failed { unit, doing, reason: "it has no main process".to_owned() });
        }
        entry.wish(name, Wish::Signal(number));
        Ok(())
    }

    /// `None`: it is restarted.
    fn begin_reload(&self, name: &str) -> Result<Option<Before>, ExecutorError> {
        let mut shared = self.lock();
        known(&shared, name)?;
        let entry = shared.units.get(name).filter(|entry| entry.reloads && is_up(&entry.report));
        if let Some(entry) = entry {
            entry.wish(name, Wish::Reload);
            let (ended, invocation) = (entry.report.reloads.ended, entry.report.invocation.clone());
            return Ok(Some(Before { ended, invocation }));
        }
        let orders = shared.jobs.restart(name);
        dispatch(&shared, orders);
        Ok(None)
    }

    /// How it has ended, once it has.
    fn reload_ended(&self, name: &str, before: Option<&Before>) -> Option<Result<(), ExecutorError>> {
        let shared = self.lock();
        let Some(entry) = shared.units.get(name) else { return Some(Err(not_loaded(name))) };
        let failed = |reason: &str| {
            let (unit, doing) = (name.to_owned(), "reloading it".to_owned());
            Some(Err(ExecutorError::Failed { unit, doing, reason: format!("{reason}; its journal says why") }))
        };
        let report = &entry.report;
        match before {
            Some(before) if report.invocation != before.invocation => Some(Ok(())),
            Some(before) if report.reloads.ended > before.ended => match report.reloads.last_failed {
                true => failed("ExecReload= has failed"),
                false => Some(Ok(())),
            },
            Some(_) if report.settled() => failed("it has ended meanwhile"),
            None if shared.jobs.busy(name) || !(is_up(report) || report.settled()) => None,
            None if report.state.active == "failed" => failed("it was restarted, and has failed"),
            None => Some(Ok(())),
            Some(_) => None,
        }
    }
}

fn is_up(report: &Report) -> bool {
    matches!(report.state.active.as_str(), "active" | "reloading")
}
