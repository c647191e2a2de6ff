//! Staging, replacing, marks and commands on a real file system.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::confd::{DestFacts, md5};

const LIMIT: Duration = Duration::from_secs(20);

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

#[tokio::test]
async fn a_command_has_its_output_and_its_end() {
    assert_eq!(shell("echo out; echo err >&2", LIMIT).await.unwrap(), b"out\nerr\n");
    let failed = shell("echo no; exit 3", LIMIT).await.unwrap_err();
    assert_eq!((failed.to_string().as_str(), failed.output()), ("exit status 3", b"no\n".as_slice()));
    assert_eq!(shell("kill -9 $$", LIMIT).await.unwrap_err().to_string(), "signal 9");
    assert_eq!(shell("head -c 1000000 /dev/zero", LIMIT).await.unwrap().len(), 64 << 10);
    // Its output closed, it still runs on; its end counts.
    assert_eq!(shell("exec >&- 2>&-; sleep 0.1; exit 4", LIMIT).await.unwrap_err().to_string(), "exit status 4");
}

#[tokio::test]
async fn what_runs_on_in_the_background_is_not_waited_for() {
    let started = Instant::now();
    assert!(!shell("sleep 30 & echo $!", LIMIT).await.unwrap().is_empty());
    // Nor does its chatter hide the end.
    shell("(while echo y; do :; done) & exit 0", LIMIT).await.unwrap();
    assert!(started.elapsed() < LIMIT);
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let line = format!("sleep 600 & echo $! > {}.part; mv {0}.part {0}; echo begun; wait", pid_file.display());
    let failed = shell(&line, Duration::from_millis(1_000)).await.unwrap_err();
    assert!(matches!(&failed, CommandError::TimedOut { .. }), "{failed:?}");
    assert_eq!(failed.output(), b"begun\n");
    let pid = fs::read_to_string(&pid_file).unwrap();
    let gone = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "));
    let deadline = Instant::now() + LIMIT;
    while !gone() {
        assert!(Instant::now() < deadline, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
