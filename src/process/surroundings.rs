//! What a process runs in (user, directory, root, environment, namespaces), read from `/proc` so that a command can be run in the same.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use std::ffi::OsString;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};

/// Namespaces that a command enters. Of another user namespace or process namespace it stays outside.
const NAMESPACES: [&str; 5] = ["ipc", "uts", "net", "cgroup", "mnt"];
/// What a service's manager tells its main process alone.
const NOT_PASSED_ON: [&str; 8] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "MAINPID",
    "INVOCATION_ID",
];

/// Where a process runs, and as whom.
pub struct Surroundings {
    pub environment: Vec<(OsString, OsString)>,
    /// Where it has namespaces of its own.
    namespaces: Vec<OwnedFd>,
    /// Its root directory, where that is another one.
    root: Option<OwnedFd>,
    directory: OwnedFd,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Surroundings {
    /// Reads those of a process.
    ///
    /// # Errors
    /// There is no such process any more, or this one may not look.
    pub fn of(pid: u32) -> io::Result<Self> {
        let proc = format!("/proc/{pid}");
        let status = std::fs::read_to_string(format!("{proc}/status"))?;
        let effective = |field: &str| ids(&status, field).get(1).copied().ok_or(io::ErrorKind::InvalidData);
        let mut namespaces = Vec::new();
        for name in NAMESPACES {
            let theirs = format!("{proc}/ns/{name}");
            if std::fs::read_link(&theirs)? != std::fs::read_link(format!("/proc/self/ns/{name}"))? {
                namespaces.push(File::open(theirs)?.into());
            }
        }
        let root = format!("{proc}/root");
        let own_root = same_file(Path::new(&root), Path::new("/"))? && namespaces.is_empty();
        Ok(Self {
            environment: environment(&std::fs::read(format!("{proc}/environ"))?),
            namespaces,
            root: if own_root { None } else { Some(directory(&root)?) },
            directory: directory(&format!("{proc}/cwd"))?,
            uid: Uid::from_raw(effective("Uid:")?),
            gid: Gid::from_raw(effective("Gid:")?),
            groups: ids(&status, "Groups:").into_iter().map(Gid::from_raw).collect(),
        })
    }

    /// Whose terminal a command here has.
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// Makes them those of the calling process, which has one thread and allocates nothing here.
    pub fn enter(&self) -> io::Result<()> {
        for namespace in &self.namespaces {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), None)?;
        }
        if let Some(root) = &self.root {
            rustix::process::fchdir(root)?;
            rustix::process::chroot(c".")?;
        }
        rustix::process::fchdir(&self.directory)?;
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_groups(&self.groups)?;
        }
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)?;
        rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)?;
        Ok(())
    }
}

fn directory(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (one, other) = (std::fs::metadata(one)?, std::fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// The numbers behind a field of `/proc/PID/status`.
fn ids(status: &str, field: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// `/proc/PID/environ`, without what is for that process alone.
fn environment(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    let owned = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    let pair = |one: &[u8]| {
        let at = one.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        Some((owned(&one[..at]), owned(&one[at + 1..])))
    };
    let all = bytes.split(|byte| *byte == 0).filter_map(pair);
    all.filter(|(name, _)| NOT_PASSED_ON.iter().all(|not| name != not)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn environments_and_ids_are_read() {
        let read = environment(b"A=1\0NOTIFY_SOCKET=/x\0nonsense\0=y\0B=a=b\0\0C=\0");
        let text: Vec<String> =
            read.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        assert_eq!(text, ["A=1", "B=a=b", "C="]);
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n";
        assert_eq!((ids(status, "Uid:")[1], ids(status, "Groups:")), (2, vec![9, 10]));
        assert!(ids(status, "Nope:").is_empty());
    }

    #[test]
    fn this_process_is_where_it_is() {
        let own = Surroundings::of(std::process::id()).unwrap();
        assert!(own.root.is_none() && own.namespaces.is_empty());
        assert_eq!(own.uid(), rustix::process::geteuid());
        assert!(Surroundings::of(u32::MAX).is_err());
    }
}
