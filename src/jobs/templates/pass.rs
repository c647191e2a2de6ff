//! One pass over one resource: prepare, check, replace, reload. The log lines are confd's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::load::Target;
use super::outside::Machine;
use super::prepare::{List, Prepared, pending_of, prepare};
use super::reload::{self, Reloads, told};
use super::turns::Turns;
use crate::base::limits::RENDERS_AT_ONCE_MAX;
use crate::confd::{Malformed, Md5, Reads, Reload, Steps, View, md5};
use crate::files::{self, FileError, Replaced, Staged, Syncs};
use crate::fleet::executor::Executor;

/// How passes are made; confd's flags of these names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Tell what would be done, and do nothing.
    pub noop: bool,
    /// Neither check nor reload.
    pub sync_only: bool,
    /// Leave the staged file where it is, if it was not moved to its place.
    pub keep_stage_file: bool,
}

/// What all passes share.
pub struct Context {
    options: Options,
    renders: Semaphore,
    pub(super) reloads: Reloads,
    syncs: Syncs,
    /// Who reloads units; `None`: `systemctl`.
    pub(super) executor: Option<Arc<dyn Executor>>,
    /// Where machines queue; `None`: each does as it likes.
    pub(super) turns: Option<Turns>,
}

impl Context {
    /// A context for passes that follow `options`.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            renders: Semaphore::new(RENDERS_AT_ONCE_MAX),
            reloads: Reloads::default(),
            syncs: Syncs::default(),
            executor: None,
            turns: None,
        }
    }
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    InSync,
    Updated,
    /// The file was in sync; a reload that was still due has succeeded now.
    Reloaded,
    /// Nothing was done, as asked.
    Noop,
    /// There is something to do, and it is not this machine's turn.
    NeedsTurn,
}

/// Why a pass failed. The destination is as it was, except after [`PassError::Reload`].
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("Missing template: {}", .0.display())]
    Missing(PathBuf),
    #[error("Unable to process template {}, {message}", src.display())]
    Template { src: PathBuf, message: String },
    /// What the template did, or the keys made it do, with its line and column.
    #[error("{0}")]
    Render(String),
    /// With `on_missing = "wait"`.
    #[error("waits for the key {0}; the file stays as it is")]
    Waits(String),
    #[error("{what} finds {found} entries, and min_entries is {least}; the file stays as it is")]
    TooFew { what: String, found: usize, least: usize },
    #[error("{0}")]
    Malformed(Malformed),
    /// What the store said about the keys.
    #[error("{0}")]
    Store(String),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("Config check failed: {0}")]
    Check(String),
    /// The new file is in place; the reload is due until it succeeds.
    #[error("{0}")]
    Reload(String),
    /// Some of several files; the others are as they should be.
    #[error("{failed} of {files} files: {first}")]
    Some { failed: usize, files: usize, first: Box<PassError> },
    #[error("{0}")]
    Turn(String),
    #[error("{0}")]
    Interrupted(String),
}

impl PassError {
    /// Whether the same keys may lead to success another time.
    pub fn may_heal(&self) -> bool {
        match self {
            Self::Render(_) | Self::Waits(_) | Self::TooFew { .. } | Self::Malformed(_) | Self::Store(_) => false,
            Self::Some { first, .. } => first.may_heal(),
            _ => true,
        }
    }
}

/// A pass's end, and what is told of it.
#[derive(Debug)]
pub struct Pass {
    pub result: Result<Outcome, PassError>,
    /// What the template looked up, if it got that far.
    pub reads: Option<Reads>,
    /// How long each step took.
    pub steps: Steps,
    /// Files that were replaced or removed.
    pub files: Vec<String>,
    /// What was reloaded.
    pub reloaded: Option<String>,
    /// The reload is put off for so long.
    pub reload_in: Option<Duration>,
    /// The reload of its group is due.
    pub group_due: bool,
    /// What would be changed, as `diff -u` shows it, where nothing is to be done.
    pub diffs: Vec<String>,
}

/// Makes one pass over `target` with the keys of `view`. The reload of a group is left to whoever asked.
pub async fn process(context: &Context, target: &Arc<Target>, view: Arc<View>) -> Pass {
    pass(context, target, view, true).await
}

/// The same, and with [`Outcome::NeedsTurn`] where `may_change` is false and there is something to do.
pub(super) async fn pass(context: &Context, target: &Arc<Target>, view: Arc<View>, may_change: bool) -> Pass {
    let mut pass = Pass {
        result: Ok(Outcome::InSync),
        reads: None,
        steps: Steps::default(),
        files: Vec::new(),
        reloaded: None,
        reload_in: None,
        group_due: false,
        diffs: Vec::new(),
    };
    let options = context.options;
    let prepared = {
        // Closed never: the semaphore lives as long as the context.
        let _turn = context.renders.acquire().await;
        let began = Instant::now();
        let (target, handle) = (target.clone(), Handle::current());
        let machine = Machine { handle, templates: target.templates.clone() };
        let work = move || prepare(&target, &view, options, &machine);
        let prepared = tokio::task::spawn_blocking(work).await;
        pass.steps.render_us = micros(began);
        prepared
    };
    pass.result = match prepared {
        Ok((prepared, reads)) => {
            pass.reads = reads;
            match prepared {
                Ok(prepared) => carry_out(context, target, prepared, may_change, &mut pass).await,
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(PassError::Interrupted(error.to_string())),
    };
    pass
}

/// Time since `began`.
pub(super) fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

async fn carry_out(
    context: &Context,
    target: &Arc<Target>,
    mut prepared: Prepared,
    may_change: bool,
    pass: &mut Pass,
) -> Result<Outcome, PassError> {
    let dest = &target.resource.dest;
    if context.options.noop {
        tracing::warn!("Noop mode enabled. {dest} will not be modified");
        pass.diffs = prepared.diffs;
        return some_failed(prepared.failed, prepared.files).map(|()| Outcome::Noop);
    }
    let reload = target.resource.reload.as_ref().filter(|_| !context.options.sync_only);
    if prepared.is_in_sync() {
        tracing::debug!("Target config {dest} in sync");
        some_failed(std::mem::take(&mut prepared.failed), prepared.files)?;
        return match reload {
            Some(_) if pending_of(target)?.is_set() && !may_change => Ok(Outcome::NeedsTurn),
            Some(how) if pending_of(target)?.is_set() => {
                tracing::info!("Target config {dest} is in sync, but its reload is still due");
                make_reload(context, target, how, pass).await?;
                Ok(Outcome::Reloaded)
            }
            _ => Ok(Outcome::InSync),
        };
    }
    if !may_change {
        return Ok(Outcome::NeedsTurn);
    }
    tracing::info!("Target config {dest} out of sync");
    if !context.options.sync_only {
        check_all(target, &mut prepared, pass).await?;
    }
    let (failed, files) = (std::mem::take(&mut prepared.failed), prepared.files);
    replace(context, target, prepared, reload.is_some(), pass).await?;
    if let Some(how) = reload.filter(|_| !pass.files.is_empty()) {
        make_reload(context, target, how, pass).await?;
    }
    some_failed(failed, files)?;
    tracing::info!("Target config {dest} has been updated");
    Ok(Outcome::Updated)
}

fn some_failed(mut failed: Vec<PassError>, files: usize) -> Result<(), PassError> {
    let count = failed.len();
    match failed.pop() {
        None => Ok(()),
        Some(first) => Err(PassError::Some { failed: count, files, first: Box::new(first) }),
    }
}

/// Checks what is staged. Of several files those that fail stay as they are.
async fn check_all(target: &Target, prepared: &mut Prepared, pass: &mut Pass) -> Result<(), PassError> {
    if target.resource.check_cmd.is_none() {
        return Ok(());
    }
    let began = Instant::now();
    let mut passed = Vec::with_capacity(prepared.staged.len());
    for staged in std::mem::take(&mut prepared.staged) {
        match reload::check(target, &staged).await {
            Ok(()) => passed.push(staged),
            Err(error) if prepared.list.is_some() => prepared.failed.push(error),
            Err(error) => {
                pass.steps.check_us = Some(micros(began));
                return Err(error);
            }
        }
    }
    prepared.staged = passed;
    pass.steps.check_us = Some(micros(began));
    Ok(())
}

/// Puts staged files in their places and removes those that are gone; the mark that a reload is due is there before.
async fn replace(
    context: &Context,
    target: &Arc<Target>,
    prepared: Prepared,
    reload: bool,
    pass: &mut Pass,
) -> Result<(), PassError> {
    let began = Instant::now();
    let target = target.clone();
    let replacing = context.syncs.enter();
    let synced = replacing.sync_with_others(&prepared.staged).await?;
    let work = move || -> (Done, Result<(), FileError>) {
        let mut done = Done::default();
        let result = replace_all(&target, prepared, synced, reload, &mut done);
        (done, result)
    };
    let (done, result) =
        tokio::task::spawn_blocking(work).await.map_err(|error| PassError::Interrupted(error.to_string()))?;
    for dest in &done.files {
        context.syncs.folder(Path::new(dest)).await?;
    }
    context.syncs.free(done.replaced);
    pass.steps.replace_us = Some(micros(began));
    pass.files = done.files;
    Ok(result?)
}

/// What has become of the files of a pass.
#[derive(Default)]
struct Done {
    /// Those that were replaced or removed.
    files: Vec<String>,
    replaced: Vec<Replaced>,
}

/// Everything is on the disk before a name points to it; with `synced` it is there already.
fn replace_all(
    target: &Target,
    prepared: Prepared,
    synced: bool,
    reload: bool,
    done: &mut Done,
) -> Result<(), FileError> {
    if !synced {
        prepared.staged.iter().try_for_each(Staged::sync)?;
    }
    if reload && !(prepared.staged.is_empty() && prepared.gone.is_empty()) {
        pending_of(target)?.set()?;
    }
    let mut list = prepared.list;
    for staged in prepared.staged {
        let dest = staged.dest().to_string_lossy().into_owned();
        if target.resource.backup {
            files::back_up(staged.dest())?;
        }
        tracing::debug!("Overwriting target config {dest}");
        let sum = md5(staged.content());
        done.replaced.push(staged.move_in()?);
        if let Some(list) = &mut list {
            list.written.note(&dest, sum);
        }
        done.files.push(dest);
    }
    let Some(mut list) = list else { return Ok(()) };
    remove_gone(&mut list, &prepared.gone, &mut done.files)?;
    if list.is_new() { write_list(&list) } else { Ok(()) }
}

fn remove_gone(list: &mut List, gone: &[(String, Md5)], done: &mut Vec<String>) -> Result<(), FileError> {
    for (dest, sum) in gone {
        if files::remove_unchanged(Path::new(dest), *sum)? {
            tracing::info!("{dest} is removed: its name is gone");
            done.push(dest.clone());
        } else {
            tracing::warn!("{dest} stays, though its name is gone: somebody has changed it");
        }
        list.written.forget(dest);
    }
    Ok(())
}

fn write_list(list: &List) -> Result<(), FileError> {
    let owner = files::resolve_owner(None, None)?;
    let staged = Staged::create(&list.path, list.written.print().into_bytes(), 0o600, owner)?;
    staged.sync()?;
    staged.replace()
}

/// Reloads, unless a group does so for several.
async fn make_reload(context: &Context, target: &Arc<Target>, how: &Reload, pass: &mut Pass) -> Result<(), PassError> {
    if target.resource.reload_group.is_some() {
        pass.group_due = true;
        return Ok(());
    }
    let began = Instant::now();
    let reloaded = reload::reload(context, target, how).await;
    if let Ok(Some(wait)) = reloaded {
        pass.reload_in = Some(wait);
        return Ok(());
    }
    pass.steps.reload_us = Some(micros(began));
    pass.reloaded = Some(told(how));
    reloaded.map(drop)
}
