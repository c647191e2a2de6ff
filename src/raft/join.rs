//! Joining a cluster that runs: asking its members who they are, finding one's own place among them, and remembering it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::{Peer, StartError};
use super::peer::handshake::{Roster, inquire};
use crate::base::limits::{PEER_CONNECT_MS_MAX, PEER_HANDSHAKE_BYTES_MAX};
use crate::base::{ClusterId, MemberId};
use crate::disk;
use crate::kv::Member;
use crate::net::tls::ClientTls;
use crate::net::{self, Address, FrameReader, FrameWriter};

/// Beside the identity: under which ids a member joined, which only the cluster could tell.
const JOINED_FILE: &str = "joined.json";

/// A member's place in a cluster that it joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub cluster: ClusterId,
    pub member: MemberId,
    /// All members, this one included, as they were when it joined.
    pub peers: Vec<Peer>,
}

/// The place under which the member in `dir` joined; `None`: it is one of the first, or there is none yet.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn joined(dir: &Path) -> Result<Option<Place>, StartError> {
    let path = dir.join(JOINED_FILE);
    let failed = |why: String| StartError::Incomplete { dir: dir.to_owned(), why: format!("{JOINED_FILE}: {why}") };
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Remembers the place, before the directory is anybody's.
pub fn keep(dir: &Path, place: &Place) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    disk::replace(&dir.join(JOINED_FILE), &serde_json::to_vec(place)?)
}

/// Whether a member's data is in `dir`.
pub fn holds_data(dir: &Path) -> bool {
    dir.join(super::start::IDENTITY_FILE).exists()
}

/// Asks the members of `initial`, a list of names and peer URLs that `name` is among, for its place in their cluster.
///
/// # Errors
/// As etcd's: nobody answers, or the list is not that of the cluster.
pub async fn find_place(
    name: &str,
    initial: &[(String, Vec<String>)],
    dialling: &Arc<ClientTls>,
) -> Result<Place, StartError> {
    let own = initial.iter().find(|(peer, _)| peer == name).map_or(&[][..], |(_, urls)| urls);
    let others = initial.iter().filter(|(peer, _)| peer != name).flat_map(|(_, urls)| urls);
    let asked = others.map(|url| async move { (url, ask(url, dialling).await) });
    let mut found: Option<Roster> = None;
    for (url, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(roster) if roster.members.is_empty() => tracing::warn!("{url}: its cluster has not come into being"),
            // One that has not heard of the newcomer yet is behind.
            Ok(roster) if found.is_none() || roster.members.iter().any(|member| same(&member.peer_urls, own)) => {
                found = Some(roster);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("could not get cluster response from {url}: {error}"),
        }
    }
    let refused = |why: String| Err(StartError::Join(why));
    let Some(roster) = found else {
        return refused(
            "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs"
                .to_owned(),
        );
    };
    match place(name, initial, &roster) {
        Ok(place) => Ok(place),
        Err(why) => refused(format!("error validating peerURLs {}: {why}", shown(&roster))),
    }
}

async fn ask(url: &str, dialling: &Arc<ClientTls>) -> Result<Roster, String> {
    let address = Address::from_url(url).map_err(|error| error.to_string())?.secured(dialling);
    let wait = Duration::from_millis(PEER_CONNECT_MS_MAX);
    let connection = net::connect(&address, wait).await.map_err(|error| error.to_string())?;
    let (read, write) = tokio::io::split(connection);
    let mut reader = FrameReader::new(read, PEER_HANDSHAKE_BYTES_MAX);
    inquire(&mut reader, &mut FrameWriter::new(write)).await.map_err(|error| error.to_string())
}

/// Matches the list with the cluster's, member by member.
fn place(name: &str, initial: &[(String, Vec<String>)], roster: &Roster) -> Result<Place, String> {
    if initial.len() != roster.members.len() {
        return Err("member count is unequal".to_owned());
    }
    let mut own = None;
    let mut peers = Vec::new();
    for member in &roster.members {
        let Some((named, urls)) = initial.iter().find(|(_, urls)| same(urls, &member.peer_urls)) else {
            let urls = member.peer_urls.join(" ");
            return Err(format!("PeerURLs: no match found for existing member ({}, [{urls}])", member.id));
        };
        if named == name {
            own = Some(member.id);
        }
        peers.push(Peer { id: member.id, name: named.clone(), urls: urls.clone() });
    }
    let member =
        own.ok_or_else(|| format!("couldn't find local name \"{name}\" in the initial cluster configuration"))?;
    Ok(Place { cluster: roster.cluster, member, peers })
}

/// Whether both are the same URLs in whatever order; `localhost` is 127.0.0.1.
fn same(one: &[String], other: &[String]) -> bool {
    let normal = |urls: &[String]| {
        let mut urls: Vec<String> = urls.iter().map(|url| url.replace("://localhost:", "://127.0.0.1:")).collect();
        urls.sort();
        urls
    };
    normal(one) == normal(other)
}

/// A roster as etcd writes it.
fn shown(roster: &Roster) -> String {
    let member = |member: &Member| {
        format!(
            "{} {} [{}]",
            member.id,
            if member.name.is_empty() { "-" } else { &member.name },
            member.peer_urls.join(" ")
        )
    };
    let members: Vec<String> = roster.members.iter().map(member).collect();
    format!("{{ClusterID:{} Members:[{}]}}", roster.cluster, members.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn urls(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    #[test]
    fn the_list_must_be_the_clusters() {
        let member =
            |id, peer_urls: &[&str]| Member { id: MemberId(id), peer_urls: urls(peer_urls), ..Member::default() };
        let roster = Roster {
            cluster: ClusterId(7),
            members: vec![member(1, &["http://127.0.0.1:1", "http://a:2"]), member(2, &["http://b:1"])],
        };
        let initial = |b: &str| {
            let first = ("a".to_owned(), urls(&["http://a:2", "http://localhost:1"]));
            vec![first, ("b".to_owned(), urls(&[b]))]
        };
        let found = place("b", &initial("http://b:1"), &roster).unwrap();
        assert_eq!((found.cluster, found.member), (ClusterId(7), MemberId(2)));
        assert_eq!(found.peers[0].name, "a");
        assert_eq!(place("b", &initial("http://b:1")[1..], &roster).unwrap_err(), "member count is unequal");
        let error = place("b", &initial("http://b:9"), &roster).unwrap_err();
        assert_eq!(error, "PeerURLs: no match found for existing member (2, [http://b:1])");
        assert!(place("c", &initial("http://b:1"), &roster).unwrap_err().contains("local name \"c\""));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(joined(dir.path()).unwrap(), None);
        keep(dir.path(), &found).unwrap();
        assert_eq!(joined(dir.path()).unwrap(), Some(found));
        std::fs::write(dir.path().join(JOINED_FILE), "{").unwrap();
        assert!(joined(dir.path()).is_err());
    }
}
