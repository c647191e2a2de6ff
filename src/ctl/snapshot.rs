//! `node ctl snapshot`: copies of the cluster's state as files, saved from a node and checked.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::backup;
pub use crate::backup::{Found, Staged};
use crate::disk::{self, Database};
use crate::etcd_file::{self, EtcdFile, FileKind};
use crate::net::Address;
use crate::remote::{self, Login};
use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::wire::seal::Sealer;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the next piece may take; the first one comes when the node has copied its state.
const PIECE_WITHIN: Duration = Duration::from_secs(120);
/// Larger than the pieces that nodes send.
const PIECE_BYTES_MAX: usize = 64 << 20;
/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 20;

/// Reads and checks a file. Prints what it holds.
///
/// # Errors
/// What is wrong with it.
pub fn status(file: &Path) -> anyhow::Result<u8> {
    print!("{}", render(&look(file)?));
    Ok(0)
}

/// Fetches a snapshot from the node at `from` into `file`, which appears when it is whole, checked and on the disk.
///
/// # Errors
/// Where the node does not send it, or sends what is no snapshot of ours; nothing is left then.
pub async fn save(from: &Address, login: Option<&Login>, file: &Path) -> anyhow::Result<u8> {
    let staged = Staged::beside(file, ".part");
    fetch(from, login, staged.path()).await?;
    let found = look(staged.path())?;
    put_in_place(staged.path(), file)?;
    println!("saved {} from {from}", file.display());
    print!("{}", render(&found));
    Ok(0)
}

/// As [`save`], from an etcd too, and without a word.
///
/// # Errors
/// Where the server does not send it, or sends what is no snapshot; nothing is left then.
pub async fn save_any(from: &Address, login: Option<&Login>, file: &Path) -> anyhow::Result<()> {
    let staged = Staged::beside(file, ".part");
    fetch(from, login, staged.path()).await?;
    let open = File::open(staged.path()).with_context(|| file.display().to_string())?;
    if etcd_file::kind(&open)? == FileKind::Etcd {
        EtcdFile::of(open, file.to_owned()).with_context(|| file.display().to_string())?;
    } else {
        look(staged.path())?;
    }
    put_in_place(staged.path(), file)
}

/// See [`disk::put_in_place`].
pub fn put_in_place(staged: &Path, file: &Path) -> anyhow::Result<()> {
    disk::put_in_place(staged, file).with_context(|| format!("renaming it to {}", file.display()))
}

/// Fetches what a server sends as its snapshot; nothing of it is checked.
///
/// # Errors
/// A server that does not send it, and a file that cannot be written.
pub async fn fetch(from: &Address, login: Option<&Login>, into: &Path) -> anyhow::Result<()> {
    let writing = || format!("writing {}", into.display());
    // It holds every key's value: nobody else's to read.
    let mut out =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(into).with_context(writing)?;
    let line = remote::line(from, CONNECT_WITHIN, login).await.with_context(|| format!("connecting to {from}"))?;
    let mut client = MaintenanceClient::new(line).max_decoding_message_size(PIECE_BYTES_MAX);
    let asked = tokio::time::timeout(PIECE_WITHIN, client.snapshot(pb::SnapshotRequest {})).await;
    let told = |refusal: tonic::Status| anyhow::anyhow!("{from}: {}", refusal.message());
    let silent = || format!("{from}: no piece of the snapshot within {PIECE_WITHIN:?}");
    let mut pieces = asked.with_context(silent)?.map_err(told)?.into_inner();
    while let Some(piece) =
        tokio::time::timeout(PIECE_WITHIN, pieces.message()).await.with_context(silent)?.map_err(told)?
    {
        out.write_all(&piece.blob).with_context(writing)?;
    }
    out.sync_all().with_context(writing)
}

/// Writes the state in `database` as a snapshot; the file appears when it is whole and on the disk.
///
/// # Errors
/// A file that cannot be written.
pub fn write(database: &Database, file: &Path) -> anyhow::Result<()> {
    let staged = Staged::beside(file, ".part");
    let writing = || format!("writing {}", file.display());
    let out = File::options().write(true).create(true).truncate(true).mode(0o600).open(staged.path());
    let mut sealing =
        Sealing { out: BufWriter::with_capacity(READ_BYTES, out.with_context(writing)?), sealer: Sealer::default() };
    database.export(&database.reader(), &mut sealing).with_context(writing)?;
    let Sealing { mut out, sealer } = sealing;
    out.write_all(&sealer.seal()).and_then(|()| out.flush()).with_context(writing)?;
    out.get_ref().sync_all().with_context(writing)?;
    put_in_place(staged.path(), file)
}

/// What is written passes by the sealer.
struct Sealing<W> {
    out: W,
    sealer: Sealer,
}

impl<W: std::io::Write> std::io::Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sealer.piece(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Reads a file from its beginning to its end and checks all of it.
pub fn look(file: &Path) -> anyhow::Result<Found> {
    let name = || file.display().to_string();
    let open = File::open(file).with_context(name)?;
    if etcd_file::kind(&open).with_context(name)? == FileKind::Etcd {
        anyhow::bail!("{}: it is a database of etcd's; `node ctl import etcd --snapshot FILE` takes it", name());
    }
    Ok(backup::look(file)?)
}

pub fn render(found: &Found) -> String {
    let (Found { census, bytes, .. }, sum) = (found, found.sum_hex());
    let compacted = match census.compacted {
        0 => "never compacted".to_owned(),
        mark => format!("compacted to {mark}"),
    };
    format!(
        "revision  {} ({compacted})\nkeys      {}\nlog       up to entry {}\nsize      {bytes} bytes\nsha256    {sum}\n",
        census.revision, census.keys, census.raft_index
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::base::UnixMillis;
    use crate::kv::{Command, LogPosition, Op, State, apply};

    /// The file of a state with two keys.
    fn saved(folder: &Path) -> Vec<u8> {
        let database = Database::open(&folder.join("state.redb"), true).unwrap();
        let mut state = State::load(&database.reader()).unwrap();
        let mut txn = database.begin().unwrap();
        for (index, op) in [(5, Op::put("a", "1")), (6, Op::put("b", "1")), (7, Op::put("a", "2"))] {
            let command = Command { stamp: UnixMillis(0), op };
            apply(&mut state, &mut txn, &command, LogPosition { index, term: 1 }).unwrap();
        }
        txn.commit(true).unwrap();
        let mut bytes = Vec::new();
        database.export(&database.reader(), &mut bytes).unwrap();
        let mut sealer = Sealer::default();
        sealer.piece(&bytes);
        bytes.extend(sealer.seal());
        bytes
    }

    #[test]
    fn a_file_tells_what_it_holds_and_a_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = saved(folder.path());
        let file = folder.path().join("a.snapshot");
        std::fs::write(&file, &bytes).unwrap();
        let found = look(&file).unwrap();
        assert_eq!((found.census.revision, found.census.keys, found.census.raft_index), (4, 2, 7));
        assert!(render(&found).starts_with("revision  4 (never compacted)\nkeys      2\n"), "{}", render(&found));
        for at in (0..bytes.len()).step_by(13) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, &damaged).unwrap();
            let error = format!("{:#}", look(&file).unwrap_err());
            assert!(error.contains("a.snapshot"), "{error}");
            std::fs::write(&file, &bytes[..at]).unwrap();
            assert!(look(&file).is_err(), "cut at {at}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(status(&file).is_err());
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_snapshot_that_does_not_come() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.snapshot");
        std::fs::write(&file, "an older one").unwrap();
        let error = save(&"127.0.0.1:1".parse().unwrap(), None, &file).await.unwrap_err();
        assert!(format!("{error:#}").contains("127.0.0.1:1"), "{error:#}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(&file).unwrap(), b"an older one");
    }
}
