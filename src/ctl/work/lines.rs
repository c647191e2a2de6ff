//! A unit's output line by line, out of a journal in JSON as machines send it.

use std::collections::VecDeque;

use hyper::body::Bytes;
use serde_json::Value;

use crate::ctl::http::Streamed;

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
    ready: VecDeque<Bytes>,
}

impl Lines {
    /// The lines of an answer that has begun.
    pub fn of(stream: Streamed) -> Self {
        Self { stream, ready: VecDeque::new() }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// Why there are no more, although there should be.
    pub async fn next(&mut self) -> Result<Option<Line>, String> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return read(&text).map(Some);
            }
            match self.stream.lines().await.map_err(|error| error.to_string())? {
                Some(lines) => self.ready = lines.into(),
                None => return Ok(None),
            }
        }
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
