//! The socket behind `$NOTIFY_SOCKET`: what a unit says of itself, and who said it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::unix::AsyncFd;

use super::fd;
use crate::base::limits::NOTIFY_MESSAGE_BYTES_MAX;

/// `NotifyAccess=`: whose messages count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    None,
    Main,
    Exec,
    All,
}

/// The receiving socket, under an abstract name: it needs no place in a file system and no permissions of a user.
pub struct NotifySocket {
    socket: AsyncFd<OwnedFd>,
    name: String,
}

impl NotifySocket {
    /// A new socket whose name is unique to this invocation.
    ///
    /// # Errors
    /// The kernel's.
    pub fn bind(invocation: &str) -> io::Result<Self> {
        let name = format!("corenode/notify/{}/{invocation}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self { socket: fd::register(OwnedFd::from(socket))?, name })
    }

    /// The value of `$NOTIFY_SOCKET`.
    pub fn address(&self) -> String {
        format!("@{}", self.name)
    }

    /// The next message and the process that sent it.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn receive(&self) -> io::Result<(u32, String)> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive(socket.get_ref())) {
                Ok(Ok(Some(message))) => return Ok(message),
                Ok(Ok(None)) | Err(_) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// A message that is already there.
    pub fn try_receive(&self) -> Option<(u32, String)> {
        loop {
            match receive(self.socket.get_ref()) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(_) => return None,
            }
        }
    }
}

/// `None`: a message without credentials or text.
fn receive(socket: &OwnedFd) -> io::Result<Option<(u32, String)>> {
    let mut bytes = [0; NOTIFY_MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
    )?;
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid.as_raw_pid()),
        _ => None,
    });
    let text = std::str::from_utf8(&bytes[..received.bytes]).ok();
    Ok(sender.and_then(|pid| u32::try_from(pid).ok()).zip(text.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn knows_the_sender() {
        let socket = NotifySocket::bind("test").unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let name = socket.address();
        let address = SocketAddr::from_abstract_name(name.trim_start_matches('@')).unwrap();
        sender.send_to_addr(b"READY=1", &address).unwrap();
        assert_eq!(socket.receive().await.unwrap(), (std::process::id(), "READY=1".to_owned()));
        assert_eq!(socket.try_receive(), None);
    }
}
