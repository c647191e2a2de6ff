//! Readiness told from within a container (`Notify=true`): the socket behind its `$NOTIFY_SOCKET`. It lies in a folder of the
//! unit's own that is mounted into the container, so that a later life of the node can put another one in its place.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixDatagram;

use crate::base::limits::NOTIFY_MESSAGE_BYTES_MAX;
use crate::unit::notify::{self, Note};

/// Where the folder is in a container, as Podman has it.
pub const WITHIN: &str = "/run/notify";
/// Its only file.
pub const NAME: &str = "notify.sock";

/// The folders of one machine's units.
#[derive(Clone, Debug)]
pub struct NoticeFolders {
    dir: PathBuf,
}

impl NoticeFolders {
    /// Of this machine; nothing is made yet.
    pub fn of(machine_id: &str) -> Self {
        Self { dir: Path::new("/run/corenode-notify").join(machine_id) }
    }

    /// The folder that a unit's container has mounted.
    pub fn of_unit(&self, unit: &str) -> PathBuf {
        self.dir.join(unit)
    }

    /// Listens to a unit's container; what listened before hears nothing more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen(&self, unit: &str) -> io::Result<Notices> {
        let folder = self.of_unit(unit);
        // Whoever may look into the one above it may look at any container.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let path = folder.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // By way of the open folder: a unit's name may be longer than a socket's address.
        let open = rustix::fs::open(&folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let socket = UnixDatagram::bind(format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd()))?;
        // Any user of the container's.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(Notices { socket })
    }

    /// Removes a unit's folder.
    pub fn remove(&self, unit: &str) {
        let _ = fs::remove_dir_all(self.of_unit(unit));
    }

    /// Removes the folders of units that are not `known`.
    pub fn keep_only(&self, known: impl Fn(&str) -> bool) {
        for entry in self.dir.read_dir().into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(&known) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// What comes from within one container.
pub struct Notices {
    socket: UnixDatagram,
}

impl Notices {
    /// What the next message says.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn next(&self) -> io::Result<Vec<Note>> {
        let mut bytes = [0; NOTIFY_MESSAGE_BYTES_MAX];
        let count = self.socket.recv(&mut bytes).await?;
        Ok(notify::parse(&String::from_utf8_lossy(&bytes[..count])))
    }

    /// Whether it is among what came and was not taken yet that the container is ready.
    pub fn tell_ready(&self) -> bool {
        let mut bytes = [0; NOTIFY_MESSAGE_BYTES_MAX];
        while let Ok(count) = self.socket.try_recv(&mut bytes) {
            if notify::parse(&String::from_utf8_lossy(&bytes[..count])).contains(&Note::Ready) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_folder_is_listened_to_anew_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folders = NoticeFolders { dir: dir.path().join("m") };
        let unit = format!("{}.container", "a".repeat(200));
        let first = folders.listen(&unit).unwrap();
        let second = folders.listen(&unit).unwrap();
        let said = std::os::unix::net::UnixDatagram::unbound().unwrap();
        // As from within a container, where the path is short.
        let open = rustix::fs::open(folders.of_unit(&unit), OFlags::PATH, Mode::empty()).unwrap();
        said.send_to(b"STATUS=half\nREADY=1\n", format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd())).unwrap();
        assert_eq!(second.next().await.unwrap(), [Note::Status("half".to_owned()), Note::Ready]);
        assert!(!second.tell_ready() && !first.tell_ready());
        drop(first);
        folders.keep_only(|known| known == unit);
        assert!(folders.of_unit(&unit).exists());
        folders.keep_only(|_| false);
        assert!(!folders.of_unit(&unit).exists());
        folders.remove(&unit);
    }
}
