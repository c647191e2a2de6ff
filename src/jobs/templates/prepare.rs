//! The first half of a pass: render, look whether the output may be written, compare, and stage what differs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::load::{Target, read_limited};
use super::outside::Machine;
use super::pass::{Options, PassError};
use crate::confd::{
    Element, Md5, OnMissing, Reads, Reload, Rendered, Shortest, SourceTemplate, Verdict, View, Wanted, Written,
    command_line, compare, elements, fixed_folder, md5, reload_line, unified_diff,
};
use crate::files::{self, FileError, Pending, Staged};

/// The mode of a file that is new and whose resource does not say.
const DEFAULT_MODE: u32 = 0o644;

/// What rendering and comparing found.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Files that differ.
    pub staged: Vec<Staged>,
    /// Differences as `diff -u` shows them, where nothing is to be done.
    pub diffs: Vec<String>,
    /// Files whose name is gone, with what was written to them.
    pub gone: Vec<(String, Md5)>,
    /// The list of a resource that writes several files.
    pub list: Option<List>,
    /// What went wrong with some of several files.
    pub failed: Vec<PassError>,
    /// How many files there are.
    pub files: usize,
}

/// The files that a resource with `for_each` wrote, and where that is noted.
#[derive(Debug)]
pub struct List {
    pub path: PathBuf,
    /// As it is on disk.
    pub before: String,
    pub written: Written,
}

impl List {
    /// Whether it says something else than on disk.
    pub fn is_new(&self) -> bool {
        self.written.print() != self.before
    }
}

impl Prepared {
    /// Whether every file is as it should be.
    pub fn is_in_sync(&self) -> bool {
        self.staged.is_empty() && self.gone.is_empty() && !self.list.as_ref().is_some_and(List::is_new)
    }
}

/// The mark of a due reload of `target`.
///
/// # Errors
/// A destination without a name.
pub fn pending_of(target: &Target) -> Result<Pending, FileError> {
    let dest = &target.resource.dest;
    match target.resource.for_each {
        Some(_) => Ok(Pending::of_several(Path::new(&fixed_folder(dest)), &hidden_name(dest))),
        None => Pending::of(&place(target, dest)?),
    }
}

/// A name for what is kept beside the files of a templated `dest`.
fn hidden_name(dest: &str) -> String {
    format!("confd-{}", &md5(dest.as_bytes()).to_string()[..12])
}

/// Where a destination is written to.
fn place(target: &Target, dest: &str) -> Result<PathBuf, FileError> {
    match target.resource.follow_symlinks {
        true => files::resolve_links(Path::new(dest)),
        false => Ok(PathBuf::from(dest)),
    }
}

/// Renders and compares; stages what differs.
pub fn prepare(
    target: &Target,
    view: &View,
    options: Options,
    machine: &Machine,
) -> (Result<Prepared, PassError>, Option<Reads>) {
    if let Some(refusal) = view.refusal() {
        return (Err(PassError::Store(refusal.to_owned())), None);
    }
    let template = match parse(&target.src) {
        Ok(template) => template,
        Err(error) => return (Err(error), None),
    };
    let mut preparing = Preparing { target, view, options, machine, template, reads: Reads::default() };
    let prepared = match &target.resource.for_each {
        Some(folder) => preparing.several(folder),
        None => preparing.single(),
    };
    (prepared, Some(preparing.reads))
}

struct Preparing<'a> {
    target: &'a Target,
    view: &'a View,
    options: Options,
    machine: &'a Machine,
    template: SourceTemplate,
    reads: Reads,
}

impl Preparing<'_> {
    fn single(&mut self) -> Result<Prepared, PassError> {
        let mut prepared = Prepared { files: 1, ..Prepared::default() };
        let content = self.enough()?;
        self.stage(&self.target.resource.dest, content, &mut prepared)?;
        Ok(prepared)
    }

    /// The one file's content, if the lists in it have enough entries.
    fn enough(&mut self) -> Result<Vec<u8>, PassError> {
        let (content, shortest) = self.content(None)?;
        let least = self.target.resource.min_entries;
        match shortest.filter(|shortest| shortest.entries < least) {
            None => Ok(content),
            Some(Shortest { read, entries: found }) => {
                let (how, path) = read.parts();
                Err(PassError::TooFew { what: format!("{how} \"{path}\""), found, least })
            }
        }
    }

    fn several(&mut self, folder: &str) -> Result<Prepared, PassError> {
        let resource = &self.target.resource;
        let (elements, read) = elements(self.view, folder, &resource.dest).map_err(PassError::Render)?;
        self.reads.note(read);
        if elements.len() < resource.min_entries {
            let (what, least) = (format!("for_each \"{folder}\""), resource.min_entries);
            return Err(PassError::TooFew { what, found: elements.len(), least });
        }
        let base = PathBuf::from(fixed_folder(&resource.dest));
        let path = base.join(format!(".{}.list", hidden_name(&resource.dest)));
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let mut list = List { path, written: Written::parse(&before), before };
        let mut prepared = Prepared { files: elements.len(), ..Prepared::default() };
        for element in &elements {
            let staged = self.content(Some(element)).and_then(|(content, _)| {
                let (sum, others) = (md5(&content), prepared.staged.len());
                self.stage(&element.dest, content, &mut prepared)?;
                if prepared.staged.len() == others {
                    list.written.note(&element.dest, sum);
                }
                Ok(())
            });
            prepared.failed.extend(staged.err());
        }
        let wanted: BTreeSet<&str> = elements.iter().map(|element| element.dest.as_str()).collect();
        prepared.gone = list.written.gone(&wanted);
        if self.options.noop {
            prepared.diffs.extend(prepared.gone.iter().map(|(dest, _)| format!("{dest} would be removed\n")));
        }
        prepared.list = Some(list);
        Ok(prepared)
    }

    fn content(&mut self, element: Option<&Element>) -> Result<(Vec<u8>, Option<Shortest>), PassError> {
        let resource = &self.target.resource;
        let Rendered { result, reads, missing, shortest } =
            self.template.render(self.view, self.machine, resource.rendering, element);
        self.reads.merge(reads);
        let content = result.map_err(|error| match missing {
            Some(key) if resource.rendering.on_missing == OnMissing::Wait => PassError::Waits(key),
            _ => PassError::Render(error.to_string()),
        })?;
        if let Some(format) = resource.output_format {
            format.check(&content).map_err(PassError::Malformed)?;
        }
        Ok((content, shortest))
    }

    fn stage(&self, dest: &str, content: Vec<u8>, prepared: &mut Prepared) -> Result<(), FileError> {
        let (resource, options) = (&self.target.resource, self.options);
        let place = place(self.target, dest)?;
        let present = files::facts(&place)?;
        let mode = resource.mode.or(present.map(|present| present.mode)).unwrap_or(DEFAULT_MODE);
        let mut owner = files::resolve_owner(resource.user.as_ref(), resource.group.as_ref())?;
        if let Some(present) = present.filter(|_| resource.preserve_owner) {
            owner.uid = if resource.user.is_none() { present.uid } else { owner.uid };
            owner.gid = if resource.group.is_none() { present.gid } else { owner.gid };
        }
        tracing::debug!("Comparing candidate config to {dest}");
        // Most passes find nothing to do: those write nothing.
        let wanted = Wanted { uid: owner.uid, gid: owner.gid, mode, md5: md5(&content) };
        if !options.keep_stage_file && compare(dest, present.as_ref(), &wanted) == Verdict::InSync {
            return Ok(());
        }
        if options.noop {
            let before = present.and_then(|_| std::fs::read(&place).ok());
            prepared
                .diffs
                .extend(Some(unified_diff(dest, before.as_deref(), &content)).filter(|diff| !diff.is_empty()));
        }
        if resource.create_dirs && !files::has_folder(&place) {
            if options.noop {
                // There is no place to stage it, and none is made.
                return Ok(());
            }
            files::create_folders(&place)?;
        }
        let mut staged = Staged::create(&place, content, mode, owner)?;
        if options.keep_stage_file {
            tracing::info!("Keeping staged file: {}", staged.path().display());
            staged.keep();
        }
        if let Verdict::Changed(reasons) = compare(dest, present.as_ref(), &staged.wanted()?) {
            reasons.iter().for_each(|reason| tracing::info!("{reason}"));
            prepared.staged.push(staged);
        }
        Ok(())
    }
}

/// Renders without looking at what is there: each file's name and content.
///
/// # Errors
/// The first file that cannot be rendered, or must not be written.
pub fn outputs(target: &Target, view: &View, machine: &Machine) -> Result<Vec<(String, Vec<u8>)>, PassError> {
    let (template, options) = (parse(&target.src)?, Options::default());
    let mut preparing = Preparing { target, view, options, machine, template, reads: Reads::default() };
    let resource = &target.resource;
    let Some(folder) = &resource.for_each else {
        return Ok(vec![(resource.dest.clone(), preparing.enough()?)]);
    };
    let (elements, _) = elements(view, folder, &resource.dest).map_err(PassError::Render)?;
    elements.iter().map(|element| Ok((element.dest.clone(), preparing.content(Some(element))?.0))).collect()
}

/// Parses the template and the commands of a resource.
///
/// # Errors
/// What is wrong with the first of them that is.
pub fn parsed(target: &Target) -> Result<(), PassError> {
    parse(&target.src)?;
    let resource = &target.resource;
    if let Some(command) = &resource.check_cmd {
        command_line("checkcmd", command, "/staged").map_err(PassError::Check)?;
    }
    if let Some(Reload::Command(command)) = &resource.reload {
        reload_line(command, &resource.dest).map_err(PassError::Reload)?;
    }
    if let Some(folder) = &resource.for_each {
        // A view with one name shows whether `dest` can be rendered.
        let view = View::of([(format!("/{}/name", folder.trim_matches('/')), "")]);
        elements(&view, folder, &resource.dest).map_err(PassError::Render)?;
    }
    Ok(())
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
