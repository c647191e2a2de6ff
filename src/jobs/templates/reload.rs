//! Checks and reloads: a command or a unit, within a time; reloads keep their distance and are made once for a group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::load::Target;
use super::pass::{Context, PassError};
use super::prepare::pending_of;
use crate::base::limits::{CHECK_COMMAND_MS_MAX, RELOAD_COMMAND_MS_MAX};
use crate::confd::{Reload, command_line, quoted, reload_in, reload_line};
use crate::files::Staged;
use crate::shell::{self, CommandError};
use crate::unit::value::signal_name;

/// Checks a staged file.
pub async fn check(target: &Target, staged: &Staged) -> Result<(), PassError> {
    let Some(text) = target.resource.check_cmd.as_deref() else { return Ok(()) };
    let line = command_line("checkcmd", text, &staged.path().to_string_lossy()).map_err(PassError::Check)?;
    let limit = target.resource.check_limit.unwrap_or(Duration::from_millis(CHECK_COMMAND_MS_MAX));
    let checked = run(&line, limit).await;
    checked.map_err(|error| PassError::Check(error.to_string()))
}

/// How a resource is reloaded, for people.
pub fn told(reload: &Reload) -> String {
    match reload {
        Reload::Command(line) => line.clone(),
        Reload::Unit { unit, signal: None } => unit.clone(),
        Reload::Unit { unit, signal: Some(number) } => format!("{} to {unit}", signal_name(*number)),
    }
}

/// Reloads whatever reads `target`, and takes the mark away. `Some`: it is put off for so long.
pub async fn reload(context: &Context, target: &Target, reload: &Reload) -> Result<Option<Duration>, PassError> {
    let name = target.resource.reload_group.as_ref().unwrap_or(&target.name);
    let wait = context.reloads.wait(name, target.resource.min_reload_interval);
    if !wait.is_zero() {
        tracing::info!("{}: its reload is put off for {wait:.1?}", target.name);
        return Ok(Some(wait));
    }
    let limit = target.resource.reload_limit.unwrap_or(Duration::from_millis(RELOAD_COMMAND_MS_MAX));
    context.reloads.begun(name);
    match (reload, &context.executor) {
        (Reload::Command(text), _) => {
            let line = reload_line(text, &target.resource.dest).map_err(PassError::Reload)?;
            run(&line, limit).await.map_err(|error| PassError::Reload(error.to_string()))?;
        }
        (Reload::Unit { unit, signal }, Some(executor)) => {
            let (doing, told) = match signal {
                Some(number) => (format!("sending it {}", signal_name(*number)), executor.signal(unit, *number)),
                None => ("reloading it".to_owned(), executor.reload(unit)),
            };
            tracing::debug!("{unit}: {doing}");
            let ended = tokio::time::timeout(limit, told).await;
            let late = |_| PassError::Reload(format!("{unit}: {doing}: no end within {limit:?}"));
            ended.map_err(late)?.map_err(|error| PassError::Reload(error.to_string()))?;
        }
        (Reload::Unit { unit, signal }, None) => {
            let verb = match signal {
                Some(number) => format!("kill --kill-who=main --signal={number}"),
                None => "reload-or-restart".to_owned(),
            };
            let line = format!("exec systemctl {verb} -- '{unit}'");
            run(&line, limit).await.map_err(|error| PassError::Reload(format!("{unit}: {error}")))?;
        }
    }
    pending_of(target)?.clear()?;
    Ok(None)
}

async fn run(line: &str, limit: Duration) -> Result<(), CommandError> {
    tracing::debug!("Running {line}");
    match shell::run(line, limit).await {
        Ok(output) => {
            tracing::debug!("{}", quoted(&output));
            Ok(())
        }
        Err(error) => {
            tracing::error!("{}", quoted(error.output()));
            Err(error)
        }
    }
}

/// When what was last reloaded.
pub struct Reloads {
    epoch: Instant,
    last: Mutex<BTreeMap<String, Duration>>,
}

impl Default for Reloads {
    fn default() -> Self {
        Self { epoch: Instant::now(), last: Mutex::default() }
    }
}

impl Reloads {
    fn wait(&self, name: &str, interval: Option<Duration>) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        reload_in(last, interval, self.epoch.elapsed())
    }

    fn begun(&self, name: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(name.to_owned(), self.epoch.elapsed());
    }
}

/// How a group's reload ended; shared by all whose files it was for.
pub type Ended = Result<Option<Duration>, String>;

/// The resources of one `reload_group`: the reload waits until none of them has work before it, and is made once.
#[derive(Default)]
pub struct Group(Mutex<Members>);

#[derive(Default)]
struct Members {
    busy: usize,
    due: Vec<Arc<Target>>,
    ended: Option<watch::Sender<Option<Ended>>>,
}

impl Group {
    fn members(&self) -> std::sync::MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member has work.
    pub fn enter(&self) {
        self.members().busy += 1;
    }

    /// A member's work is done. With `due` its files are new: how the group's reload ends can be waited for.
    pub fn leave(
        self: &Arc<Self>,
        context: &Arc<Context>,
        due: Option<Arc<Target>>,
    ) -> Option<watch::Receiver<Option<Ended>>> {
        let mut members = self.members();
        members.busy = members.busy.saturating_sub(1);
        let waiting = due.map(|target| {
            members.due.push(target);
            members.ended.get_or_insert_with(|| watch::channel(None).0).subscribe()
        });
        if members.busy == 0
            && let Some(ended) = members.ended.take()
        {
            let (due, context, group) = (std::mem::take(&mut members.due), context.clone(), self.clone());
            tokio::spawn(async move {
                let end = reload_all(&context, &due).await;
                if let Ok(Some(_)) = end {
                    // Whoever comes back first reloads for all of them.
                    group.members().due.extend(due);
                }
                ended.send_replace(Some(end));
            });
        }
        waiting
    }
}

/// One reload for all of `due`.
pub async fn reload_all(context: &Context, due: &[Arc<Target>]) -> Ended {
    let Some((first, how)) = due.iter().find_map(|target| Some((target, target.resource.reload.as_ref()?))) else {
        return Ok(None);
    };
    let put_off = reload(context, first, how).await.map_err(|error| error.to_string())?;
    if put_off.is_none() {
        for target in due {
            pending_of(target).and_then(|pending| pending.clear()).map_err(|error| error.to_string())?;
        }
    }
    Ok(put_off)
}
