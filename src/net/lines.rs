//! Whole lines out of bytes that come in pieces.

use bytes::{Buf as _, Bytes, BytesMut};

/// What has come of lines that are not whole yet.
#[derive(Default)]
pub struct LineBuffer {
    bytes: BytesMut,
}

impl LineBuffer {
    /// Takes in the next piece; the lines that are whole with it, without their ends and without those that are empty.
    pub fn take_in(&mut self, piece: &[u8]) -> Vec<Bytes> {
        let mut searched = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        let mut lines = Vec::new();
        while let Some(at) = self.bytes[searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.bytes.split_to(searched + at).freeze();
            self.bytes.advance(1);
            searched = 0;
            if !line.is_empty() {
                lines.push(line);
            }
        }
        lines
    }

    /// How much of a line is here whose end is not.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each piece brings, in the form of the pieces: those apart by `|`, lines apart by commas.
    #[test]
    fn lines_are_whole_however_they_are_cut() {
        let cases = [
            ("one\n", "one", 0),
            ("one\ntwo\nthree\n", "one,two,three", 0),
            ("o|ne|\nt|wo\n", "||one|two", 0),
            ("one\ntw|o", "one|", 3),
            ("\n\none\n\n|\n", "one|", 0),
            ("|no end", "|", 6),
        ];
        for (pieces, expected, waiting) in cases {
            let mut buffer = LineBuffer::default();
            let brought =
                pieces.split('|').map(|piece| buffer.take_in(piece.as_bytes()).join(&b',')).collect::<Vec<_>>();
            assert_eq!(brought.join(&b'|'), expected.as_bytes(), "{pieces:?}");
            assert_eq!(buffer.waiting_bytes(), waiting, "{pieces:?}");
        }
    }
}
