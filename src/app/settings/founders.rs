//! The first members, out of `initial_cluster` or what discovery found, and where a discovery service is.

use super::check::check_url;
use super::{PeerSetting, Settings};
use crate::base::{ClusterId, Founders, MemberId};
use crate::net::Address;

/// Names with their peer URLs, in the order of their first mention, and what is wrong with the list.
pub fn named(initial_cluster: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let founders = Founders::parse(initial_cluster);
    let strange = founders.strange.iter().map(|item| format!("`{item}` is not name=http://host:port"));
    let mistakes = strange.chain(founders.urls().filter_map(|url| check_url(url).err())).collect();
    (founders.members, mistakes)
}

pub fn peers(named: Vec<(String, Vec<String>)>, token: &str) -> Vec<PeerSetting> {
    let peer = |(name, urls): (String, Vec<String>)| PeerSetting { id: MemberId::computed(&urls, token), name, urls };
    named.into_iter().map(peer).collect()
}

/// Two members that are one by their URLs.
pub fn twins(peers: &[PeerSetting]) -> Option<(&str, &str)> {
    peers.iter().enumerate().find_map(|(at, peer)| {
        let twin = peers[..at].iter().find(|other| other.id == peer.id)?;
        Some((twin.name.as_str(), peer.name.as_str()))
    })
}

impl Settings {
    /// Takes the first members from elsewhere, as `initial_cluster` would have them.
    ///
    /// # Errors
    /// What is no member in it, or that this node is not among them.
    pub fn take_founders(&mut self, initial_cluster: &str, token: &str) -> Result<(), String> {
        let (named, mistakes) = named(initial_cluster);
        let peers = peers(named, token);
        if let Some(mistake) = mistakes.into_iter().next() {
            return Err(mistake);
        }
        if let Some((one, other)) = twins(&peers) {
            return Err(format!("`{one}` and `{other}` have the same peer URLs"));
        }
        let own = peers.iter().find(|peer| peer.name == self.name);
        let own = own.ok_or_else(|| format!("this node's name, `{}`, is not in {initial_cluster}", self.name))?;
        self.member = own.id;
        self.cluster = ClusterId::computed(peers.iter().map(|peer| peer.id));
        self.peers = peers;
        Ok(())
    }
}

/// Where a discovery service is, and the path of the token there.
///
/// # Errors
/// What is no `http://host:port/TOKEN`.
pub fn discovery_place(url: &str) -> Result<(Address, String), String> {
    let form = "write http://host:port/TOKEN, as `/new?size=N` of any node gives it";
    if url.starts_with("https://") {
        return Err(format!("`{url}` asks for TLS, which discovery does not speak; {form}"));
    }
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("`{url}` is no URL; {form}"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    if path.is_empty() || path.contains(['?', '#']) {
        return Err(format!("`{url}` names no token; {form}"));
    }
    let port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if port { authority.to_owned() } else { format!("{authority}:80") };
    match address.parse() {
        Ok(address @ Address::Tcp { .. }) => Ok((address, format!("/{path}"))),
        _ => Err(format!("`{url}` has no host; {form}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_discovery_url_names_a_place_and_a_token() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        let cases = [
            ("http://h:2379/abc", tcp("h", 2379), "/abc"),
            ("http://h/abc/", tcp("h", 80), "/abc"),
            ("http://[::1]/v2/keys/_etcd/registry/x", tcp("::1", 80), "/v2/keys/_etcd/registry/x"),
        ];
        for (url, address, path) in cases {
            assert_eq!(discovery_place(url).unwrap(), (address, path.to_owned()), "{url}");
        }
        for url in ["https://h/abc", "h:2379/abc", "http://h:2379", "http://h:2379/", "http:///abc", "http://h/a?b"] {
            assert!(discovery_place(url).unwrap_err().contains("write http://host:port/TOKEN"), "{url}");
        }
    }

    #[test]
    fn discovery_takes_the_place_of_the_first_members() {
        let url = "http://h:2379/abc";
        let pairs = [("name", "n2"), ("discovery", url), ("peer.advertise", "http://b:1,http://b:2")];
        let mut settings = Settings::from_pairs(&pairs).unwrap();
        let own = settings.peers[0].clone();
        assert_eq!((settings.peers.len(), own.id), (1, MemberId::computed(&own.urls, url)));
        settings.take_founders("n1=http://a:1,n2=http://b:1,n2=http://b:2", url).unwrap();
        assert_eq!((settings.peers.len(), settings.member), (2, own.id));
        for (list, expected) in [
            ("n1=http://a:1", "is not in n1="),
            ("n2=http://a:1,n1=http://a:1", "`n2` and `n1` have the same peer URLs"),
            ("n2", "is not name="),
            ("n2=ftp://a", "is no URL"),
        ] {
            assert!(settings.take_founders(list, url).unwrap_err().contains(expected), "{list}");
        }
    }

    #[test]
    fn what_discovery_cannot_go_with_is_a_mistake() {
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("initial_cluster", "localhost=http://h:1")], "choose one of the two"),
            (&[("peer.listen", "0.0.0.0:2380")], "where the other members reach this one"),
            (&[("initial_cluster_state", "existing")], "into initial_cluster"),
            (&[("discovery_wait", "soon")], "write a time"),
            (&[("discovery_proxy", "nowhere")], "it has no port"),
        ];
        for (more, expected) in cases {
            let pairs: Vec<_> = [("discovery", "http://h/t")].iter().chain(more).copied().collect();
            let mistakes = Settings::from_pairs(&pairs).unwrap_err().to_string();
            assert!(mistakes.contains(expected), "{more:?}: {mistakes}");
        }
    }
}
