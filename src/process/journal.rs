//! A unit's journal: its output line by line in files that outlive the node.
//!
//! A line is `MILLISECONDS PID IDENTIFIER MESSAGE`; messages are kept byte for byte (a line break ends them, so they hold
//! none). When the file is full it becomes `journal.1`, in the place of the one before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::base::UnixMillis;
use crate::base::limits::{JOURNAL_CHUNK_BYTES_MAX, JOURNAL_FILE_BYTES_MAX};
use crate::fleet::executor::JournalLine;

const FILE: &str = "journal";
const FILE_OLD: &str = "journal.1";

/// The one writer of a unit's journal: its shim.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    bytes: u64,
}

impl Journal {
    /// Opens the journal of the unit in `dir` to go on with it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut file = open_to_append(dir)?;
        let mut bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.read_exact_at(&mut last, bytes - 1)?;
        }
        if last != [b'\n'] {
            // The writer before was killed in the middle of a line.
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(Self { dir: dir.to_owned(), file, bytes })
    }

    /// Adds a line. Line breaks in the message are made spaces.
    ///
    /// # Errors
    /// The disk is full or gone; the line is lost.
    pub fn append(&mut self, line: &JournalLine) -> io::Result<()> {
        let bytes = print(line);
        if self.bytes > 0 && self.bytes + bytes.len() as u64 > JOURNAL_FILE_BYTES_MAX {
            std::fs::rename(self.dir.join(FILE), self.dir.join(FILE_OLD))?;
            self.file = open_to_append(&self.dir)?;
            self.bytes = 0;
        }
        self.file.write_all(&bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn open_to_append(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(dir.join(FILE))
}

fn print(line: &JournalLine) -> Vec<u8> {
    let identifier: String = line.identifier.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    let identifier = if identifier.is_empty() { "-" } else { &identifier };
    let mut bytes = format!("{} {} {identifier} ", line.at.0, line.pid).into_bytes();
    bytes.extend(line.message.iter().map(|b| if *b == b'\n' { b' ' } else { *b }));
    bytes.push(b'\n');
    bytes
}

/// A stored line without its line break; `None`: it is torn.
fn parse(line: &[u8]) -> Option<JournalLine> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    Some(JournalLine {
        at: UnixMillis(text()?.parse().ok()?),
        pid: text()?.parse().ok()?,
        identifier: text()?.to_owned(),
        message: fields.next()?.to_vec(),
    })
}

/// Reads a unit's journal from a place on, through any change of files.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// The file that is read and the place of the next line in it.
    at: Option<(File, u64)>,
}

impl Reader {
    /// Starts `lines` before the end, or at the beginning.
    ///
    /// # Errors
    /// A file is there but cannot be read.
    pub fn open(dir: &Path, lines: Option<usize>) -> io::Result<Self> {
        let mut left = lines.unwrap_or(usize::MAX);
        let mut at = None;
        for name in [FILE, FILE_OLD] {
            let Some(mut file) = open_to_read(&dir.join(name))? else {
                continue;
            };
            if at.is_some() && left == 0 {
                break;
            }
            let (place, found) = tail(&mut file, left)?;
            left -= found;
            at = Some((file, place));
        }
        Ok(Self { dir: dir.to_owned(), at })
    }

    /// The next complete lines; empty: there are no more for now.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<JournalLine>> {
        loop {
            // Whether there is a newer file is asked before this one is read to its end: nothing is written to it after that.
            let newer = self.newer()?;
            if let Some((file, place)) = &mut self.at {
                let (lines, bytes) = read_lines(file, *place)?;
                if bytes > 0 {
                    *place += bytes;
                    if lines.is_empty() {
                        continue;
                    }
                    return Ok(lines);
                }
            }
            match newer {
                Some(file) => self.at = Some((file, 0)),
                None => return Ok(Vec::new()),
            }
        }
    }

    fn newer(&self) -> io::Result<Option<File>> {
        let Some(file) = open_to_read(&self.dir.join(FILE))? else {
            return Ok(None);
        };
        let same = match &self.at {
            Some((mine, _)) => mine.metadata()?.ino() == file.metadata()?.ino(),
            None => false,
        };
        Ok((!same).then_some(file))
    }
}

fn open_to_read(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the last `lines` lines of a file begin, and how many there are.
fn tail(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    let mut from = end;
    let mut block = vec![0; JOURNAL_CHUNK_BYTES_MAX];
    while from > 0 {
        let size = from.min(block.len() as u64);
        from -= size;
        let block = &mut block[..usize::try_from(size).unwrap_or(usize::MAX)];
        file.read_exact_at(block, from)?;
        for (place, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = from + place as u64 + 1;
            // The line break at the end of the file closes its last line; every other one opens a line that is wanted.
            if after < end {
                found += 1;
                if found == lines {
                    return Ok((after, found));
                }
            }
        }
    }
    Ok((0, if end > 0 { found + 1 } else { 0 }))
}

/// The complete lines from a place on, as many as fit into a chunk, and how many bytes they are.
fn read_lines(file: &File, place: u64) -> io::Result<(Vec<JournalLine>, u64)> {
    let mut bytes = Vec::new();
    let mut reader = file;
    reader.seek(SeekFrom::Start(place))?;
    reader.take(JOURNAL_CHUNK_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else {
        return Ok((Vec::new(), 0));
    };
    bytes.truncate(end + 1);
    let lines = bytes[..end].split(|b| *b == b'\n').filter_map(parse).collect();
    Ok((lines, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line(n: i64, message: &[u8]) -> JournalLine {
        JournalLine { at: UnixMillis(n), pid: 7, identifier: "web server".to_owned(), message: message.to_vec() }
    }

    fn all(reader: &mut Reader) -> Vec<i64> {
        let mut found = Vec::new();
        loop {
            let lines = reader.read().unwrap();
            if lines.is_empty() {
                return found;
            }
            found.extend(lines.iter().map(|line| line.at.0));
        }
    }

    #[test]
    fn keeps_messages_byte_for_byte_and_finds_the_tail() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path()).unwrap();
        journal.append(&line(0, b"  a b \xff\x00\t")).unwrap();
        for n in 1..10 {
            journal.append(&line(n, b"")).unwrap();
        }
        let mut reader = Reader::open(dir.path(), None).unwrap();
        let first = reader.read().unwrap().remove(0);
        assert_eq!(first.message, b"  a b \xff\x00\t");
        assert_eq!(first.identifier, "web_server");
        for (wanted, found) in [(0, vec![]), (1, vec![9]), (3, vec![7, 8, 9]), (99, (0..10).collect())] {
            let mut reader = Reader::open(dir.path(), Some(wanted)).unwrap();
            assert_eq!(all(&mut reader), found, "last {wanted}");
            journal.append(&line(10, b"new")).unwrap();
            assert_eq!(all(&mut reader), [10], "then what is new");
            // Taken back, so that every case starts with the same ten lines.
            let kept = journal.bytes - print(&line(10, b"new")).len() as u64;
            journal.file.set_len(kept).unwrap();
            journal.bytes = kept;
        }
    }

    #[test]
    fn a_torn_line_is_closed_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"1 7 a one\n12 7").unwrap();
        let mut reader = Reader::open(dir.path(), None).unwrap();
        assert_eq!(all(&mut reader), [1]);
        Journal::open(dir.path()).unwrap().append(&line(2, b"two")).unwrap();
        assert_eq!(all(&mut reader), [2]);
    }

    #[test]
    fn a_reader_follows_a_change_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::open(dir.path(), None).unwrap();
        assert!(all(&mut reader).is_empty());
        let mut journal = Journal::open(dir.path()).unwrap();
        let big = vec![b'x'; 40_000];
        let lines = i64::try_from(JOURNAL_FILE_BYTES_MAX / 40_000 + 10).unwrap();
        for n in 0..lines {
            journal.append(&line(n, &big)).unwrap();
            if n % 50 == 0 {
                let last = all(&mut reader).pop();
                assert_eq!(last, Some(n));
            }
        }
        assert_eq!(all(&mut reader).pop(), Some(lines - 1));
        assert!(dir.path().join(FILE_OLD).exists());
        let from_start = all(&mut Reader::open(dir.path(), None).unwrap());
        assert_eq!(from_start, (0..lines).collect::<Vec<_>>());
        let last = all(&mut Reader::open(dir.path(), Some(15)).unwrap());
        assert_eq!(last, (lines - 15..lines).collect::<Vec<_>>());
    }
}
