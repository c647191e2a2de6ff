//! The PID file of a forking service: read, or waited for with the kernel's help.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::fd;

/// The number in a PID file, if it is there and holds one.
pub fn read(path: &str) -> Option<u32> {
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Waits until the file holds a number; the unit's start time-out bounds it. Forever where its directory cannot be watched.
pub async fn wait(path: String) -> u32 {
    match watch(&path) {
        Ok(changes) => wait_for(&path, &changes).await,
        Err(_) => std::future::pending().await,
    }
}

fn watch(path: &str) -> io::Result<AsyncFd<OwnedFd>> {
    let dir = Path::new(path).parent().unwrap_or(Path::new("/"));
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inotify, dir, WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO)?;
    fd::register(inotify)
}

async fn wait_for(path: &str, changes: &AsyncFd<OwnedFd>) -> u32 {
    loop {
        if let Some(pid) = read(path) {
            return pid;
        }
        let Ok(mut ready) = changes.readable().await else {
            return std::future::pending().await;
        };
        // Which file has changed does not matter: ours is read again.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(changes.get_ref(), &mut buffer);
        while events.next().is_ok() {}
        ready.clear_ready();
    }
}
