//! The listeners that clients come in by: addresses and unix sockets, each refusal with its remedy.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::StartError;
use super::settings::tls::Listen;
use crate::api::Listener;

/// Whoever may write to a socket is an administrator of the cluster: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// A listener on an address; the address says which port it became, where 0 was asked for.
pub async fn tcp(key: &'static str, listen: Listen) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |cause| StartError::Listen { key, address: listen.address.to_string(), cause };
    let listener = TcpListener::bind(listen.address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if !listen.tls && !bound.ip().is_loopback() {
        tracing::warn!(
            "{key} {bound} is open to other machines in plain text: whoever reaches it can do everything; \
             keep it on a network that you trust"
        );
    }
    Ok((listener, bound))
}

/// A listener on a unix socket. A socket that a dead node left is taken over, one that answers and any other file is not.
pub async fn unix(key: &'static str, path: &Path) -> Result<Listener, StartError> {
    let failed = |cause| StartError::Listen { key, address: path.display().to_string(), cause };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(failed(std::io::Error::from(std::io::ErrorKind::AddrInUse)));
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => {
            let kind = std::io::ErrorKind::AlreadyExists;
            return Err(failed(std::io::Error::new(kind, "something that is no socket is there")));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(Listener::Unix(listener))
}

/// A listener that whoever started this process has opened and handed over.
///
/// # Errors
/// The descriptor is no socket, or of a kind that clients do not come by.
#[cfg(feature = "scheduler")]
pub fn handed_over(descriptor: std::os::fd::RawFd) -> std::io::Result<Listener> {
    use rustix::net::{AddressFamily, sockopt};
    // SAFETY: descriptors that were handed over stay open: nothing here owns or closes them.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    let own = borrowed.try_clone_to_owned()?;
    if sockopt::socket_domain(&own)? == AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(own);
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(listener)?));
    }
    let listener = std::net::TcpListener::from(own);
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_taken_over_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let alive = unix("client.socket", &path).await.ok().unwrap();
        let refused = unix("client.socket", &path).await.err().unwrap().to_string();
        assert!(refused.contains("another node or etcd holds it"), "{refused}");
        drop(alive);

        let file = folder.path().join("precious");
        std::fs::write(&file, "text").unwrap();
        let refused = unix("client.socket", &file).await.err().unwrap().to_string();
        assert!(refused.contains("precious") && refused.contains("move it away, or set client.socket"), "{refused}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    }
}
