//! Frames: four bytes of length, most significant first, then that many bytes.
//!
//! The reader grows its buffer by what has arrived, not by what a length claims, so that garbage costs no memory.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that a reader asks for at once beyond those that it has.
const READ_STEP_BYTES: usize = 64 << 10;
/// Bytes that a writer collects before it writes them.
const WRITE_BATCH_BYTES: usize = 256 << 10;

/// A frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes is larger than the {limit} allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the connection ended within a frame")]
    CutOff,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads frames of at most `limit` bytes.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(inner: R, limit: usize) -> Self {
        Self { inner, buffer: BytesMut::new(), limit }
    }

    /// From now on frames may have up to `limit` bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame; `None` where the connection ends between frames. Cancel-safe.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no use afterwards.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_STEP_BYTES);
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(FrameError::CutOff),
                };
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*head) as usize;
        if bytes > self.limit {
            return Err(FrameError::TooLarge { bytes, limit: self.limit });
        }
        if self.buffer.len() < 4 + bytes {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(bytes).freeze()))
    }
}

/// Collects frames and writes them together.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: BytesMut::new() }
    }

    /// Adds a frame made of `parts`; writes when enough has come together. Call [`Self::flush`] when nothing more waits.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] where the length does not fit into four bytes; else what the connection says.
    pub async fn write(&mut self, parts: &[&[u8]]) -> Result<(), FrameError> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let head = u32::try_from(bytes).map_err(|_| FrameError::TooLarge { bytes, limit: u32::MAX as usize })?;
        self.buffer.extend_from_slice(&head.to_be_bytes());
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        if self.buffer.len() >= WRITE_BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes all that was collected.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        if !self.buffer.is_empty() {
            let buffer = self.buffer.split().freeze();
            self.inner.write_all(&buffer).await?;
        }
        self.inner.flush().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            block_on(async {
                let mut writer = FrameWriter::new(Vec::new());
                for frame in &frames {
                    let (a, b) = frame.split_at(frame.len() / 2);
                    writer.write(&[a, b]).await.unwrap();
                }
                writer.flush().await.unwrap();
                let mut reader = FrameReader::new(&writer.inner[..], 300);
                for frame in &frames {
                    assert_eq!(reader.next().await.unwrap().unwrap(), frame);
                }
                assert!(reader.next().await.unwrap().is_none());
            });
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            block_on(async {
                let mut reader = FrameReader::new(&bytes[..], 1 << 30);
                while let Ok(Some(_)) = reader.next().await {}
                assert!(reader.buffer.capacity() < 1 << 20);
            });
        }
    }

    #[test]
    fn refuses_what_is_too_large_or_cut_off() {
        block_on(async {
            let mut reader = FrameReader::new(&[0, 0, 1, 0, 9][..], 255);
            assert!(matches!(reader.next().await, Err(FrameError::TooLarge { bytes: 256, limit: 255 })));
            let mut reader = FrameReader::new(&[0, 0, 0, 3, 9][..], 255);
            assert!(matches!(reader.next().await, Err(FrameError::CutOff)));
        });
    }
}
