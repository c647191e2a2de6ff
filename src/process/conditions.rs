//! What `Condition…=` and `Assert…=` ask about files, looked up on this machine.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatVfsMountFlags, StatxAttributes, StatxFlags, statvfs, statx};

use crate::unit::FileTest;

/// Whether a test holds of a path.
pub fn holds(test: FileTest, path: &str) -> bool {
    let path = Path::new(path);
    match test {
        FileTest::PathExists => path.exists(),
        FileTest::PathIsDirectory => path.is_dir(),
        FileTest::PathIsSymbolicLink => path.is_symlink(),
        FileTest::PathIsMountPoint => statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
            .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        FileTest::PathIsReadWrite => statvfs(path).is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::RDONLY)),
        FileTest::DirectoryNotEmpty => path.read_dir().is_ok_and(|mut entries| entries.next().is_some()),
        FileTest::FileNotEmpty => path.metadata().is_ok_and(|m| m.is_file() && m.len() > 0),
        FileTest::FileIsExecutable => path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_about_files() {
        for (test, path, expected) in [
            (FileTest::PathExists, "/proc", true),
            (FileTest::PathExists, "/no/where", false),
            (FileTest::PathIsDirectory, "/proc", true),
            (FileTest::PathIsDirectory, "/proc/self/exe", false),
            (FileTest::PathIsSymbolicLink, "/proc/self", true),
            (FileTest::PathIsMountPoint, "/proc", true),
            (FileTest::PathIsMountPoint, "/proc/self", false),
            (FileTest::PathIsReadWrite, "/no/where", false),
            (FileTest::DirectoryNotEmpty, "/bin", true),
            (FileTest::DirectoryNotEmpty, "/bin/sh", false),
            (FileTest::FileNotEmpty, "/bin/sh", true),
            (FileTest::FileIsExecutable, "/bin/sh", true),
            (FileTest::FileIsExecutable, "/bin", false),
        ] {
            assert_eq!(holds(test, path), expected, "{test:?} {path}");
        }
    }
}
