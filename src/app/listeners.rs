//! What a node listens on, and the certificates that it shows there.

use std::collections::BTreeSet;
use std::net::IpAddr;
#[cfg(feature = "api")]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::settings::Settings;
use super::settings::tls::Listen;
use super::{StartError, host};
#[cfg(feature = "api")]
use crate::api::{Door, Listener};
use crate::base::Clock as _;
#[cfg(feature = "api")]
use crate::net::tls::Protocol;
use crate::net::tls::{ClientTls, ServerTls, Terms, TlsError, host_of};
use crate::raft::PeerListener;

/// The listeners for the other members, and how this one connects to theirs.
pub async fn bind_peers(settings: &Settings) -> Result<(Vec<PeerListener>, Arc<ClientTls>), StartError> {
    let failed = |cause| StartError::Tls { key: "peer.cert_file", cause };
    let (mut tls, mut dialling) = (None, Arc::default());
    if let Some(peer_tls) = &settings.peer_tls {
        let terms = peer_tls.terms(&own_certificate(settings, "peer"), &hosts(&settings.peer_listen), &[]);
        let terms = terms.map_err(failed)?;
        dialling = Arc::new(peer_tls.dialling(&terms.identity));
        tls = Some(server(terms).map_err(failed)?);
    }
    let mut listeners = Vec::new();
    for listen in &settings.peer_listen {
        let Listen { address, tls: within } = listen;
        let failed = |cause| StartError::Listen { key: "peer.listen", address: address.to_string(), cause };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        if !within && !address.ip().is_loopback() {
            tracing::warn!(
                "peer.listen {address} is open to other machines in plain text; keep it on a network that you trust"
            );
        }
        listeners.push(PeerListener { listener, tls: tls.clone().filter(|_| *within) });
    }
    Ok((listeners, dialling))
}

/// The listeners for clients, and where they reach them, with the ports that 0 became.
#[cfg(feature = "api")]
pub async fn bind_clients(settings: &Settings) -> Result<(Vec<Listener>, Vec<SocketAddr>), StartError> {
    let door = match &settings.client_tls {
        None => None,
        Some(tls) => {
            let (folder, hosts) = (own_certificate(settings, "client"), hosts(&settings.client_listen));
            let terms = tls.terms(&folder, &hosts, &[Protocol::Http2, Protocol::Http1]);
            let opened = terms.and_then(server).map_err(|cause| StartError::Tls { key: "client.cert_file", cause })?;
            Some(Door { tls: opened, users_by_name: tls.client_cert_auth, of_cluster: tls.of_cluster.is_some() })
        }
    };
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for listen in &settings.client_listen {
        let (listener, bound) = super::sockets::tcp("client.listen", *listen).await?;
        listeners.push(match door.clone().filter(|_| listen.tls) {
            Some(door) => Listener::Tls(listener, door),
            None => Listener::Tcp(listener),
        });
        addresses.push(bound);
    }
    let fleet_socket = settings.fleet.socket.as_ref().filter(|_| settings.fleet.enabled);
    let client_sockets = settings.client_sockets.iter().map(|path| ("client.socket", path));
    for (key, path) in client_sockets.chain(fleet_socket.map(|path| ("fleet.socket", path))) {
        listeners.push(super::sockets::unix(key, path).await?);
    }
    Ok((listeners, addresses))
}

fn server(terms: Terms) -> Result<Arc<ServerTls>, TlsError> {
    ServerTls::new(terms).map(Arc::new)
}

/// Where a certificate is kept that the node makes for itself.
pub fn own_certificate(settings: &Settings, of: &str) -> PathBuf {
    settings.data_dir.join("certificates").join(of)
}

/// For whom such a certificate is made.
fn hosts(listens: &[Listen]) -> Vec<String> {
    let mut hosts: Vec<String> = listens.iter().map(|listen| listen.address.ip().to_string()).collect();
    hosts.push("localhost".to_owned());
    hosts
}

/// For whom the cluster makes this member's certificate: wherever others reach it.
pub fn certificate_hosts(settings: &Settings) -> Vec<String> {
    let listens = settings.peer_listen.iter().chain(&settings.client_listen).map(|listen| listen.address.ip());
    let listens = listens.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    let own = settings.peers.iter().filter(|peer| peer.name == settings.name).flat_map(|peer| &peer.urls);
    let told = own.chain(&settings.client_advertise).map(|url| host_of(url));
    let always = [settings.name.clone(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let is_host = |host: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        host.parse::<IpAddr>().is_ok() || (!host.is_empty() && host.chars().all(plain))
    };
    let hosts: BTreeSet<String> = listens.chain(told).chain(always).filter(is_host).collect();
    hosts.into_iter().collect()
}

/// A certificate that has become old while the node did not run is renewed before anybody is shown it.
pub fn renew_certificate(settings: &Settings) -> Result<(), StartError> {
    let Some(identity) = &settings.identity else { return Ok(()) };
    let renewed = identity.renew(&certificate_hosts(settings), host::SystemClock.now());
    renewed.map(drop).map_err(|cause| StartError::Tls { key: "identity", cause })
}
