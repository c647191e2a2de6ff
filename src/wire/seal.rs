//! What is put around a snapshot for clients: its content, zeros up to a multiple of 512 bytes, the SHA-256 of all of that.
//!
//! etcd sends its database file, which is made of whole pages, and the SHA-256; `etcdctl snapshot save` takes a file for
//! whole whose size is a multiple of 512 and the 32 bytes of the sum.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Content is filled up to a multiple of so many bytes.
const BLOCK_BYTES: u64 = 512;
/// Bytes of the sum.
const SUM_BYTES: u64 = 32;

/// Makes the seal while the content passes by.
#[derive(Default)]
pub struct Sealer {
    sum: Sha256,
    bytes: u64,
}

impl Sealer {
    /// The next piece of the content.
    pub fn piece(&mut self, piece: &[u8]) {
        self.sum.update(piece);
        self.bytes += piece.len() as u64;
    }

    /// What comes after the content.
    pub fn seal(mut self) -> Vec<u8> {
        let mut seal = vec![0; padding(self.bytes) as usize];
        self.sum.update(&seal);
        seal.extend_from_slice(&self.sum.finalize());
        seal
    }
}

fn padding(content_bytes: u64) -> u64 {
    content_bytes.next_multiple_of(BLOCK_BYTES) - content_bytes
}

/// Bytes of the seal after so much content.
pub fn seal_bytes(content_bytes: u64) -> u64 {
    padding(content_bytes) + SUM_BYTES
}

/// Why a sealed file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("it is cut: {0} bytes are not a whole number of blocks and a checksum; save the snapshot again")]
    Cut(u64),
    #[error("its checksum is wrong: it was changed or damaged after it was saved; use another copy")]
    Wrong,
    #[error("something other than zeros follows the content; use another copy")]
    Padding,
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads the content of a sealed file; [`Sealed::end`] then tells whether it was whole.
pub struct Sealed<R> {
    source: R,
    left: u64,
    sum: Sha256,
}

impl<R: Read> Sealed<R> {
    /// Begins to read a sealed file of so many bytes.
    ///
    /// # Errors
    /// [`SealError::Cut`] where the size cannot be right.
    pub fn new(source: R, bytes: u64) -> Result<Self, SealError> {
        match bytes.checked_sub(SUM_BYTES) {
            Some(left) if left > 0 && left % BLOCK_BYTES == 0 => Ok(Self { source, left, sum: Sha256::new() }),
            _ => Err(SealError::Cut(bytes)),
        }
    }

    /// Reads the rest and checks the seal. Returns the sum.
    ///
    /// # Errors
    /// [`SealError`] where the file is not what was sealed. Content that was read before is then not to be used.
    pub fn end(mut self) -> Result<[u8; SUM_BYTES as usize], SealError> {
        if self.left >= BLOCK_BYTES {
            return Err(SealError::Padding);
        }
        let mut padding = vec![0; self.left as usize];
        self.read_exact(&mut padding)?;
        let mut found = [0; SUM_BYTES as usize];
        self.source.read_exact(&mut found)?;
        if found[..] != self.sum.finalize()[..] {
            return Err(SealError::Wrong);
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(SealError::Padding);
        }
        Ok(found)
    }
}

impl<R: Read> Read for Sealed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.source.read(&mut buf[..most])?;
        self.sum.update(&buf[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::default();
        content.chunks(7).for_each(|piece| sealer.piece(piece));
        let seal = sealer.seal();
        assert_eq!(seal.len() as u64, seal_bytes(content.len() as u64));
        [content, &seal].concat()
    }

    fn open(file: &[u8], content_bytes: usize) -> Result<Vec<u8>, SealError> {
        let mut sealed = Sealed::new(file, file.len() as u64)?;
        let mut content = vec![0; content_bytes];
        sealed.read_exact(&mut content)?;
        sealed.end().map(|_| content)
    }

    #[test]
    fn what_is_sealed_is_read_back() {
        for size in [1, 511, 512, 513, 1_024, 3_000] {
            let content: Vec<u8> = (0..size).map(|n| n as u8 | 1).collect();
            let file = sealed(&content);
            assert_eq!(file.len() % 512, 32);
            assert_eq!(open(&file, size).unwrap(), content);
        }
    }

    #[test]
    fn what_was_changed_or_cut_is_refused() {
        let file = sealed(&[7; 700]);
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 4;
            assert!(open(&changed, 700).is_err(), "byte {at}");
            assert!(open(&file[..at], 700).is_err(), "cut at {at}");
        }
        // The content says that it ended earlier than the file does.
        assert!(matches!(open(&sealed(&[0; 1_600]), 700), Err(SealError::Padding)));
    }
}
