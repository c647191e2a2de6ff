//! One pass over one resource: render, stage, compare, check, replace, reload. The log lines are confd's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::load::{Target, read_limited};
use super::outside::Machine;
use crate::base::limits::{CHECK_COMMAND_MS_MAX, RELOAD_COMMAND_MS_MAX, RENDERS_AT_ONCE_MAX};
use crate::confd::{Reads, SourceTemplate, Verdict, View, Wanted, command_line, compare, md5, quoted, reload_line};
use crate::files::{self, CommandError, FileError, Pending, Staged};

/// The mode of a file that is new and whose resource does not say.
const DEFAULT_MODE: u32 = 0o644;

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
}

impl Context {
    /// A context for passes that follow `options`.
    pub fn new(options: Options) -> Self {
        Self { options, renders: Semaphore::new(RENDERS_AT_ONCE_MAX) }
    }
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    InSync,
    Updated,
    /// The file was in sync; a reload that had failed before has succeeded now.
    Reloaded,
    /// Nothing was done, as asked.
    Noop,
}

/// Why a pass failed. The destination is as it was, except after [`PassError::Reload`] and
/// [`PassError::ReloadCommand`].
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("Missing template: {}", .0.display())]
    Missing(PathBuf),
    #[error("Unable to process template {}, {message}", src.display())]
    Template { src: PathBuf, message: String },
    /// What the template did, or the keys made it do, with its line and column.
    #[error("{0}")]
    Render(String),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("Config check failed: {0}")]
    Check(String),
    /// The new file is in place; the reload is due until it succeeds.
    #[error("{0}")]
    Reload(CommandError),
    /// The new file is in place; its `reload_cmd` is no template.
    #[error("{0}")]
    ReloadCommand(String),
    #[error("{0}")]
    Interrupted(String),
}

impl PassError {
    /// Whether the same keys may lead to success another time.
    pub fn may_heal(&self) -> bool {
        !matches!(self, Self::Render(_))
    }
}

/// A pass's end, and what the template looked up, if it got that far.
#[derive(Debug)]
pub struct Pass {
    pub result: Result<Outcome, PassError>,
    pub reads: Option<Reads>,
}

/// What rendering and comparing found.
enum Prepared {
    InSync,
    Staged(Staged),
}

/// Makes one pass over `target` with the keys of `view`.
pub async fn process(context: &Context, target: &Arc<Target>, view: Arc<View>) -> Pass {
    let options = context.options;
    let prepared = {
        // Closed never: the semaphore lives as long as the context.
        let _turn = context.renders.acquire().await;
        let (target, handle) = (target.clone(), Handle::current());
        let machine = Machine { handle, templates: target.templates.clone() };
        let work = move || prepare(&target, &view, options, &machine);
        tokio::task::spawn_blocking(work).await
    };
    match prepared {
        Ok((Ok(prepared), reads)) => Pass { result: carry_out(target, prepared, options).await, reads },
        Ok((Err(error), reads)) => Pass { result: Err(error), reads },
        Err(error) => Pass { result: Err(PassError::Interrupted(error.to_string())), reads: None },
    }
}

/// Renders and compares; stages what differs.
fn prepare(
    target: &Target,
    view: &View,
    options: Options,
    machine: &Machine,
) -> (Result<Prepared, PassError>, Option<Reads>) {
    let template = match parse(&target.src) {
        Ok(template) => template,
        Err(error) => return (Err(error), None),
    };
    let rendered = template.render(view, machine);
    let content = rendered.result.map_err(|error| PassError::Render(error.to_string()));
    let prepared = content.and_then(|content| Ok(stage(target, content, options)?));
    (prepared, Some(rendered.reads))
}

fn parse(src: &Path) -> Result<SourceTemplate, PassError> {
    tracing::debug!("Using source template {}", src.display());
    let text = match read_limited(src) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(PassError::Missing(src.to_owned())),
        Err(error) => return Err(PassError::Template { src: src.to_owned(), message: error.to_string() }),
    };
    tracing::debug!("Compiling source template {}", src.display());
    let name = src.file_name().unwrap_or_default().to_string_lossy();
    let failed = |message: String| PassError::Template { src: src.to_owned(), message };
    SourceTemplate::parse(&name, &text).map_err(|error| failed(error.to_string()))
}

fn stage(target: &Target, content: Vec<u8>, options: Options) -> Result<Prepared, FileError> {
    let (resource, dest) = (&target.resource, Path::new(&target.resource.dest));
    let present = files::facts(dest)?;
    let mode = resource.mode.or(present.map(|present| present.mode)).unwrap_or(DEFAULT_MODE);
    let mut owner = files::resolve_owner(resource.user.as_ref(), resource.group.as_ref())?;
    if let Some(present) = present.filter(|_| resource.preserve_owner) {
        owner.uid = if resource.user.is_none() { present.uid } else { owner.uid };
        owner.gid = if resource.group.is_none() { present.gid } else { owner.gid };
    }
    tracing::debug!("Comparing candidate config to {}", resource.dest);
    // Most passes find nothing to do: those write nothing.
    let wanted = Wanted { uid: owner.uid, gid: owner.gid, mode, md5: md5(&content) };
    if !options.keep_stage_file && compare(&resource.dest, present.as_ref(), &wanted) == Verdict::InSync {
        return Ok(Prepared::InSync);
    }
    if resource.create_dirs && !files::has_folder(dest) {
        if options.noop {
            // There is no place to stage it, and none is made.
            return Ok(Prepared::InSync);
        }
        files::create_folders(dest)?;
    }
    let mut staged = Staged::create(dest, content, mode, owner)?;
    if options.keep_stage_file {
        tracing::info!("Keeping staged file: {}", staged.path().display());
        staged.keep();
    }
    match compare(&resource.dest, present.as_ref(), &staged.wanted()?) {
        Verdict::InSync => Ok(Prepared::InSync),
        Verdict::Changed(reasons) => {
            reasons.iter().for_each(|reason| tracing::info!("{reason}"));
            staged.sync()?;
            Ok(Prepared::Staged(staged))
        }
    }
}

async fn carry_out(target: &Target, prepared: Prepared, options: Options) -> Result<Outcome, PassError> {
    let resource = &target.resource;
    if options.noop {
        tracing::warn!("Noop mode enabled. {} will not be modified", resource.dest);
        return Ok(Outcome::Noop);
    }
    let reload = resource.reload_cmd.as_deref().filter(|_| !options.sync_only);
    match prepared {
        Prepared::Staged(staged) => {
            tracing::info!("Target config {} out of sync", resource.dest);
            if !options.sync_only {
                check(target, &staged).await?;
            }
            replace(target, staged, reload.is_some()).await?;
            if let Some(command) = reload {
                run_reload(target, command).await?;
            }
            tracing::info!("Target config {} has been updated", resource.dest);
            Ok(Outcome::Updated)
        }
        Prepared::InSync => {
            tracing::debug!("Target config {} in sync", resource.dest);
            match reload {
                Some(command) if Pending::of(Path::new(&resource.dest))?.is_set() => {
                    tracing::info!("Target config {} is in sync, but its reload is still due", resource.dest);
                    run_reload(target, command).await?;
                    Ok(Outcome::Reloaded)
                }
                _ => Ok(Outcome::InSync),
            }
        }
    }
}

async fn check(target: &Target, staged: &Staged) -> Result<(), PassError> {
    let Some(text) = target.resource.check_cmd.as_deref() else { return Ok(()) };
    let line = command_line("checkcmd", text, &staged.path().to_string_lossy()).map_err(PassError::Check)?;
    let limit = target.resource.check_limit.unwrap_or(Duration::from_millis(CHECK_COMMAND_MS_MAX));
    let checked = run(&line, limit).await;
    checked.map_err(|error| PassError::Check(error.to_string()))
}

/// Puts the staged file in its place; the mark that a reload is due is there before.
async fn replace(target: &Target, staged: Staged, reload: bool) -> Result<(), PassError> {
    let dest = target.resource.dest.clone();
    let work = move || -> Result<(), FileError> {
        if reload {
            Pending::of(Path::new(&dest))?.set()?;
        }
        tracing::debug!("Overwriting target config {dest}");
        staged.replace()
    };
    let replaced = tokio::task::spawn_blocking(work).await;
    Ok(replaced.map_err(|error| PassError::Interrupted(error.to_string()))??)
}

async fn run_reload(target: &Target, command: &str) -> Result<(), PassError> {
    let line = reload_line(command, &target.resource.dest).map_err(PassError::ReloadCommand)?;
    let limit = target.resource.reload_limit.unwrap_or(Duration::from_millis(RELOAD_COMMAND_MS_MAX));
    run(&line, limit).await.map_err(PassError::Reload)?;
    Ok(Pending::of(Path::new(&target.resource.dest))?.clear()?)
}

async fn run(line: &str, limit: Duration) -> Result<(), CommandError> {
    tracing::debug!("Running {line}");
    match files::shell(line, limit).await {
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
