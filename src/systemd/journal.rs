//! A unit's journal: what `journalctl` prints, passed on as it comes.

use std::process::ExitStatus;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;

use super::child::{command, read_some};
use super::files;
use crate::base::BoxFuture;
use crate::base::limits::{JOURNAL_CHUNK_BYTES_MAX, JOURNAL_LINE_BYTES_MAX};
use crate::fleet::executor::{ExecutorError, JournalQuery, JournalStream};

const DOING: &str = "reading its journal";
/// What is read in one go.
const READ_BYTES: usize = 16 << 10;

/// A `journalctl` that runs as long as this is held.
pub struct Journal {
    unit: String,
    child: Child,
    stdout: ChildStdout,
    complaints: JoinHandle<String>,
    /// Read, and not handed out yet.
    buffer: BytesMut,
    ended: bool,
}

/// Starts to read.
///
/// # Errors
/// The name or the format cannot be meant, or `journalctl` cannot be started.
pub fn open(name: &str, query: &JournalQuery) -> Result<Journal, ExecutorError> {
    let unsupported = |reason: String| ExecutorError::Unsupported { unit: name.to_owned(), reason };
    files::check_name(name).map_err(unsupported)?;
    let arguments = arguments(name, query).map_err(unsupported)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Journal::spawn("journalctl", &arguments, name)
}

fn arguments(name: &str, query: &JournalQuery) -> Result<Vec<String>, String> {
    let output = if query.output.is_empty() { "short" } else { query.output.as_str() };
    if !output.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return Err(format!("unknown output format {output:?}: see --output in journalctl(1)"));
    }
    let lines = query.lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let mut arguments = vec![format!("--unit={name}"), "--no-pager".to_owned()];
    arguments.extend([format!("--lines={lines}"), format!("--output={output}")]);
    if let Some(since) = query.since {
        arguments.push(format!("--since=@{}", since.0.max(0) / 1000));
    }
    if query.follow {
        arguments.push("--follow".to_owned());
    }
    Ok(arguments)
}

impl Journal {
    fn spawn(program: &str, arguments: &[&str], unit: &str) -> Result<Self, ExecutorError> {
        let failed = |reason: String| ExecutorError::Failed {
            unit: unit.to_owned(),
            doing: DOING.to_owned(),
            reason: format!("{program}: {reason}"),
        };
        let mut child = command(program, arguments).spawn().map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("has no output".to_owned()))?;
        let complaints = tokio::spawn(read_some(child.stderr.take()));
        Ok(Self { unit: unit.to_owned(), child, stdout, complaints, buffer: BytesMut::new(), ended: false })
    }

    /// Whole lines from what was read; what has no end yet waits for it, up to a length.
    fn lines(&mut self) -> Option<Vec<u8>> {
        let last = self.buffer.iter().rposition(|byte| *byte == b'\n');
        let whole = match last {
            Some(last) => last + 1,
            None if self.ended || self.buffer.len() >= JOURNAL_LINE_BYTES_MAX => self.buffer.len(),
            None => 0,
        };
        (whole > 0).then(|| self.buffer.split_to(whole).to_vec())
    }

    async fn read(&mut self) -> Option<Result<Vec<u8>, ExecutorError>> {
        loop {
            if let Some(lines) = self.lines() {
                return Some(Ok(lines));
            }
            if self.ended {
                return None;
            }
            self.buffer.reserve(READ_BYTES.min(JOURNAL_CHUNK_BYTES_MAX));
            match self.stdout.read_buf(&mut self.buffer).await {
                Ok(0) => {
                    self.ended = true;
                    // The end of the output is the end of the program: it has closed it.
                    let ended = self.child.wait().await;
                    let complaints = (&mut self.complaints).await.unwrap_or_default();
                    if let Some(error) = self.verdict(ended, &complaints) {
                        return Some(Err(error));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.failed(error.to_string())));
                }
            }
        }
    }

    fn verdict(&self, ended: std::io::Result<ExitStatus>, complaints: &str) -> Option<ExecutorError> {
        match ended {
            Ok(status) if status.success() => None,
            Ok(status) => Some(self.failed(format!("journalctl: {status}: {}", complaints.trim()))),
            Err(error) => Some(self.failed(format!("journalctl: {error}"))),
        }
    }

    fn failed(&self, reason: String) -> ExecutorError {
        ExecutorError::Failed { unit: self.unit.clone(), doing: DOING.to_owned(), reason }
    }
}

impl JournalStream for Journal {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Vec<u8>, ExecutorError>>> {
        Box::pin(self.read())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn query(lines: Option<usize>, follow: bool, output: &str) -> JournalQuery {
        JournalQuery { lines, follow, output: output.to_owned(), since: None }
    }

    #[test]
    fn command_lines_of_journalctl() {
        let cases = [
            (query(Some(10), false, ""), "--unit=a.service --no-pager --lines=10 --output=short"),
            (query(None, true, "short-iso"), "--unit=a.service --no-pager --lines=all --output=short-iso --follow"),
        ];
        for (query, expected) in cases {
            assert_eq!(arguments("a.service", &query).unwrap().join(" "), expected);
        }
        assert!(arguments("a.service", &query(None, false, "json --root=/")).is_err());
        assert!(open("a.service --root=/", &query(None, false, "")).is_err());
    }

    async fn collect(script: &str) -> Vec<Result<String, String>> {
        let mut journal = Journal::spawn("sh", &["-c", script], "a.service").unwrap();
        let mut all = Vec::new();
        while let Some(chunk) = journal.next().await {
            all.push(chunk.map(|c| String::from_utf8(c).unwrap()).map_err(|e| e.to_string()));
        }
        all
    }

    #[tokio::test]
    async fn chunks_end_at_the_ends_of_lines() {
        let chunks = collect("printf 'one\\ntw'; read -r line </dev/null; printf 'o\\nthree'").await;
        let text: String = chunks.iter().map(|chunk| chunk.clone().unwrap()).collect();
        assert_eq!(text, "one\ntwo\nthree");
        assert!(chunks.iter().rev().skip(1).all(|chunk| chunk.as_ref().unwrap().ends_with('\n')), "{chunks:?}");
    }

    #[tokio::test]
    async fn a_failing_journalctl_is_told() {
        let chunks = collect("echo line; echo 'no such format' >&2; exit 1").await;
        assert_eq!(chunks.len(), 2, "{chunks:?}");
        let error = chunks[1].clone().unwrap_err();
        assert!(error.starts_with("a.service: reading its journal: journalctl: "), "{error}");
        assert!(error.ends_with("no such format"), "{error}");
    }
}
