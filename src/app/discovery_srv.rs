//! Founding a cluster through service records of DNS: `_etcd-server-ssl._tcp.DOMAIN` names members that are reached by TLS,
//! `_etcd-server._tcp.DOMAIN` others.
//!
//! Source: the behaviour of etcd 3.4. A member knows itself among them by an address of `peer.advertise`; what the others are called it hears from
//! them. As with a discovery URL, the names are asked at the first start only.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::founding::{self, FoundersError};
use super::run::tell_starting;
use super::settings::{PeerSetting, Settings, SrvSettings};
use crate::base::limits::{DISCOVERY_RETRY_MS_MAX, DISCOVERY_RETRY_MS_MIN};
use crate::net::Address;
use crate::net::resolve::{Srv, resolve, resolve_srv, srv_name};

/// Why no cluster came about.
#[derive(Debug, thiserror::Error)]
pub enum SrvError {
    #[error(
        "discovery_srv {domain}: no cluster within {waited:?}: {cause}. Every member asks the same records; discovery_wait is how long a \
         start waits"
    )]
    TimedOut { domain: String, waited: Duration, cause: String },
    #[error(transparent)]
    Founders(#[from] FoundersError),
}

/// Gives the settings the first members: those that an earlier start found, else those that are found now. `is_member`: there is data.
///
/// # Errors
/// [`SrvError`].
pub async fn settle(settings: &mut Settings, srv: &SrvSettings, is_member: bool) -> Result<(), SrvError> {
    let own = settings.peers.first().cloned().unwrap_or_default();
    let by = format!("discovery_srv {}", srv.domain);
    founding::settle(settings, by, &srv.token, is_member, found(srv, &own)).await
}

/// Asks until this member is among those that are found, for as long as the settings say.
async fn found(srv: &SrvSettings, own: &PeerSetting) -> Result<String, SrvError> {
    let (begun, mut told) = (Instant::now(), String::new());
    let mut pause = Duration::from_millis(DISCOVERY_RETRY_MS_MIN);
    loop {
        let left = srv.wait.saturating_sub(begun.elapsed());
        let looked = tokio::time::timeout(left, look(srv, own)).await;
        let cause = match looked {
            Ok(Ok(initial_cluster)) => {
                tracing::info!(domain = srv.domain, initial_cluster, "found all members");
                return Ok(initial_cluster);
            }
            Ok(Err(cause)) => cause,
            Err(_) if told.is_empty() => "the name server does not answer".to_owned(),
            Err(_) => told.clone(),
        };
        if left < pause {
            return Err(SrvError::TimedOut { domain: srv.domain.clone(), waited: srv.wait, cause });
        }
        tell_starting(&format!("discovery_srv: {cause}"));
        if cause != told {
            tracing::info!(domain = srv.domain, "{cause}");
            told = cause;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(DISCOVERY_RETRY_MS_MAX));
    }
}

/// The members as `initial_cluster` has them.
async fn look(srv: &SrvSettings, own: &PeerSetting) -> Result<String, String> {
    let own_places = places(&own.urls).await;
    let (mut members, mut failures, mut known) = (Vec::new(), Vec::new(), false);
    for (service, scheme) in [("etcd-server-ssl", "https"), ("etcd-server", "http")] {
        let name = srv_name(service, &srv.suffix, &srv.domain);
        match resolve_srv(&name).await {
            Ok(records) => {
                for Srv { target, port, .. } in records {
                    let host = target.trim_end_matches('.').to_owned();
                    let url = format!("{scheme}://{host}:{port}");
                    let is_own = !places(std::slice::from_ref(&url)).await.is_disjoint(&own_places);
                    known |= is_own;
                    members.push(if is_own { format!("{}={url}", own.name) } else { format!("{host}-{port}={url}") });
                }
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    members.sort();
    members.dedup();
    match members.as_slice() {
        [] => Err(failures.join("; ")),
        _ if !known => Err(format!(
            "no record names an address of this member, {}: set peer.advertise to what one of {} resolves to",
            own.urls.join(" "),
            members.join(" ")
        )),
        _ => Ok(members.join(",")),
    }
}

/// The IP addresses and ports behind URLs, as far as they are known.
async fn places(urls: &[String]) -> BTreeSet<(IpAddr, u16)> {
    let mut places = BTreeSet::new();
    for url in urls {
        let Ok(Address::Tcp { host, port }) = Address::from_url(&url.replacen("https://", "http://", 1)) else {
            continue;
        };
        places.extend(resolve(&host).await.unwrap_or_default().into_iter().map(|ip| (ip, port)));
    }
    places
}
