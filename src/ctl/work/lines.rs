//! A unit's output line by line, out of a journal in JSON as machines send it.

use std::collections::VecDeque;

use serde_json::Value;

use crate::ctl::http::{HttpError, Streamed};

/// What is longer is cut off there.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In microseconds of Unix time, by the clock of its machine.
    pub at: i64,
    pub message: Vec<u8>,
}

/// The lines of one journal as they come.
pub struct Lines {
    stream: Streamed,
    rest: Vec<u8>,
    ready: VecDeque<Line>,
    /// Why there are no more, where the machine said so.
    broken: Option<String>,
}

impl Lines {
    /// The lines of an answer that has begun.
    pub fn of(stream: Streamed) -> Self {
        Self { stream, rest: Vec::new(), ready: VecDeque::new(), broken: None }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// Why there are no more, although there should be.
    pub async fn next(&mut self) -> Result<Option<Line>, String> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if let Some(why) = self.broken.take() {
                return Err(why);
            }
            match self.stream.next().await.map_err(|error: HttpError| error.to_string())? {
                Some(chunk) => self.take_in(&chunk),
                None => return Ok(None),
            }
        }
    }

    fn take_in(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        for text in lines.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            match read(text) {
                Ok(line) => self.ready.push_back(line),
                Err(words) => self.broken = Some(words),
            }
        }
        self.rest.truncate(LINE_BYTES_MAX);
    }
}

/// A line of `journalctl -o json`; else what a node says when it cannot read on, which is no JSON.
fn read(text: &[u8]) -> Result<Line, String> {
    let said = || String::from_utf8_lossy(text).trim_matches(['-', ' ']).to_owned();
    let entry: Value = serde_json::from_slice(text).map_err(|_| said())?;
    let at = entry["__REALTIME_TIMESTAMP"].as_str().and_then(|micros| micros.parse().ok()).unwrap_or_default();
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let message = match &entry["MESSAGE"] {
        Value::String(text) => text.clone().into_bytes(),
        // What is no text is an array of bytes.
        Value::Array(bytes) => bytes.iter().filter_map(byte).collect(),
        _ => Vec::new(),
    };
    Ok(Line { at, message })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_a_journal_are_read() {
        let text = br#"{"__REALTIME_TIMESTAMP":"17","MESSAGE":"hello","_PID":"3"}"#;
        assert_eq!(read(text).unwrap(), Line { at: 17, message: b"hello".to_vec() });
        let bytes = br#"{"__REALTIME_TIMESTAMP":"18","MESSAGE":[255,10]}"#;
        assert_eq!(read(bytes).unwrap(), Line { at: 18, message: vec![255, 10] });
        assert_eq!(read(br#"{"MESSAGE":null}"#).unwrap().message, b"");
        assert_eq!(read(b"-- machine a does not answer --").unwrap_err(), "machine a does not answer");
    }
}
