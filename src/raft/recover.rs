//! A member's data made into those of a new cluster of that member alone: the way on when a quorum is gone for good.
//!
//! All of the member's log is applied, whether it was known to be committed or not: it cannot be told any more what the others had
//! acknowledged, so that nothing is left out that may have been. Then the state begins a new cluster, as a restored one does, under a
//! new id: no member of the old one can vote in it, and those that come back are told so by this member and stop. The data that were
//! there are kept beside the new ones. Machines of the old cluster stay in the list of machines for a time, so that their nodes can join
//! the new one before their units are moved.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::hub::Hub;
use super::join::{self, Place};
use super::leases::Leases;
use super::machine::Core;
use super::options::{Peer, StartError};
use super::patience::Patience;
use super::seed::{Seed, SeedError, seed};
use super::start::{Files, IDENTITY_FILE, open_blocking};
use super::types::{self, Entry};
use crate::base::limits::{PEER_APPEND_BYTES_MAX, WAL_SEGMENT_BYTES};
use crate::base::{Clock, ClusterId, MemberId};
use crate::disk::{Database, DiskError};
use crate::kv::{self, Member, Op, Tables, TablesError};

/// Within a store's directory: the clusters that were given up for this one.
const FORMER_FILE: &str = "former.json";
/// Entries in one transaction.
const APPLIED_AT_ONCE: usize = 256;

/// What a member that does not run has on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    pub cluster: ClusterId,
    pub member: MemberId,
    /// All members by the newest entry about them, this one included, and whether they vote.
    pub members: Vec<(Member, bool)>,
    /// Where its log ends.
    pub log_term: u64,
    pub log_index: u64,
}

/// What a recovery has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub cluster: ClusterId,
    /// Where the data of the old one are.
    pub old: PathBuf,
    /// The machines that are expected back, by the names of their members.
    pub awaited: Vec<String>,
}

/// Why data are not made into those of a new cluster. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("{}: no member's data are here: {why}", dir.display())]
    Absent { dir: PathBuf, why: String },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("{}: {why}", dir.display())]
    State { dir: PathBuf, why: String },
    #[error("no machine and no member is called {word}; the members are {}", members.join(", "))]
    Unknown { word: String, members: Vec<String> },
}

/// A member's data, opened while it does not run.
pub struct Stopped {
    dir: PathBuf,
    files: Files,
    /// What its log has beyond its state.
    rest: Vec<Entry>,
    remains: Remains,
    clock: Arc<dyn Clock>,
}

impl Stopped {
    /// Opens the data in the store's directory `dir`, as the member itself does at its start.
    ///
    /// # Errors
    /// [`RecoverError`]; [`WalError::InUse`](crate::wal::WalError::InUse) within it where the node runs.
    pub async fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, RecoverError> {
        let (cluster, member) = identity(dir)?;
        let text = format!("cluster {cluster} member {member}");
        let files = open_blocking(dir, &text, WAL_SEGMENT_BYTES, |database| load(database, clock.clone()))?;
        let state = |why: String| RecoverError::State { dir: dir.to_owned(), why };
        let (applied, _) = files.core.recorded();
        let rest =
            unapplied(&files, applied.map_or(0, |id| id.index + 1)).await.map_err(|error| state(error.to_string()))?;
        let members = members(&files, &rest).map_err(state)?;
        let (log_term, log_index) = files.log.last().map_or((0, 0), |id| (id.leader_id.term, id.index));
        let remains = Remains { cluster, member, members, log_term, log_index };
        Ok(Self { dir: dir.to_owned(), files, rest, remains, clock })
    }

    pub fn remains(&self) -> &Remains {
        &self.remains
    }

    /// Makes the new cluster, which expects the machines of the old one back for `grace_ms`, but for those that are `gone` for good: ids,
    /// or names of members. Killed at any point, it leaves the directory as it was or as it is to be. Blocks.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover(self, grace_ms: i64, gone: Vec<String>) -> Result<Recovered, RecoverError> {
        let Self { dir, files, rest, remains, clock } = self;
        let own = remains.members.iter().find(|(member, _)| member.id == remains.member);
        let Some((own, _)) = own.cloned() else {
            let why = format!("member {} is none of its own cluster's: it was removed", remains.member);
            return Err(RecoverError::State { dir, why });
        };
        let cluster = ClusterId(rand::random());
        let peer = Peer { id: own.id, name: own.name.clone(), urls: own.peer_urls.clone() };
        let members = remains.members.iter().map(|(member, _)| member.clone()).collect();
        let patience = Patience { grace_ms, gone, members };
        let mut awaited = Vec::new();
        let new = Seed {
            cluster,
            member: own.id,
            peers: vec![peer.clone()],
            members: vec![Member { learner: false, ..own }],
            skip: 0,
            patience: (grace_ms > 0).then(|| patience.clone()),
            wal_segment_bytes: WAL_SEGMENT_BYTES,
        };
        let draft = sibling(&dir, "recovered");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |cause| RecoverError::Io { path, cause }
        };
        match std::fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&draft)(error)),
            _ => {}
        }
        let database = files.core.database().map_err(|why| RecoverError::State { dir: dir.clone(), why })?;
        let parent = dir.parent().unwrap_or(Path::new("/"));
        seed(&draft, &new, |into| {
            // Between the two, so that neither has to be whole in memory.
            let mut copy = nameless(&sibling(&dir, "copy")).map_err(at(parent))?;
            let copied = |error: DiskError| RecoverError::from(SeedError::from(error));
            let mut out = BufWriter::new(&copy);
            database.export(&database.reader(), &mut out).map_err(copied)?;
            out.flush().map_err(at(parent))?;
            drop(out);
            copy.rewind().map_err(at(parent))?;
            into.import(&mut BufReader::new(&copy)).map_err(copied)?;
            // On the copy: the old data stay what they are, should this not come to its end.
            let state = |why: String| RecoverError::State { dir: draft.clone(), why };
            let core = load(into.clone(), clock.clone()).map_err(state)?;
            rest.chunks(APPLIED_AT_ONCE).try_for_each(|entries| core.apply(entries).map(drop)).map_err(state)?;
            awaited_in(&into.reader(), &patience, remains.member).map(|names| awaited = names)
        })?;
        let mut given_up = former(&dir).map_err(at(&dir))?;
        given_up.push(remains.cluster);
        keep_former(&draft, &given_up).map_err(at(&draft))?;
        join::keep(&draft, &Place { cluster, member: remains.member, peers: vec![peer] }).map_err(at(&draft))?;
        files.core.close();
        files.log.close();
        renameat_with(CWD, &draft, CWD, &dir, RenameFlags::EXCHANGE).map_err(|error| at(&dir)(error.into()))?;
        let old = sibling(&dir, &format!("of-{}", remains.cluster));
        std::fs::rename(&draft, &old).map_err(at(&old))?;
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(at(parent))?;
        Ok(Recovered { cluster, old, awaited })
    }
}

/// Whom the new cluster expects back.
fn awaited_in(tables: &impl Tables, patience: &Patience, own: MemberId) -> Result<Vec<String>, RecoverError> {
    let damaged = |error: TablesError| RecoverError::from(SeedError::from(error));
    if let Some(word) = patience.unknown(tables).map_err(damaged)?.first() {
        let members = patience.members.iter().map(|member| member.name.clone()).collect();
        return Err(RecoverError::Unknown { word: (*word).to_owned(), members });
    }
    match patience.grace_ms {
        0 => Ok(Vec::new()),
        _ => patience.awaited(tables, own).map_err(damaged),
    }
}

/// A file that is gone with its handle.
fn nameless(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    std::fs::remove_file(path).map(|()| file)
}

fn sibling(dir: &Path, ending: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn load(database: Database, clock: Arc<dyn Clock>) -> Result<Arc<Core>, String> {
    Core::load(database, Hub::new(), Leases::new(clock, Duration::MAX), u64::MAX)
}

/// What the log has from an index on.
async fn unapplied(files: &Files, from: u64) -> io::Result<Vec<Entry>> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let next = all.last().map_or(from, |entry| entry.log_id.index + 1);
        let entries = files.log.read(next, u64::MAX, PEER_APPEND_BYTES_MAX).await?;
        if entries.is_empty() {
            return Ok(all);
        }
        all.extend(entries);
    }
}

/// All members by the newest entry about them, and whether they vote.
fn members(files: &Files, rest: &[Entry]) -> Result<Vec<(Member, bool)>, String> {
    let database = files.core.database()?;
    let mut known = kv::members(&database.reader()).map_err(|error| error.to_string())?;
    let mut membership = files.core.recorded().1.membership().clone();
    for entry in rest {
        match &entry.payload {
            EntryPayload::Membership(newer) => membership = newer.clone(),
            EntryPayload::Normal(batch) => {
                for command in batch.commands().map_err(|error| error.to_string())? {
                    if let Op::MemberUpdate(member) = command.op {
                        known.retain(|older| older.id != member.id);
                        known.push(member);
                    }
                }
            }
            EntryPayload::Blank => {}
        }
    }
    let voters: Vec<u64> = membership.voter_ids().collect();
    let member = |(id, node): (&u64, &types::Node)| {
        let told = known.iter().find(|member| member.id.0 == *id).cloned().unwrap_or_default();
        (Member { id: MemberId(*id), peer_urls: node.urls.clone(), ..told }, voters.contains(id))
    };
    Ok(membership.nodes().map(member).collect())
}

/// Whose data a directory holds, as `claim` has written it.
fn identity(dir: &Path) -> Result<(ClusterId, MemberId), RecoverError> {
    let absent = |why: String| RecoverError::Absent { dir: dir.to_owned(), why };
    let text = std::fs::read_to_string(dir.join(IDENTITY_FILE)).map_err(|error| absent(error.to_string()))?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let id = |text: &str| u64::from_str_radix(text, 16).ok();
    match words.as_slice() {
        ["cluster", cluster, "member", member] => id(cluster).zip(id(member)),
        _ => None,
    }
    .map(|(cluster, member)| (ClusterId(cluster), MemberId(member)))
    .ok_or_else(|| absent(format!("{IDENTITY_FILE} holds `{}`", text.trim())))
}

#[derive(Default, Serialize, Deserialize)]
struct Former {
    clusters: Vec<ClusterId>,
}

/// The clusters that were given up for the one whose data are in `dir`.
///
/// # Errors
/// A file that cannot be read.
pub fn former(dir: &Path) -> io::Result<Vec<ClusterId>> {
    match std::fs::read(dir.join(FORMER_FILE)) {
        Ok(text) => Ok(serde_json::from_slice::<Former>(&text).map_err(io::Error::other)?.clusters),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn keep_former(dir: &Path, clusters: &[ClusterId]) -> io::Result<()> {
    let mut file = File::create(dir.join(FORMER_FILE))?;
    file.write_all(&serde_json::to_vec(&Former { clusters: clusters.to_vec() })?)?;
    file.sync_all()
}
