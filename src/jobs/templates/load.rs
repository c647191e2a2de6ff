//! Finds and reads the resources of a confdir.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::limits::{RESOURCE_FILES_MAX, TEMPLATE_BYTES_MAX};
use crate::confd::{Mistake, Reload, Resource, Selection, effective_prefix, parse_resources};

/// A resource, ready to be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The file's path below `conf.d` without `.toml`; `#2` and so on for further tables in it.
    pub name: String,
    /// The resource's file.
    pub file: PathBuf,
    pub resource: Resource,
    /// The template's file.
    pub src: PathBuf,
    /// The folder of all templates, from which files are included.
    pub templates: PathBuf,
    pub selection: Selection,
}

/// What a confdir holds.
#[derive(Debug, Default)]
pub struct Loaded {
    pub targets: Vec<Arc<Target>>,
    /// Files that cannot be used.
    pub broken: Vec<Broken>,
    pub warnings: Vec<Mistake>,
}

/// A resource file that cannot be used.
#[derive(Debug)]
pub struct Broken {
    pub name: String,
    pub file: PathBuf,
    /// What is wrong in it, where the places are known.
    pub mistakes: Vec<Mistake>,
    /// The same in one line, in confd's words.
    pub reason: String,
}

/// There are no resources to be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("Cannot load template resources: confdir '{}' does not exist", .0.display())]
    NoConfdir(PathBuf),
    #[error("stat {}: no such file or directory", .0.display())]
    NoConfD(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: more than {RESOURCE_FILES_MAX} resource files", .0.display())]
    TooMany(PathBuf),
}

impl Loaded {
    /// Logs what is wrong and what is odd.
    pub fn tell(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        for broken in &self.broken {
            tracing::error!("Cannot process template resource {} - {}", broken.file.display(), broken.reason);
        }
    }
}

/// Loads all files `conf.d/**/*toml` of `confdir`, in the order of their names. `prefix`, if not empty, replaces the
/// resources' own.
///
/// # Errors
/// No confdir, no `conf.d` in it, or one that cannot be read. What is wrong with single files is in [`Loaded::broken`].
pub fn load(confdir: &Path, prefix: &str) -> Result<Loaded, LoadError> {
    tracing::debug!("Loading template resources from confdir {}", confdir.display());
    if !confdir.exists() {
        return Err(LoadError::NoConfdir(confdir.to_owned()));
    }
    let mut files = Vec::new();
    walk(&confdir.join("conf.d"), &mut files)?;
    let mut loaded = Loaded::default();
    for file in files {
        tracing::debug!("Loading template resource from {}", file.display());
        match resources_of(&file) {
            Ok(resources) => {
                let several = resources.into_iter().enumerate();
                several.for_each(|(number, one)| loaded.add(confdir, prefix, &file, number, one));
            }
            Err((mistakes, reason)) => {
                let name = name_of(confdir, &file, 0);
                loaded.broken.push(Broken { name, file, mistakes, reason });
            }
        }
    }
    loaded.settle_groups();
    Ok(loaded)
}

impl Loaded {
    fn add(&mut self, confdir: &Path, prefix: &str, file: &Path, number: usize, resource: Resource) {
        let selection =
            Selection::new(effective_prefix(resource.prefix_mode, prefix, &resource.prefix), &resource.keys);
        let templates = confdir.join("templates");
        let src = templates.join(resource.src.trim_start_matches('/'));
        self.warnings.extend(resource.warnings.iter().cloned());
        let name = name_of(confdir, file, number);
        self.targets.push(Arc::new(Target { name, file: file.to_owned(), resource, src, templates, selection }));
    }

    /// Gives all resources of a group its reload, which one of them at least names and none of them otherwise.
    fn settle_groups(&mut self) {
        let mut groups: BTreeMap<String, BTreeSet<Reload>> = BTreeMap::new();
        for target in &self.targets {
            if let Some(group) = &target.resource.reload_group {
                groups.entry(group.clone()).or_default().extend(target.resource.reload.clone());
            }
        }
        for target in std::mem::take(&mut self.targets) {
            let Some((group, reloads)) =
                target.resource.reload_group.as_ref().and_then(|group| groups.get_key_value(group))
            else {
                self.targets.push(target);
                continue;
            };
            match reloads.len() {
                1 => {
                    let mut target = Arc::unwrap_or_clone(target);
                    target.resource.reload = reloads.first().cloned();
                    self.targets.push(Arc::new(target));
                }
                count => {
                    let what = if count == 0 { "none of its resources says" } else { "its resources say differently" };
                    let reason =
                        format!("reload_group: {what} how `{group}` is reloaded; write one reload_cmd or reload_unit");
                    let (name, file) = (target.name.clone(), target.file.clone());
                    self.broken.push(Broken { name, file, mistakes: Vec::new(), reason });
                }
            }
        }
    }
}

fn name_of(confdir: &Path, file: &Path, number: usize) -> String {
    let below = file.strip_prefix(confdir.join("conf.d")).unwrap_or(file).to_string_lossy();
    let name = below.strip_suffix("toml").unwrap_or(&below).trim_end_matches('.');
    if number == 0 { name.to_owned() } else { format!("{name}#{}", number + 1) }
}

fn resources_of(file: &Path) -> Result<Vec<Resource>, (Vec<Mistake>, String)> {
    let unplaced = |reason: String| (Vec::new(), reason);
    let text = read_limited(file).map_err(|error| unplaced(error.to_string()))?;
    let text = String::from_utf8(text).map_err(|_| unplaced("it is not UTF-8".to_owned()))?;
    parse_resources(&file.to_string_lossy(), &text).map_err(|mistakes| {
        let reason = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        (mistakes, reason)
    })
}

/// A file's content, if it is not beyond all measure.
pub(super) fn read_limited(file: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(file)?.len();
    match length > TEMPLATE_BYTES_MAX {
        true => Err(io::Error::other(format!("it has {length} bytes; the most is {TEMPLATE_BYTES_MAX}"))),
        false => fs::read(file),
    }
}

/// Links to files count, links to folders below `conf.d` do not; `conf.d` itself may be a link (in confd it may not).
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LoadError::NoConfD(folder.to_owned()),
        _ => LoadError::Io { path: folder.to_owned(), source },
    };
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(error)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(error)?.is_dir() {
            walk(&path, found)?;
        } else if entry.file_name().to_string_lossy().ends_with("toml") {
            tracing::debug!("Found template: {}", path.display());
            found.push(path);
        }
        if found.len() > RESOURCE_FILES_MAX {
            return Err(LoadError::TooMany(folder.to_owned()));
        }
    }
    Ok(())
}
