//! Listeners: where, whether within TLS, and by which certificates.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::check::Checker;
use crate::net::tls::{ClientTls, ClusterIdentity, Identity, MEMBER_NAME, Protocol, Terms, TlsError, make_own};

/// An address to listen on, and whether TLS is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub address: SocketAddr,
    pub tls: bool,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(self.tls), self.address)
    }
}

/// What a URL begins with.
pub fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// What listeners show within TLS, and whom they let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `None`: a certificate that the node makes for itself.
    pub identity: Option<Identity>,
    /// Who comes needs a certificate that one of these vouches for; `None`: nobody needs one.
    pub trusted_ca: Option<PathBuf>,
    /// For clients: the common name of the certificate is that of a user.
    pub client_cert_auth: bool,
    pub revoked: Option<PathBuf>,
    /// The only common name that is let in.
    pub allowed_name: Option<String>,
    /// The certificates are those that the cluster itself gives out, and this file has those of them that it takes no more.
    pub of_cluster: Option<PathBuf>,
}

impl TlsSettings {
    /// What a server shows and asks for. A certificate of its own is made in `folder`, for `hosts`.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn terms(&self, folder: &Path, hosts: &[String], protocols: &[Protocol]) -> Result<Terms, TlsError> {
        let identity = match &self.identity {
            Some(identity) => identity.clone(),
            None => make_own(folder, hosts)?,
        };
        Ok(Terms {
            identity,
            trusted_ca: self.trusted_ca.clone(),
            revoked: self.revoked.clone(),
            allowed_name: self.allowed_name.clone(),
            listed: self.of_cluster.clone(),
            // A member that was removed is told so, at the members' port.
            marks_listed: self.allowed_name.is_some(),
            // Among members nobody is let in who is not known.
            admits_strangers: self.of_cluster.is_some() && self.allowed_name.is_none(),
            newest_only: self.of_cluster.is_some() && self.allowed_name.is_some(),
            protocols: protocols.to_vec(),
        })
    }

    /// How a member with this certificate connects to the others. Where each makes its own, nobody can vouch for anybody.
    pub fn dialling(&self, identity: &Identity) -> ClientTls {
        ClientTls {
            trusted_ca: self.trusted_ca.clone(),
            identity: Some(identity.clone()),
            insecure: self.identity.is_none(),
            pinned: None,
            revoked: self.of_cluster.clone(),
        }
    }
}

/// The keys of one kind of listener: `client.…` or `peer.…`.
pub struct Keys {
    pub cert_file: &'static str,
    pub key_file: &'static str,
    pub trusted_ca_file: &'static str,
    pub client_cert_auth: &'static str,
    pub crl_file: &'static str,
    pub auto_tls: &'static str,
    pub allowed_name: Option<&'static str>,
}

pub const CLIENT: Keys = Keys {
    cert_file: "client.cert_file",
    key_file: "client.key_file",
    trusted_ca_file: "client.trusted_ca_file",
    client_cert_auth: "client.client_cert_auth",
    crl_file: "client.crl_file",
    auto_tls: "client.auto_tls",
    allowed_name: None,
};

pub const PEER: Keys = Keys {
    cert_file: "peer.cert_file",
    key_file: "peer.key_file",
    trusted_ca_file: "peer.trusted_ca_file",
    client_cert_auth: "peer.client_cert_auth",
    crl_file: "peer.crl_file",
    auto_tls: "peer.auto_tls",
    allowed_name: Some("peer.cert_allowed_cn"),
};

/// What follows for a kind of listener from the identity that the cluster gave this member.
fn of_cluster(checker: &mut Checker<'_>, keys: &Keys, identity: &ClusterIdentity) -> TlsSettings {
    let given = |checker: &Checker<'_>, path| !checker.text(path).is_empty() && checker.text(path) != "false";
    let needless = [keys.cert_file, keys.key_file, keys.trusted_ca_file, keys.auto_tls];
    for path in needless.into_iter().chain(keys.allowed_name) {
        if given(checker, path) {
            checker.wrong(path, "`identity` says it already; take one of the two away");
        }
    }
    TlsSettings {
        identity: Some(identity.member()),
        trusted_ca: Some(identity.ca()),
        client_cert_auth: true,
        revoked: checker.optional_path(keys.crl_file),
        allowed_name: keys.allowed_name.map(|_| MEMBER_NAME.to_owned()),
        of_cluster: Some(identity.revoked()),
    }
}

/// What the settings say of TLS; `None`: nothing.
pub fn settle(checker: &mut Checker<'_>, keys: &Keys, identity: Option<&ClusterIdentity>) -> Option<TlsSettings> {
    if let Some(identity) = identity {
        return Some(of_cluster(checker, keys, identity));
    }
    let (certificate, key) = (checker.optional_path(keys.cert_file), checker.optional_path(keys.key_file));
    let trusted_ca = checker.optional_path(keys.trusted_ca_file);
    let revoked = checker.optional_path(keys.crl_file);
    let client_cert_auth = checker.truth(keys.client_cert_auth);
    let auto = checker.truth(keys.auto_tls);
    let allowed_name = keys.allowed_name.map(|path| checker.text(path)).filter(|name| !name.is_empty());
    if trusted_ca.is_none() {
        let needs = format!("name who vouches for clients: {}", keys.trusted_ca_file);
        for (path, given) in [(keys.client_cert_auth, client_cert_auth), (keys.crl_file, revoked.is_some())] {
            if given {
                checker.wrong(path, &needs);
            }
        }
        if let (Some(path), Some(_)) = (keys.allowed_name, &allowed_name) {
            checker.wrong(path, &needs);
        }
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (Some(_), None) => {
            checker.wrong(keys.key_file, &format!("{} is given: write the file of its key", keys.cert_file));
            return None;
        }
        (None, Some(_)) => {
            checker.wrong(keys.cert_file, &format!("{} is given: write the file of its certificate", keys.key_file));
            return None;
        }
        (None, None) if auto => None,
        (None, None) => {
            if trusted_ca.is_some() {
                let needs =
                    format!("a listener needs {} and {} to ask for certificates", keys.cert_file, keys.key_file);
                checker.wrong(keys.trusted_ca_file, &needs);
            }
            return None;
        }
    };
    Some(TlsSettings { identity, trusted_ca, client_cert_auth, revoked, allowed_name, of_cluster: None })
}

/// The addresses at `path`: `address:port`, which speaks TLS where there is a certificate, or with `http://` or `https://` before
/// it; `localhost` is 127.0.0.1.
pub fn listens(checker: &mut Checker<'_>, path: &str, keys: &Keys, has_certificate: bool) -> Vec<Listen> {
    let mut listens = Vec::new();
    for item in checker.list(path) {
        let (bare, tls) = match (item.strip_prefix("http://"), item.strip_prefix("https://")) {
            (Some(bare), _) => (bare, false),
            (_, Some(bare)) => (bare, true),
            _ => (item.as_str(), has_certificate),
        };
        let address = bare.trim_end_matches('/').replace("localhost:", "127.0.0.1:").parse();
        match address {
            Ok(_) if tls && !has_certificate => {
                let needs = format!(
                    "`{item}` needs a certificate: {} and {}, or {}",
                    keys.cert_file, keys.key_file, keys.auto_tls
                );
                checker.wrong(path, &needs);
            }
            Ok(address) => listens.push(Listen { address, tls }),
            Err(_) => checker.wrong(path, &format!("`{item}` is not address:port, for example 127.0.0.1:2379")),
        }
    }
    listens
}
