//! Making a batch of units known to systemd: files, links, `[Install]`, one reload where one is needed; then a look at what
//! systemd makes of each. A unit that is refused is taken back, and what was there before under its name is put back.
//!
//! A reload takes systemd a large part of a second, in which it does nothing else. A unit that it does not have in memory yet is
//! read from its file without one; whether it was is asked, not assumed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use zbus::Variant;

use super::bus;
use super::caller::Caller;
use super::child;
use super::files;
use super::shared::Shared;
use crate::base::limits::SYSTEMD_LOOKS_MAX;
use crate::fleet::executor::{ActiveState, ExecutorError, UnitFile};
use crate::unit::UnitText;

const DOING: &str = "loading it";

/// One unit of a batch, on its way.
struct Item {
    unit: UnitFile,
    installs: bool,
    /// The text that was held under this name.
    before: Option<String>,
    /// It was written or linked: there is something to take back.
    touched: bool,
    /// New on the board.
    new: bool,
    result: Result<(), ExecutorError>,
}

/// Loads `units`; one result for each, in order.
pub async fn load(shared: &Arc<Shared>, units: Vec<UnitFile>) -> Vec<Result<(), ExecutorError>> {
    let mut items: Vec<Item> = units.into_iter().map(Item::new).collect();
    if items.iter().all(|item| item.result.is_err()) {
        return items.into_iter().map(|item| item.result).collect();
    }
    match shared.caller("systemd", DOING).await {
        Ok(caller) => carry_out(shared, &caller, &mut items).await,
        Err(error) => items.iter_mut().for_each(|item| item.fail(about(&item.unit.name, &error))),
    }
    items.into_iter().map(|item| item.result).collect()
}

async fn carry_out(shared: &Arc<Shared>, caller: &Caller, items: &mut [Item]) {
    write(shared, items).await;
    shared.update(|board| {
        for item in items.iter_mut().filter(|item| item.result.is_ok()) {
            item.new = board.follow(&item.unit.name);
        }
    });
    unlink_installed(caller, items).await;
    link(shared, caller, items).await;
    enable(caller, items).await;
    if reload_is_due(shared, caller, items).await
        && let Err(error) = shared.reload("systemd", caller).await
    {
        items.iter_mut().filter(|item| item.result.is_ok()).for_each(|item| item.fail(about(&item.unit.name, &error)));
    }
    inspect(shared, caller, items).await;
    take_back(shared, caller, items).await;
    shared.update(|board| {
        for item in items.iter() {
            match &item.result {
                Ok(()) => board.announce(&item.unit.name),
                Err(_) if item.new => board.abandon(&item.unit.name),
                Err(_) => {}
            }
        }
    });
}

impl Item {
    fn new(unit: UnitFile) -> Self {
        let unsupported = |reason: String| ExecutorError::Unsupported { unit: unit.name.clone(), reason };
        let checked = files::check_name(&unit.name).map_err(unsupported);
        let parsed = checked.and_then(|()| UnitText::parse(&unit.text).map_err(|e| unsupported(e.to_string())));
        let installs = parsed.as_ref().is_ok_and(|text| text.has_section("Install"));
        Self { unit, installs, before: None, touched: false, new: false, result: parsed.map(drop) }
    }

    /// The first error counts.
    fn fail(&mut self, error: ExecutorError) {
        if self.result.is_ok() {
            self.result = Err(error);
        }
    }
}

/// The same error, told of another unit.
fn about(unit: &str, error: &ExecutorError) -> ExecutorError {
    match error {
        ExecutorError::TimedOut { doing, waited } => {
            ExecutorError::TimedOut { doing: format!("{unit}: {doing}"), waited: *waited }
        }
        ExecutorError::Failed { doing, reason, .. } => {
            ExecutorError::Failed { unit: unit.to_owned(), doing: doing.clone(), reason: reason.clone() }
        }
        other => other.clone(),
    }
}

/// Does what may wait for a disk, elsewhere.
pub async fn blocking<T: Send + 'static>(
    unit: &str,
    doing: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ExecutorError> {
    let failed = |reason: String| ExecutorError::Failed { unit: unit.to_owned(), doing: doing.to_owned(), reason };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Writes the files of all units, keeping in mind what they held.
async fn write(shared: &Shared, items: &mut [Item]) {
    let (dir, fence) = (shared.units_dir.clone(), shared.fence.clone());
    let units: Vec<Option<UnitFile>> =
        items.iter().map(|item| item.result.is_ok().then(|| item.unit.clone())).collect();
    let work = move || {
        let written = units.into_iter().map(|unit| {
            let unit = unit?;
            let before = files::read(&dir, &unit.name);
            let write = |before| {
                fence.prepare(&unit.name, &unit.text)?;
                files::write(&dir, &unit.name, &unit.text).map(|()| before)
            };
            Some(before.and_then(write))
        });
        Ok(written.collect::<Vec<_>>())
    };
    let doing = "writing its file";
    let written = match blocking("systemd", doing, work).await {
        Ok(written) => written,
        Err(error) => return items.iter_mut().for_each(|item| item.fail(about(&item.unit.name, &error))),
    };
    for (item, written) in items.iter_mut().zip(written) {
        match written {
            Some(Ok(before)) => {
                item.touched = true;
                item.before = before;
            }
            Some(Err(error)) => item.fail(ExecutorError::Failed {
                unit: item.unit.name.clone(),
                doing: doing.to_owned(),
                reason: format!("{}: {error}", shared.units_dir.display()),
            }),
            None => {}
        }
    }
}

fn installs(text: &str) -> bool {
    UnitText::parse(text).is_ok_and(|text| text.has_section("Install"))
}

/// Removes the links that an older text's `[Install]` asked for; the new one may ask for others.
async fn unlink_installed(caller: &Caller, items: &mut [Item]) {
    for item in items.iter_mut().filter(|item| item.result.is_ok()) {
        if item.before.as_deref().is_some_and(installs)
            && let Err(error) = caller.disable(&item.unit.name).await
        {
            item.fail(bus::failed(&item.unit.name, "removing the links of its old [Install]", &error));
        }
    }
}

/// Links all files into systemd's runtime directory: in one call, or where that fails each by itself.
async fn link(shared: &Shared, caller: &Caller, items: &mut [Item]) {
    let path = |item: &Item| files::path(&shared.units_dir, &item.unit.name).to_string_lossy().into_owned();
    let paths: Vec<String> = items.iter().filter(|item| item.result.is_ok()).map(path).collect();
    if paths.is_empty() || caller.link(paths).await.is_ok() {
        return;
    }
    for item in items.iter_mut().filter(|item| item.result.is_ok()) {
        if let Err(error) = caller.link(vec![path(item)]).await {
            item.fail(bus::failed(&item.unit.name, "linking it", &error));
        }
    }
}

/// Enables, until the next boot, the units that have an `[Install]` section; in one call, or each by itself.
async fn enable(caller: &Caller, items: &mut [Item]) {
    let wanted = |item: &Item| item.result.is_ok() && item.installs;
    let names: Vec<String> = items.iter().filter(|i| wanted(i)).map(|item| item.unit.name.clone()).collect();
    if names.is_empty() || caller.enable(names).await.is_ok() {
        return;
    }
    for item in items.iter_mut().filter(|i| wanted(i)) {
        if let Err(error) = caller.enable(vec![item.unit.name.clone()]).await {
            item.fail(bus::failed(&item.unit.name, "enabling it", &error));
        }
    }
}

/// Whether systemd must read its configuration anew to have these units as they are now.
async fn reload_is_due(shared: &Shared, caller: &Caller, items: &[Item]) -> bool {
    let held: Vec<&Item> = items.iter().filter(|item| item.result.is_ok()).collect();
    // Links of `[Install]` are part of other units.
    if held.iter().any(|item| item.installs || item.before.is_some()) {
        return true;
    }
    let names: Vec<String> = held.iter().map(|item| item.unit.name.clone()).collect();
    let states = shared.read_states(caller, &names).await;
    let loaded = states
        .is_ok_and(|states| states.len() == names.len() && states.iter().all(|(_, state)| state.load == "loaded"));
    !loaded || any_outdated(caller, &names).await
}

/// Whether systemd holds an older text of any of the units.
pub async fn any_outdated(caller: &Caller, names: &[String]) -> bool {
    let asked: Vec<_> = names.iter().map(|name| caller.property(name, bus::UNIT, "NeedDaemonReload")).collect();
    let answers: Vec<_> = stream::iter(asked).buffered(SYSTEMD_LOOKS_MAX).collect().await;
    // One that cannot be asked is not outdated: reading the states tells what is wrong with it.
    answers.into_iter().flatten().any(|answer| matches!(*answer, Variant::Bool(true)))
}

/// Looks at what systemd makes of each unit, and refuses those that it cannot run.
async fn inspect(shared: &Shared, caller: &Caller, items: &mut [Item]) {
    let names: Vec<String> =
        items.iter().filter(|item| item.result.is_ok()).map(|item| item.unit.name.clone()).collect();
    if names.is_empty() {
        return;
    }
    let states: BTreeMap<String, ActiveState> = match shared.read_states(caller, &names).await {
        Ok(states) => states.into_iter().collect(),
        Err(error) => {
            let fail = |item: &mut Item| item.fail(bus::failed(&item.unit.name, DOING, &error));
            return items.iter_mut().filter(|item| item.result.is_ok()).for_each(fail);
        }
    };
    let looks: Vec<_> = names.iter().map(|name| fault(shared, caller, name, states.get(name))).collect();
    let faults: Vec<Option<String>> = stream::iter(looks).buffered(SYSTEMD_LOOKS_MAX).collect().await;
    let mut faults = faults.into_iter();
    for item in items.iter_mut().filter(|item| item.result.is_ok()) {
        if let Some(Some(reason)) = faults.next() {
            item.fail(ExecutorError::Unsupported { unit: item.unit.name.clone(), reason });
        }
    }
}

/// Why systemd would not run the unit from our file; `None`: it would.
async fn fault(shared: &Shared, caller: &Caller, name: &str, state: Option<&ActiveState>) -> Option<String> {
    let Some(state) = state else {
        return Some("systemd does not list it: it may be an alias of another unit".to_owned());
    };
    if state.load != "loaded" {
        return Some(refusal(shared, caller, name, state).await);
    }
    let answer = caller.property(name, bus::UNIT, "FragmentPath").await.ok()?;
    let Variant::Str(fragment) = &*answer else { return None };
    let (fragment, ours) = (fragment.as_str().to_owned(), files::path(&shared.units_dir, name));
    let shown = fragment.clone();
    let same = move || Ok(std::fs::canonicalize(&fragment)? == std::fs::canonicalize(&ours)?);
    match blocking(name, DOING, same).await {
        Ok(false) => Some(format!("{shown} is in the way: systemd takes that file; remove it, or rename the unit")),
        // A file that cannot be looked at is systemd's to complain about.
        Ok(true) | Err(_) => None,
    }
}

/// What is wrong with a unit that systemd did not load, in its own words as far as it has some.
async fn refusal(shared: &Shared, caller: &Caller, name: &str, state: &ActiveState) -> String {
    let answer = caller.property(name, bus::UNIT, "LoadError").await.ok();
    let error = answer.and_then(|value| <(String, String)>::try_from(value).ok());
    let words = error.map(|(_, text)| text).filter(|text| !text.is_empty());
    let said = words.unwrap_or_else(|| format!("it is {}", state.load));
    let lines = child::verify(&files::path(&shared.units_dir, name), name).await;
    if lines.is_empty() { format!("systemd refuses it: {said}") } else { format!("systemd refuses it: {lines}") }
}

/// Undoes what was done for units that are refused.
async fn take_back(shared: &Shared, caller: &Caller, items: &[Item]) {
    let refused: Vec<&Item> = items.iter().filter(|item| item.result.is_err() && item.touched).collect();
    if refused.is_empty() {
        return;
    }
    for item in &refused {
        if let Err(error) = restore(shared, caller, item).await {
            tracing::warn!(unit = item.unit.name, "taking back what was refused: {error}");
        }
    }
    if let Err(error) = shared.reload("systemd", caller).await {
        tracing::warn!("after taking back what was refused: {error}");
    }
}

async fn restore(shared: &Shared, caller: &Caller, item: &Item) -> Result<(), ExecutorError> {
    let name = &item.unit.name;
    let failed = |error: zbus::Error| bus::failed(name, "unlinking it", &error);
    let (dir, unit, before) = (shared.units_dir.clone(), name.clone(), item.before.clone());
    let unlinked = caller.disable(name).await.map_err(failed);
    let fence = shared.fence.clone();
    let work = move || match before {
        Some(text) => fence.prepare(&unit, &text).and_then(|()| files::write(&dir, &unit, &text)),
        None => fence.forget(&unit).and_then(|()| files::remove(&dir, &unit)),
    };
    blocking(name, "putting back its file", work).await?;
    unlinked?;
    let Some(before) = &item.before else { return Ok(()) };
    let path = files::path(&shared.units_dir, name).to_string_lossy().into_owned();
    let link_again = caller.link(vec![path]).await;
    link_again.map_err(|error| bus::failed(name, "linking it again", &error))?;
    if installs(before) {
        let enabled = caller.enable(vec![name.clone()]).await;
        enabled.map_err(|error| bus::failed(name, "enabling it again", &error))?;
    }
    Ok(())
}

impl Shared {
    /// Has systemd read its configuration anew; all who ask at the same moment share one reload.
    pub async fn reload(&self, unit: &str, caller: &Caller) -> Result<(), ExecutorError> {
        let reloaded = self.reloads.pass(caller.reload()).await;
        reloaded.map_err(|error| bus::failed(unit, "having systemd reload its configuration", &error))
    }
}
