//! Pseudo-terminals: the side that this program holds, and the side that a command gets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Uid;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::fleet::session::Size;

/// Opens a pair: ours, which does not block, and the command's, which belongs to `owner`.
///
/// # Errors
/// The kernel has none left.
pub fn open(size: Size, owner: Option<Uid>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    if let Some(owner) = owner.filter(|_| rustix::process::geteuid().is_root()) {
        rustix::fs::fchown(&theirs, Some(owner), None)?;
    }
    resize(&ours, size)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// Changes its size; whoever is in the foreground there hears of it.
pub fn resize(terminal: impl AsFd, size: Size) -> io::Result<()> {
    let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
