//! The unit files that a command line means: those of folders, single ones, and instances of templates beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::api::fleet::model::UnitFileJson;
use crate::unit::name::{TYPES, UnitName, from_argument};

/// The units of all paths, by name; a link has its own name and the text that it leads to.
///
/// # Errors
/// A path that is not there, a folder without units, two files for one unit.
pub fn collect(paths: &[&str]) -> anyhow::Result<Vec<UnitFileJson>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in paths {
        for (name, file) in meant(Path::new(path))? {
            if let Some(other) = found.get(&name).filter(|other| **other != file) {
                anyhow::bail!("{name} is there twice: {} and {}", other.display(), file.display());
            }
            found.insert(name, file);
        }
    }
    let read = |(name, file): (String, PathBuf)| {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(UnitFileJson { name, text })
    };
    found.into_iter().map(read).collect()
}

/// Units and their files.
fn meant(path: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    if path.is_dir() {
        return folder(path);
    }
    let name = from_argument(&path.to_string_lossy());
    let file = path.with_file_name(&name);
    if file.exists() {
        return Ok(vec![(name, file)]);
    }
    let template = UnitName::new(&name).template().map(|template| path.with_file_name(template));
    match template.filter(|template| template.exists()) {
        Some(template) => Ok(vec![(name, template)]),
        None => anyhow::bail!("{}: there is no such folder or unit file", path.display()),
    }
}

fn folder(path: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut units = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        let file = entry.with_context(|| path.display().to_string())?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_unit = name.rsplit_once('.').is_some_and(|(stem, suffix)| !stem.is_empty() && TYPES.contains(&suffix));
        if is_unit && file.is_file() {
            units.push((name, file));
        }
    }
    anyhow::ensure!(!units.is_empty(), "{}: no unit files are in it", path.display());
    Ok(units)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(units: anyhow::Result<Vec<UnitFileJson>>) -> Vec<String> {
        units.unwrap().into_iter().map(|unit| unit.name).collect()
    }

    #[test]
    fn folders_files_links_and_instances() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        for name in ["web@.service", "a.timer", "README.md", ".hidden", "notes"] {
            std::fs::write(at(name), "[Unit]\n").unwrap();
        }
        std::os::unix::fs::symlink("web@.service", at("web@1.service")).unwrap();
        std::fs::create_dir(at("sub.service")).unwrap();
        let dir = at("");
        assert_eq!(names(collect(&[&dir])), ["a.timer", "web@.service", "web@1.service"]);
        assert_eq!(names(collect(&[&at("web@7"), &at("a.timer"), &at("a.timer")])), ["a.timer", "web@7.service"]);
        for wrong in ["nope.service", "a@1.timer", "sub.service"] {
            assert!(collect(&[&at(wrong)]).is_err(), "{wrong}");
        }
        std::fs::write(at("sub.service/a.timer"), "[Unit]\n").unwrap();
        let twice = collect(&[&dir, &at("sub.service")]).unwrap_err().to_string();
        assert!(twice.contains("a.timer is there twice"), "{twice}");
    }
}
