//! The listeners that clients come in by: addresses and unix sockets, each refusal with its remedy.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::StartError;
use crate::api::Listener;

/// Whoever may write to a socket is an administrator of the cluster: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// A listener on an address; the address says which port it became, where 0 was asked for.
pub async fn tcp(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { key, address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if !bound.ip().is_loopback() {
        tracing::warn!(
            "{key} {bound} is open to other machines in plain text: whoever reaches it can do everything; \
             keep it on a network that you trust"
        );
    }
    Ok((listener, bound))
}

/// A listener on a unix socket. A file that a dead node left is taken over, one that answers is not.
pub async fn unix(key: &'static str, path: &Path) -> Result<Listener, StartError> {
    let failed = |source| StartError::Listen { key, address: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(failed(std::io::Error::from(std::io::ErrorKind::AddrInUse)));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(Listener::Unix(listener))
}
