//! A member's data directory made of a state that is there already: how a cluster begins with a restored or imported state.
//!
//! Every first member gets the same state at the same place of the log, with the log before it purged and the members in
//! its record: as in a cluster whose members have all restarted just after a snapshot. A member that comes without data is
//! sent the state by the others. Everything is made in a folder beside the directory, which takes its name once all is on
//! the disk; a node does not start while that folder is there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::log_store::encode;
use super::machine;
use super::options::Peer;
use super::patience::Patience;
use super::start::{LOG_FOLDER, STATE_FILE, claim};
use super::types::{self, Membership, Vote, log_id};
use crate::base::{ClusterId, MemberId};
use crate::disk::{self, Database, DiskError};
use crate::kv::{LogPosition, Member, Refounding, TablesError, refound};
use crate::wal::{self, Wal, WalError};

/// Where the log of a cluster that begins with a state begins.
const BEGIN: LogPosition = LogPosition { index: 1, term: 1 };

/// The cluster that begins, and which of its members the directory is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    pub cluster: ClusterId,
    pub member: MemberId,
    /// The first members.
    pub peers: Vec<Peer>,
    /// The same as clients see them.
    pub members: Vec<Member>,
    /// How far users' revisions skip ahead; see [`Refounding`].
    pub skip: u64,
    /// Which machines are expected back; `None`: none.
    pub patience: Option<Patience>,
    /// Size of a segment of the log.
    pub wal_segment_bytes: u64,
}

/// Why a data directory was not made.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
    #[error("{}: there is data already; name another folder, or move it away", .0.display())]
    Taken(PathBuf),
    #[error(transparent)]
    State(#[from] DiskError),
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error(transparent)]
    Log(#[from] WalError),
    #[error("the new members: {0}")]
    Members(String),
}

/// The folder that a data directory is made in.
fn draft(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// Whether the making of the data directory has begun and not come to its end.
pub fn is_unfinished(dir: &Path) -> bool {
    draft(dir).exists()
}

/// Makes the data directory `dir` of a member. `fill` puts the state into an empty database. What an earlier call that was
/// killed has left is removed. Blocks.
///
/// # Errors
/// Those of `fill` and [`SeedError`]; then nothing is left.
pub fn seed<E: From<SeedError>>(
    dir: &Path,
    seed: &Seed,
    fill: impl FnOnce(&Database) -> Result<(), E>,
) -> Result<(), E> {
    if dir.exists() {
        return Err(SeedError::Taken(dir.to_owned()).into());
    }
    let draft = Draft(draft(dir));
    draft.clear()?;
    std::fs::create_dir_all(&draft.0).map_err(io_at(&draft.0))?;
    let database = Database::open(&draft.0.join(STATE_FILE), true).map_err(SeedError::from)?;
    fill(&database)?;
    settle(&database, seed)?;
    drop(database);
    draft.finish(dir, seed)?;
    Ok(())
}

/// Makes the state that of the new cluster, and durable.
fn settle(database: &Database, seed: &Seed) -> Result<(), SeedError> {
    let nodes: BTreeMap<u64, types::Node> = seed
        .peers
        .iter()
        .map(|peer| (peer.id.0, types::Node { urls: peer.urls.clone(), votes: true, stands: false }))
        .collect();
    let voters = nodes.keys().copied().collect();
    let membership = Membership::new(vec![voters], nodes).map_err(|error| SeedError::Members(error.to_string()))?;
    let mut txn = database.begin()?;
    let kept = seed.patience.as_ref().map_or_else(|| Ok(Vec::new()), |patience| patience.leases(&txn))?;
    refound(&mut txn, &Refounding { members: &seed.members, at: BEGIN, skip: seed.skip, kept: &kept })?;
    machine::begin(&mut txn, log_id(BEGIN.term, BEGIN.index), membership).map_err(TablesError)?;
    txn.commit(true)?;
    Ok(())
}

/// The folder in the making; removed if it is dropped before it has its name.
struct Draft(PathBuf);

impl Draft {
    fn clear(&self) -> Result<(), SeedError> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(&self.0)(error)),
            _ => Ok(()),
        }
    }

    fn finish(&self, dir: &Path, seed: &Seed) -> Result<(), SeedError> {
        let identity = format!("cluster {} member {}", seed.cluster, seed.member);
        begin_log(&self.0.join(LOG_FOLDER), &identity, seed)?;
        claim(&self.0, &identity, false).map_err(|error| SeedError::Members(error.to_string()))?;
        disk::put_in_place(&self.0, dir).map_err(io_at(dir))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed now is by the next call.
        let _ = self.clear();
    }
}

/// Writes a log that begins behind the state, with this member's vote of that time.
fn begin_log(folder: &Path, identity: &str, seed: &Seed) -> Result<(), SeedError> {
    let options = wal::Options { identity: identity.to_owned().into(), segment_bytes: seed.wal_segment_bytes };
    let (wal, _) = Wal::open(folder, options)?;
    let at = log_id(BEGIN.term, BEGIN.index);
    let vote = encode(&Vote::new(BEGIN.term, seed.member.0)).map_err(io_at(folder))?;
    done(|callback| wal.save_vote(vote, callback))?;
    let purged = wal::Purged { index: at.index, id: encode(&at).map_err(io_at(folder))? };
    done(|callback| wal.purge_to(purged, callback))
}

/// Waits for the log's word.
fn done(submit: impl FnOnce(wal::Callback)) -> Result<(), SeedError> {
    let (tell, told) = mpsc::channel();
    submit(Box::new(move |result| {
        // It is waited for below.
        let _ = tell.send(result);
    }));
    Ok(told.recv().unwrap_or(Err(WalError::Closed))?)
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> SeedError {
    move |cause| SeedError::Io { path: path.to_owned(), cause }
}
