//! A member's place in its cluster: the one that it joined, the one that it is to join, or that of a founder.

use std::net::IpAddr;
use std::sync::Arc;

use super::StartError;
use super::node::store_dir;
use super::settings::{PeerSetting, Settings};
use crate::net::tls::{ClientTls, host_of};
use crate::raft;

/// Takes the ids and peers of a member that joins, or that once joined; whether it is one is returned.
pub async fn find_place(settings: &mut Settings, dialling: &Arc<ClientTls>) -> Result<bool, StartError> {
    let dir = store_dir(settings);
    let place = match raft::joined(&dir)? {
        Some(place) => place,
        None if settings.existing && !raft::holds_data(&dir) => {
            let initial: Vec<_> = settings.peers.iter().map(|peer| (peer.name.clone(), peer.urls.clone())).collect();
            raft::find_place(&settings.name, &initial, dialling).await?
        }
        None => {
            #[cfg(feature = "api")]
            if let Some(discovery) = settings.discovery.clone() {
                super::discovery::settle(settings, &discovery, raft::holds_data(&dir)).await?;
            }
            #[cfg(feature = "api")]
            if let Some(srv) = settings.discovery_srv.clone() {
                super::discovery_srv::settle(settings, &srv, raft::holds_data(&dir)).await?;
            }
            tell_whether_secured(settings);
            return Ok(false);
        }
    };
    let peer = |peer: raft::Peer| PeerSetting { id: peer.id, name: peer.name, urls: peer.urls };
    settings.cluster = place.cluster;
    settings.member = place.member;
    settings.peers = place.peers.into_iter().map(peer).collect();
    Ok(true)
}

/// How far the first members may be believed to be those that are meant.
fn tell_whether_secured(settings: &Settings) {
    let how = match settings {
        Settings { discovery: Some(_), .. } => "discovery",
        Settings { discovery_srv: Some(_), .. } => "discovery_srv",
        _ => "initial_cluster",
    };
    let own = |peer: &&PeerSetting| peer.name != settings.name;
    let others = settings.peers.iter().filter(own).flat_map(|peer| &peer.urls);
    let local =
        |url: &String| host_of(url) == "localhost" || host_of(url).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let away = others.filter(|url| how != "initial_cluster" || !local(url)).count();
    let authority = settings.peer_tls.as_ref().and_then(|tls| tls.trusted_ca.as_ref());
    match authority {
        _ if away == 0 => {}
        Some(file) => {
            tracing::info!("the members of {how} are let in with a certificate that {} vouches for", file.display())
        }
        None => tracing::warn!(
            "the members of {how} are insecure: nobody vouches for them, and whoever answers at their addresses is taken for them; \
             give peer.trusted_ca_file with peer.cert_file, or make the cluster by `node init` and `node join`"
        ),
    }
}
