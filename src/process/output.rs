//! What a unit's processes write: read from their pipe, cut into lines, put into the unit's journal.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::fd;
use super::journal::Journal;
use crate::base::UnixMillis;
use crate::base::limits::JOURNAL_LINE_BYTES_MAX;
use crate::fleet::executor::JournalLine;

/// Reads in one turn, so that a unit that floods its output does not keep the shim from its other duties.
const READS_PER_TURN_MAX: usize = 16;

/// The journal as the parts of a shim share it: written to, and its growth told.
#[derive(Clone, Debug)]
pub struct Log {
    journal: Arc<Mutex<Journal>>,
    grown: watch::Sender<u64>,
}

impl Log {
    pub fn new(journal: Journal) -> Self {
        Self { journal: Arc::new(Mutex::new(journal)), grown: watch::Sender::new(0) }
    }

    /// Changes whenever the journal has grown.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// A line of the shim's own.
    pub fn say(&self, message: &str) {
        self.write("node", std::process::id(), message.as_bytes());
    }

    fn write(&self, identifier: &str, pid: u32, message: &[u8]) {
        let line = JournalLine { at: now(), pid, identifier: identifier.to_owned(), message: message.to_vec() };
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk costs the line, not the unit: there is no better place to say it.
        if journal.append(&line).is_ok() {
            self.grown.send_modify(|n| *n += 1);
        }
    }
}

/// The wall clock.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The reading end of one command's output.
pub struct Output {
    pipe: AsyncFd<OwnedFd>,
    lines: Mutex<Lines>,
    identifier: String,
    pid: u32,
    log: Log,
}

impl Output {
    /// Takes the reading end of a pipe, not blocking.
    ///
    /// # Errors
    /// The runtime cannot wait for it.
    pub fn new(pipe: OwnedFd, identifier: String, pid: u32, log: Log) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { pipe: fd::register(pipe)?, lines: Mutex::default(), identifier, pid, log }))
    }

    /// Reads until the last writer is gone.
    pub async fn run(self: Arc<Self>) {
        while let Ok(mut ready) = self.pipe.readable().await {
            match self.drain() {
                Drained::Ended => break,
                Drained::Empty => ready.clear_ready(),
                Drained::More => {
                    drop(ready);
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Takes what there is now. Called too when a process has ended, so that its last words stand before its end.
    pub fn drain(&self) -> Drained {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = vec![0; 64 << 10];
        for _ in 0..READS_PER_TURN_MAX {
            let ended = match rustix::io::read(self.pipe.get_ref(), &mut buffer) {
                Ok(0) => true,
                Ok(n) => {
                    lines.feed(&buffer[..n], |line| self.write(line));
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Drained::Empty,
                Err(_) => true,
            };
            if ended {
                lines.end(|line| self.write(line));
                return Drained::Ended;
            }
        }
        Drained::More
    }

    fn write(&self, line: &[u8]) {
        self.log.write(&self.identifier, self.pid, line);
    }
}

/// What is left in a pipe after reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Empty,
    More,
    Ended,
}

/// Bytes in, lines out.
#[derive(Debug, Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = JOURNAL_LINE_BYTES_MAX - self.open.len();
            match bytes.iter().take(room + 1).position(|b| *b == b'\n') {
                Some(end) => {
                    self.open.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end + 1..];
                    line(&self.open);
                    self.open.clear();
                }
                None if bytes.len() <= room => {
                    self.open.extend_from_slice(bytes);
                    bytes = &[];
                }
                None => {
                    self.open.extend_from_slice(&bytes[..room]);
                    bytes = &bytes[room..];
                    line(&self.open);
                    self.open.clear();
                }
            }
        }
    }

    fn end(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.open.is_empty() {
            line(&self.open);
            self.open.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.feed(chunk, |line| found.push(line.to_vec()));
        }
        lines.end(|line| found.push(line.to_vec()));
        found
    }

    #[test]
    fn cuts_lines() {
        assert_eq!(cut(&[b"a\nb", b"c\n\nd"]), [&b"a"[..], b"bc", b"", b"d"]);
        assert!(cut(&[]).is_empty());
        let long = vec![b'x'; JOURNAL_LINE_BYTES_MAX];
        assert_eq!(cut(&[&long, b"\ny\n"]), [long.clone(), b"y".to_vec()]);
        assert_eq!(cut(&[&long, b"y\n"]), [long.clone(), b"y".to_vec()]);
    }
}
