//! What `node ctl login` keeps, so that the faces need no flags: whom to ask, whom to trust and as whom to come.
//!
//! The folder is `$NODE_CREDENTIALS`, or `node` in `$XDG_CONFIG_HOME` or `~/.config`, and only its owner may look into it. On a machine
//! of the cluster, whoever may read the member's own identity comes as the member where he has logged in nowhere.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::net::tls::{ClientTls, ClusterIdentity, Identity};

/// Where a node of this machine serves those whom the file's mode lets in.
pub const SOCKET: &str = "/run/node/node.sock";
/// Where `node init` and `node join` put a member's identity.
const MEMBER: &str = "/var/lib/node/identity";

/// The folder, if this user has a home.
pub fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("NODE_CREDENTIALS")
        .or_else(|| variable("XDG_CONFIG_HOME").map(|home| home.join("node")))
        .or_else(|| variable("HOME").map(|home| home.join(".config/node")))
}

fn endpoints_file(folder: &Path) -> PathBuf {
    folder.join("endpoints")
}

/// The endpoints that were logged in at, with commas.
pub fn logged_in() -> Option<String> {
    let kept = folder().and_then(|folder| std::fs::read_to_string(endpoints_file(&folder)).ok());
    kept.map(|text| text.split_whitespace().collect::<Vec<_>>().join(",")).filter(|text| !text.is_empty())
}

/// The same, or else the socket of this machine's node, if there is one.
pub fn endpoints() -> Option<String> {
    logged_in().or_else(|| Path::new(SOCKET).exists().then(|| format!("unix://{SOCKET}")))
}

/// How TLS is spoken where no flag says it.
pub fn tls() -> ClientTls {
    let of = |ca: PathBuf, identity: Identity| ClientTls {
        trusted_ca: Some(ca),
        identity: Some(identity),
        ..ClientTls::default()
    };
    let logged_in = folder().map(|folder| (folder.join("ca.pem"), folder.join("client.pem")));
    if let Some((ca, client)) = logged_in.filter(|(ca, client)| ca.exists() && client.exists()) {
        return of(ca, Identity { certificate: client.clone(), key: client });
    }
    let member = ClusterIdentity::new(MEMBER);
    if std::fs::File::open(&member.member().certificate).is_ok() {
        return of(member.ca(), member.member());
    }
    ClientTls::default()
}

/// Keeps what was given for a login.
///
/// # Errors
/// What cannot be written.
pub fn keep(folder: &Path, endpoints: &[String], authorities: &str, certificate_and_key: &str) -> anyhow::Result<()> {
    let mut make = std::fs::DirBuilder::new();
    make.recursive(true).mode(0o700).create(folder).with_context(|| folder.display().to_string())?;
    let files = [
        (folder.join("ca.pem"), authorities.to_owned()),
        (folder.join("client.pem"), certificate_and_key.to_owned()),
        (endpoints_file(folder), format!("{}\n", endpoints.join("\n"))),
    ];
    for (file, text) in files {
        let draft = file.with_extension("new");
        let mut options = std::fs::File::options();
        let written = options.write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let written = written.and_then(|mut out| out.write_all(text.as_bytes()));
        written.and_then(|()| std::fs::rename(&draft, &file)).with_context(|| file.display().to_string())?;
    }
    Ok(())
}
