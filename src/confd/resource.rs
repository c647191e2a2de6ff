//! Resources: what one `[template]` table of a resource file asks for, and what is wrong in such a file.

use std::time::Duration;

use super::fields::Source;
use super::format::Format;
use super::select::PrefixMode;
use super::when::Debounce;

/// A user or group: by number, or by a name that is looked up when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Id(u32),
    Name(String),
}

/// What becomes of a lookup of a key that is not there, without a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// The render fails (confd).
    #[default]
    Error,
    /// It finds an empty value.
    Empty,
    /// The file stays as it is until the key is there; that is no failure.
    Wait,
}

/// What `json` and its kin make of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonNumbers {
    /// A float, as Go does: 2592000 is printed as 2.592e+06.
    #[default]
    Float,
    /// What is printed as it is written: an integer where it is one, a float where that is printed so, and its text otherwise.
    Exact,
}

/// How a resource's template is rendered, where resources may say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rendering {
    pub on_missing: OnMissing,
    pub json_numbers: JsonNumbers,
}

/// How whoever reads the file is told that it is new.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reload {
    /// A line for `/bin/sh`.
    Command(String),
    /// A unit of this machine that is reloaded, or restarted where it cannot be; with a signal, its main process gets that instead.
    Unit { unit: String, signal: Option<i32> },
}

/// One table `[template]`: what to render to where. Field names are those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The template's path below `templates/`.
    pub src: String,
    /// The file to keep; with `for_each`, a template of files' names.
    pub dest: String,
    /// As written; see `Selection` for what they come to.
    pub keys: Vec<String>,
    pub prefix: String,
    /// From `uid` or, without it, `owner`. `None`: whoever runs us.
    pub user: Option<Identity>,
    /// From `gid` or, without it, `group`. `None`: the group of whoever runs us.
    pub group: Option<Identity>,
    /// Permission bits; `None`: those of the present file, else 0644.
    pub mode: Option<u32>,
    pub check_cmd: Option<String>,
    /// From `reload_cmd` or `reload_unit`.
    pub reload: Option<Reload>,
    /// How long `check_cmd` may take, from `check_cmd_timeout`; `None`: the default.
    pub check_limit: Option<Duration>,
    /// How long a reload may take, from `reload_cmd_timeout`; `None`: the default.
    pub reload_limit: Option<Duration>,
    /// Resources of one group are reloaded once for all of them that changed together.
    pub reload_group: Option<String>,
    /// The shortest time between two reloads; one that comes earlier is put off, not dropped.
    pub min_reload_interval: Option<Duration>,
    /// How long changes may gather before they are rendered.
    pub debounce: Option<Debounce>,
    /// How many machines may replace and reload this resource at the same time; `None`: all.
    pub max_parallel: Option<usize>,
    /// The folder of keys of which each name has a file of its own.
    pub for_each: Option<String>,
    pub rendering: Rendering,
    /// What every list that the template looks up must have at least.
    pub min_entries: usize,
    /// What the output must be well-formed as.
    pub output_format: Option<Format>,
    /// Whether the file that is replaced is kept as `DEST.bak`.
    pub backup: bool,
    /// Whether a `dest` that is a symbolic link stays one, and what it points to is replaced.
    pub follow_symlinks: bool,
    /// What a global prefix does to `prefix`.
    pub prefix_mode: PrefixMode,
    /// Whether folders that are missing above `dest` are made.
    pub create_dirs: bool,
    /// Whether a file that is there keeps its user and group, where the resource names none.
    pub preserve_owner: bool,
    /// What was understood in spite of how it is written.
    pub warnings: Vec<Mistake>,
}

/// Something wrong in a resource file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct Mistake {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
}

/// Reads a resource file: one table `[template]`, or several `[[template]]`. Other tables are ignored, as confd does, and
/// so are unknown keys, with a warning; one that is nearly a known one is a mistake. Names of keys match in any case.
///
/// # Errors
/// All mistakes of the file, in their order.
pub fn parse_resources(file: &str, text: &str) -> Result<Vec<Resource>, Vec<Mistake>> {
    Source::read(file, text)
}

#[cfg(test)]
#[path = "resource_tests.rs"]
mod tests;
