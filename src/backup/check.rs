//! A saved copy of the state is read from its beginning to its end, and says what it holds.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::disk::{DiskError, read_snapshot};
use crate::kv::Census;
use crate::wire::seal::{SealError, Sealed};

/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 20;

/// What a snapshot's file holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub census: Census,
    pub bytes: u64,
    pub sum: [u8; 32],
}

/// A file is no whole snapshot.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct SnapshotError {
    pub file: String,
    pub fault: Fault,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Content(#[from] DiskError),
}

/// Reads a file from its beginning to its end and checks all of it. Blocks.
///
/// # Errors
/// [`SnapshotError`] naming the file.
pub fn look(file: &Path) -> Result<Found, SnapshotError> {
    found(file).map_err(|fault| SnapshotError { file: file.display().to_string(), fault })
}

fn found(file: &Path) -> Result<Found, Fault> {
    let open = File::open(file)?;
    let bytes = open.metadata()?.len();
    let mut sealed = Sealed::new(BufReader::with_capacity(READ_BYTES, open), bytes)?;
    let mut census = Census::default();
    read_snapshot(&mut sealed, &mut |table, key, value| census.note(table, key, value))?;
    let sum = sealed.end()?;
    Ok(Found { census, bytes, sum })
}

impl Found {
    /// The checksum in hexadecimal digits.
    pub fn sum_hex(&self) -> String {
        self.sum.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
