//! Staging, replacing and marks on a real file system.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::*;
use crate::confd::{DestFacts, md5};

fn me() -> Owner {
    resolve_owner(None, None).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_staged_file_is_private_until_it_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("app.conf");
    fs::write(&dest, "old").unwrap();
    let staged = Staged::create(&dest, b"new".to_vec(), 0o640, me()).unwrap();
    let name = staged.path().file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with(".app.conf") && name.len() > ".app.conf".len(), "{name}");
    assert_eq!(fs::read(&dest).unwrap(), b"old");
    let wanted = staged.wanted().unwrap();
    assert_eq!((wanted.mode, wanted.md5), (0o640, md5(b"new")));
    staged.sync().unwrap();
    staged.replace().unwrap();
    assert_eq!(fs::read(&dest).unwrap(), b"new");
    assert_eq!(fs::metadata(&dest).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(names(folder.path()), ["app.conf"]);
}

#[test]
fn a_staged_file_that_is_not_used_goes_unless_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("x");
    drop(Staged::create(&dest, b"1".to_vec(), 0o644, me()).unwrap());
    assert_eq!(names(folder.path()), Vec::<String>::new());
    let mut kept = Staged::create(&dest, b"1".to_vec(), 0o644, me()).unwrap();
    kept.keep();
    drop(kept);
    assert_eq!(names(folder.path()).len(), 1);
}

#[test]
fn what_cannot_be_replaced_stays_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dest = folder.path().join("dir");
    fs::create_dir(&dest).unwrap();
    let error = facts(&dest).unwrap_err().to_string();
    assert!(error.contains("it is a directory"), "{error}");
    let staged = Staged::create(&dest, b"1".to_vec(), 0o644, me()).unwrap();
    assert!(staged.replace().unwrap_err().to_string().contains("replacing"));
    assert_eq!(names(folder.path()), ["dir"]);
    let missing = folder.path().join("none/x");
    let error = Staged::create(&missing, Vec::new(), 0o644, me()).unwrap_err().to_string();
    assert!(error.contains("staging a file in") && error.contains("none"), "{error}");
    assert!(Staged::create(Path::new("/"), Vec::new(), 0o644, me()).is_err());
}

#[test]
fn a_link_is_replaced_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (target, dest) = (folder.path().join("target"), folder.path().join("dest"));
    fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &dest).unwrap();
    assert_eq!(facts(&dest).unwrap().unwrap().md5, md5(b"old"));
    Staged::create(&dest, b"new".to_vec(), 0o644, me()).unwrap().replace().unwrap();
    assert!(fs::symlink_metadata(&dest).unwrap().is_file());
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn facts_are_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    assert_eq!(facts(&path).unwrap(), None);
    assert_eq!(mode_of(&path).unwrap(), None);
    fs::write(&path, "a").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    let expected = DestFacts { uid: metadata.uid(), gid: metadata.gid(), mode: 0o4755, md5: md5(b"a") };
    assert_eq!(facts(&path).unwrap(), Some(expected));
    assert_eq!(mode_of(&path).unwrap(), Some(0o4755));
}

#[test]
fn the_mark_of_a_reload_survives() {
    let folder = tempfile::tempdir().unwrap();
    let pending = Pending::of(&folder.path().join("app.conf")).unwrap();
    assert!(!pending.is_set());
    pending.set().unwrap();
    pending.set().unwrap();
    assert_eq!(names(folder.path()), [".app.conf.reload-pending"]);
    assert!(pending.is_set());
    pending.clear().unwrap();
    pending.clear().unwrap();
    assert!(!pending.is_set());
}
