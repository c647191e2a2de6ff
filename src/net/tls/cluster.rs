//! The folder that makes a machine a member: the cluster's authority with its key, and the member's own certificate.
//!
//! | file | what |
//! | --- | --- |
//! | `ca.pem` | the authorities that are trusted |
//! | `ca-key.pem` | the key of the one that signs |
//! | `revoked.txt` | serial numbers of certificates that the cluster takes no more |
//! | `ca-key-….pem` | while the authority is replaced: the key of the one that follows, by the beginning of its hash |
//! | `member.pem` | the member's certificate, the authority's behind it, and the member's key: one file, so that it changes in one step |

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::authority::{Authority, Fingerprint, Request, certificates_in, request};
use super::name::validity;
use super::{Identity, TlsError};
use crate::base::UnixMillis;
use crate::base::limits::MEMBER_CERTIFICATE_DAYS;
use crate::trust::hex;

/// Where a member's identity lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIdentity {
    folder: PathBuf,
}

impl ClusterIdentity {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Who is trusted.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn ca_key(&self) -> PathBuf {
        self.folder.join("ca-key.pem")
    }

    /// The member's certificate and key.
    pub fn member(&self) -> Identity {
        let file = self.folder.join("member.pem");
        Identity { certificate: file.clone(), key: file }
    }

    /// The member's certificate with all that goes with it, PEM.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn certificate(&self) -> Result<String, TlsError> {
        read(&self.member().certificate)
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.member().certificate.exists()
    }

    /// The authority, which signs.
    ///
    /// # Errors
    /// Its files cannot be read.
    pub fn authority(&self) -> Result<Authority, TlsError> {
        Authority::read(&read(&self.ca())?, &self.authority_key()?)
    }

    /// The key of the authority, PEM: for those who become members.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn authority_key(&self) -> Result<String, TlsError> {
        read(&self.ca_key())
    }

    /// Certificates that the cluster takes no more.
    pub fn revoked(&self) -> PathBuf {
        self.folder.join("revoked.txt")
    }

    /// Writes them down, if they are not there already; says whether they were not.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn note_revoked(&self, serials: &BTreeSet<String>) -> Result<bool, TlsError> {
        let lines: String = serials.iter().map(|serial| format!("{serial}\n")).collect();
        let text =
            format!("# Serial numbers of certificates that the cluster takes no more; the node writes this.\n{lines}");
        let file = self.revoked();
        if std::fs::read_to_string(&file).is_ok_and(|known| known == text) {
            return Ok(false);
        }
        replace(&file, &text).map(|()| true)
    }

    fn successor_key_file(&self, hash: &Fingerprint) -> PathBuf {
        self.folder.join(format!("ca-key-{}.pem", hex(&hash[..8])))
    }

    /// Keeps the key of an authority that is to follow.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_successor_key(&self, hash: &Fingerprint, key: &str) -> Result<(), TlsError> {
        replace(&self.successor_key_file(hash), key)
    }

    /// The key of the authority with this hash, if it is here: as that which is to follow, or because it signs already.
    pub fn key_of(&self, hash: &Fingerprint) -> Option<String> {
        let signs = || {
            let authority = self.authority().ok()?;
            (authority.fingerprint().ok()? == *hash).then(|| self.authority_key().ok())?
        };
        read(&self.successor_key_file(hash)).ok().or_else(signs)
    }

    /// Whether the member shows a certificate with just `trusted` behind it, which is the last thing that [`Self::adopt`] does.
    pub fn shows(&self, trusted: &str) -> bool {
        let shown = read(&self.member().certificate).unwrap_or_default();
        certificates_in(&shown).skip(1).eq(certificates_in(trusted))
    }

    /// Goes over to other authorities, of which `key` is the first one's, with a new certificate of it. A crash in between leaves
    /// files that fit each other.
    ///
    /// # Errors
    /// What does not fit, or cannot be written; then it may be done again.
    pub fn adopt(&self, trusted: &str, key: &str, hosts: &[String], now: UnixMillis) -> Result<(), TlsError> {
        let authority = Authority::read(trusted, key)?;
        let Request { key: own_key, text } = request(hosts)?;
        let certificate = authority.admit_member(&text, now, MEMBER_CERTIFICATE_DAYS)?;
        // The key that signs so far is of one of those that are trusted in between.
        let both = format!("{trusted}{}", read(&self.ca())?);
        replace(&self.ca(), &both)?;
        replace(&self.ca_key(), key)?;
        replace(&self.ca(), trusted)?;
        replace(&self.member().certificate, &format!("{certificate}{own_key}"))?;
        let file = self.successor_key_file(&authority.fingerprint()?);
        match std::fs::remove_file(&file) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(TlsError::File { file, cause }),
            _ => Ok(()),
        }
    }

    /// Puts all files there, the member's last: where that one is, all are.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, ca: &str, ca_key: &str, certificate: &str, key: &str) -> Result<(), TlsError> {
        let failed = |cause| TlsError::File { file: self.folder.clone(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        replace(&self.ca(), ca)?;
        replace(&self.ca_key(), ca_key)?;
        replace(&self.member().certificate, &format!("{certificate}{key}"))
    }

    /// The empty folder in which an identity is made before it has its place.
    ///
    /// # Errors
    /// What an earlier call has left cannot be removed.
    pub fn draft(&self) -> Result<Self, TlsError> {
        let folder = self.folder.with_extension("new");
        match std::fs::remove_dir_all(&folder) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(TlsError::File { file: folder, cause }),
            _ => Ok(Self { folder }),
        }
    }

    /// Gives an identity that was made elsewhere its place, in one step.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn take(&self, draft: &Self) -> Result<(), TlsError> {
        let failed = |cause| TlsError::File { file: self.folder.clone(), cause };
        // What a call that was killed has left there is nobody's identity.
        if self.folder.exists() && !self.exists() {
            std::fs::remove_dir_all(&self.folder).map_err(failed)?;
        }
        std::fs::rename(&draft.folder, &self.folder).map_err(failed)?;
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
    }

    /// Makes the first member of a new cluster.
    ///
    /// # Errors
    /// What cannot be made or written.
    pub fn found(&self, cluster: &str, hosts: &[String], now: UnixMillis) -> Result<Authority, TlsError> {
        let (authority, ca_key) = Authority::found(cluster, now)?;
        let Request { key, text } = request(hosts)?;
        let certificate = authority.admit_member(&text, now, MEMBER_CERTIFICATE_DAYS)?;
        self.write(authority.certificate(), &ca_key, &certificate, &key)?;
        Ok(authority)
    }

    /// When the member's certificate is due to be renewed: at two thirds of its life.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn renewal_due(&self) -> Result<UnixMillis, TlsError> {
        let (from, until) = validity(&self.member().certificate)?;
        Ok(UnixMillis(from.0 + (until.0 - from.0) / 3 * 2))
    }

    /// Gives the member a new key and certificate, if that is due; says whether it was.
    ///
    /// # Errors
    /// What cannot be read, made or written; what was there before stays.
    pub fn renew(&self, hosts: &[String], now: UnixMillis) -> Result<bool, TlsError> {
        if now < self.renewal_due()? {
            return Ok(false);
        }
        let Request { key, text } = request(hosts)?;
        let certificate = self.authority()?.admit_member(&text, now, MEMBER_CERTIFICATE_DAYS)?;
        replace(&self.member().certificate, &format!("{certificate}{key}"))?;
        Ok(true)
    }
}

fn read(file: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(file).map_err(|cause| TlsError::File { file: file.to_owned(), cause })
}

/// Puts a file in the place of another in one step; only the owner may read it.
fn replace(file: &Path, text: &str) -> Result<(), TlsError> {
    let failed = |cause| TlsError::File { file: file.to_owned(), cause };
    let draft = file.with_extension("pem.new");
    let mut out =
        std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
    std::fs::rename(&draft, file).map_err(failed)
}
