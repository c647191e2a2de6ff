//! bbolt's files, which etcd keeps its data in: read strictly, written whole.
//!
//! A file is a row of pages. The first two say where the root bucket is; a bucket is a B+tree of keys and values, and a value
//! may be a bucket again, small ones with their only page within the value. Whatever a file says is checked before
//! it is followed: offsets, kinds, bounds, the order of keys. Source: bbolt's file format as its 1.3 line writes it.

mod page;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Bolt, Bucket, Content, Visit};
pub use writer::BoltWriter;

use std::io;

/// What a file is read from: a place for each read, so that nothing of it has to be in memory.
pub trait Source {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// Those of reading; the end of the file before the end of the buffer is one.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for std::fs::File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }
}

impl Source for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let to = from.and_then(|from| from.checked_add(buffer.len()));
        let piece = from.zip(to).and_then(|(from, to)| self.get(from..to));
        buffer.copy_from_slice(piece.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    #[error("it is no bbolt file")]
    Foreign,
    #[error("it is damaged: page {page}: {why}")]
    Damaged { page: u64, why: String },
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it cannot be written: {0}")]
    Unwritten(io::Error),
}

impl BoltError {
    fn damaged(page: u64, why: impl Into<String>) -> Self {
        Self::Damaged { page, why: why.into() }
    }
}
