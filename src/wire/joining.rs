//! The JSON of the doors by which machines join a cluster and people get certificates: `/node/v1/…`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{ClusterId, MemberId, UnixMillis};

/// Where a machine asks to join.
pub const JOIN_PATH: &str = "/node/v1/join";
/// Tokens: all of them, one more; one below it.
pub const TOKENS_PATH: &str = "/node/v1/tokens";
/// Certificates for clients.
pub const CERTIFICATES_PATH: &str = "/node/v1/certificates";

/// The authority that vouches for members and clients: how it stands; another one is made; one below it.
pub const AUTHORITY_PATH: &str = "/node/v1/authority";
/// The former authority is trusted no more.
pub const AUTHORITY_FINISH_PATH: &str = "/node/v1/authority/finish";

/// What a machine says that wants to join.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Join {
    /// The token's id.
    pub token: String,
    /// Its secret, in hex.
    pub secret: String,
    pub name: String,
    pub peer_urls: Vec<String>,
    /// A certificate request, PEM.
    pub request: String,
}

/// What it gets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Its certificate with the authority's behind it, PEM.
    pub certificate: String,
    /// Who is trusted, PEM.
    pub authorities: String,
    /// The key of the authority, by which a member renews its own certificate and lets others in.
    pub authority_key: String,
    pub cluster: ClusterId,
    pub member: MemberId,
    /// All members, this one included.
    pub peers: Vec<Peer>,
}

/// A member and where the others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    pub id: MemberId,
    pub name: String,
    pub urls: Vec<String>,
}

/// Without the key.
impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} of cluster {}", self.member, self.cluster)
    }
}

/// Asks for a token.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MakeToken {
    pub ttl_ms: i64,
    pub uses: u32,
}

/// A token that was made, as people pass it on.
#[derive(Clone, Serialize, Deserialize)]
pub struct MadeToken {
    pub id: String,
    pub token: String,
    pub until: UnixMillis,
}

/// A token as it is listed; its secret is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedToken {
    pub id: String,
    /// `good`, `used`, `expired` or `revoked`.
    pub state: String,
    pub made: UnixMillis,
    pub until: UnixMillis,
    pub uses_left: u32,
    pub used: u32,
}

/// All tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tokens {
    pub tokens: Vec<ListedToken>,
}

/// Asks for a client's certificate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certify {
    /// Empty: whoever asks.
    pub user: String,
    /// A certificate request, PEM.
    pub request: String,
    pub days: u32,
}

/// A client's certificate, and all that goes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certified {
    pub user: String,
    pub certificate: String,
    pub authorities: String,
    /// Client URLs of the members.
    pub endpoints: Vec<String>,
}

/// A certificate that the cluster gave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedCertificate {
    pub serial: String,
    /// The user whom it names, or the member.
    pub name: String,
    pub member: Option<MemberId>,
    /// `good`, `expired` or `revoked`.
    pub state: String,
    pub made: UnixMillis,
    pub until: UnixMillis,
    pub revoked: Option<UnixMillis>,
}

/// Certificates: all of them, or those that were revoked just now.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Certificates {
    pub certificates: Vec<ListedCertificate>,
}

/// Asks for another authority.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotate {
    /// How long the former one stays trusted at least.
    pub keep_former_ms: i64,
    /// The one that is on its way is given up, because its key was lost.
    pub anew: bool,
}

/// Asks for the end of the former authority.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Finish {
    /// Members that have not gone over are left out.
    pub force: bool,
}

/// How the authority stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityState {
    /// Of what was read, for the question what has changed since.
    pub revision: i64,
    /// SHA-256 of its certificate, in hex.
    pub hash: String,
    pub until: UnixMillis,
    /// Its certificate and those that are trusted beside it, PEM.
    pub trusted: String,
    /// The one before it, while that one is trusted.
    pub former: Option<Former>,
}

/// An authority that is still trusted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Former {
    pub hash: String,
    pub begun: UnixMillis,
    pub keep_until: UnixMillis,
    /// Members that have no certificate of the new one yet.
    pub missing: Vec<Peer>,
}

/// Why it was not done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Refused {
    pub error: String,
    /// The same may be done in a moment.
    #[serde(default)]
    pub later: bool,
}
