//! One frame of a segment: the unit that is whole or does not exist.
//!
//! ```text
//! 0   crc32 of the place (segment number, offset) and of everything below
//! 4   length in bytes, header and payload; never 0, so that zeros mean "nothing was written here"
//! 8   kind, then three zero bytes
//! 12  durable: the offset in this segment below which all was synced when this frame was made
//! 16  index
//! 24  term
//! 32  payload, then zeros up to the next multiple of 8
//! ```
//!
//! Numbers are little-endian. The place is part of the checksum, so that a frame copied into a payload or left
//! at another offset is never taken for a real one. `durable` is what tells a torn write (bytes that no sync had
//! covered are bad) from corruption (a later frame proves that the bad bytes had been synced).

use bytes::Bytes;

/// Bytes of a frame without payload.
pub(super) const FRAME_HEADER_BYTES: usize = 32;
const ALIGN_BYTES: usize = 8;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A log entry.
    Entry = 1,
    /// The payload is the vote from now on.
    Vote = 2,
    /// The payload is the committed mark from now on.
    Committed = 3,
    /// The entries from this index on are gone.
    Truncate = 4,
    /// The entries up to and with this index are gone; the payload is the caller's id of the last of them.
    Purge = 5,
    /// First frame of each segment: all that earlier segments said, without their entries.
    Base = 6,
    /// Last frame of each full segment; the index is the number of the next one.
    Seal = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Entry, Kind::Vote, Kind::Committed, Kind::Truncate, Kind::Purge, Kind::Base, Kind::Seal]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One thing to be written, before it has a place.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub kind: Kind,
    pub index: u64,
    pub term: u64,
    pub payload: Bytes,
}

impl Record {
    /// A record that has only a kind and an index.
    pub fn bare(kind: Kind, index: u64) -> Record {
        Record { kind, index, term: 0, payload: Bytes::new() }
    }

    /// A record that has only a kind and a payload.
    pub fn blob(kind: Kind, payload: Bytes) -> Record {
        Record { kind, index: 0, term: 0, payload }
    }
}

/// A good frame, borrowed from the bytes of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub kind: Kind,
    pub durable: u32,
    pub index: u64,
    pub term: u64,
    pub payload: &'a [u8],
    /// Bytes up to the next frame.
    pub padded: usize,
}

/// What lies at an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Frame(Frame<'a>),
    /// Zeros: nothing was written here.
    Nothing,
    /// Something that is no frame, and why.
    Bad(&'static str),
}

/// Bytes that a frame with this payload takes, padding included.
pub(super) fn padded_bytes(payload: usize) -> usize {
    (FRAME_HEADER_BYTES + payload).next_multiple_of(ALIGN_BYTES)
}

/// Appends the frame of `record` to `out`. `offset` is where the frame will lie in segment `seq`.
pub(super) fn encode(record: &Record, seq: u64, offset: u32, durable: u32, out: &mut Vec<u8>) {
    let start = out.len();
    let length = FRAME_HEADER_BYTES + record.payload.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32_of(length).to_le_bytes());
    out.extend_from_slice(&[record.kind as u8, 0, 0, 0]);
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(&record.index.to_le_bytes());
    out.extend_from_slice(&record.term.to_le_bytes());
    out.extend_from_slice(&record.payload);
    let crc = checksum(seq, offset, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + padded_bytes(record.payload.len()), 0);
}

/// Looks at what begins at `bytes[at..]`, which lies at `offset` in segment `seq`. Never panics on any bytes.
pub(super) fn decode(bytes: &[u8], at: usize, seq: u64, offset: usize) -> Found<'_> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(header) = rest.get(..FRAME_HEADER_BYTES) else {
        return if rest.iter().all(|byte| *byte == 0) {
            Found::Nothing
        } else {
            Found::Bad("the file ends inside a frame's header")
        };
    };
    let length = le_u32(header, 4) as usize;
    if length == 0 {
        return if header.iter().all(|byte| *byte == 0) {
            Found::Nothing
        } else {
            Found::Bad("a frame without length")
        };
    }
    if length < FRAME_HEADER_BYTES {
        return Found::Bad("a frame shorter than its header");
    }
    let Some(kind) = Kind::from_byte(header[8]) else {
        return Found::Bad("a frame of unknown kind");
    };
    let Some(whole) = rest.get(..length) else {
        return Found::Bad("a frame longer than the rest of the file");
    };
    let Ok(place) = u32::try_from(offset) else {
        return Found::Bad("a frame beyond the largest segment");
    };
    if checksum(seq, place, &whole[4..]) != le_u32(header, 0) {
        return Found::Bad("a frame whose checksum does not match");
    }
    Found::Frame(Frame {
        kind,
        durable: le_u32(header, 12),
        index: le_u64(header, 16),
        term: le_u64(header, 24),
        payload: &whole[FRAME_HEADER_BYTES..],
        padded: length.next_multiple_of(ALIGN_BYTES),
    })
}

/// Looks for proof that the bytes at `bad` had been synced: a good frame behind them that was written later than the
/// sync. Returns its offset. From `written` on there are only zeros. Frames without that proof are the rest of a torn write.
pub(super) fn find_proof(bytes: &[u8], seq: u64, bad: usize, written: usize) -> Option<usize> {
    let first = bad.next_multiple_of(ALIGN_BYTES);
    let last = written.min(bytes.len().saturating_sub(FRAME_HEADER_BYTES - 1));
    (first..last).step_by(ALIGN_BYTES).find(|at| {
        // Cheap tests first: the checksum is computed only for what claims to be such a frame.
        let header = &bytes[*at..*at + FRAME_HEADER_BYTES];
        let durable = le_u32(header, 12) as usize;
        durable > bad
            && durable <= *at
            && header[9..12] == [0; 3]
            && matches!(decode(bytes, *at, seq, *at), Found::Frame(_))
    })
}

/// Bytes up to the last one that is not zero. Whole pages of zeros, of which segments are full, are quick.
pub(super) fn written_bytes(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 4_096] = [0; 4_096];
    let page = bytes.chunks(ZEROS.len()).rposition(|page| *page != ZEROS[..page.len()]);
    let begin = page.map_or(0, |page| page * ZEROS.len());
    let end = bytes.len().min(begin + ZEROS.len());
    bytes[begin..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| begin + last + 1)
}

fn checksum(seq: u64, offset: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// A length or offset that the limits on payloads and segments keep below 4 GiB.
pub(super) fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("payloads and segments are limited to far less than 4 GiB")
}

/// The four bytes at `at`, or 0 where there are none.
pub(super) fn le_u32(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, u32::from_le_bytes)
}

/// The eight bytes at `at`, or 0 where there are none.
pub(super) fn le_u64(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
    eight.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn entry(index: u64, payload: &[u8]) -> Record {
        Record { kind: Kind::Entry, index, term: 3, payload: Bytes::copy_from_slice(payload) }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_at_its_place_only(payload in prop::collection::vec(any::<u8>(), 0..200), index: u64, seq: u64) {
            let mut bytes = Vec::new();
            encode(&entry(index, &payload), seq, 64, 32, &mut bytes);
            prop_assert_eq!(bytes.len(), padded_bytes(payload.len()));
            let Found::Frame(frame) = decode(&bytes, 0, seq, 64) else { panic!("not a frame") };
            prop_assert_eq!((frame.kind, frame.durable, frame.index, frame.term), (Kind::Entry, 32, index, 3));
            prop_assert_eq!(frame.payload, &payload[..]);
            prop_assert!(matches!(decode(&bytes, 0, seq, 72), Found::Bad(_)));
            prop_assert!(matches!(decode(&bytes, 0, seq.wrapping_add(1), 64), Found::Bad(_)));
        }

        #[test]
        fn one_flipped_bit_is_seen(payload in prop::collection::vec(any::<u8>(), 0..60), bit in 0usize..10_000) {
            let mut bytes = Vec::new();
            encode(&entry(1, &payload), 1, 0, 0, &mut bytes);
            let bit = bit % ((FRAME_HEADER_BYTES + payload.len()) * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(decode(&bytes, 0, 1, 0), Found::Frame(_)));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..400) {
            decode(&bytes, at, 1, at);
            find_proof(&bytes, 1, at, bytes.len());
        }
    }

    #[test]
    fn zeros_are_nothing() {
        assert_eq!(decode(&[0; 100], 0, 1, 0), Found::Nothing);
        assert_eq!(decode(&[0; 100], 90, 1, 90), Found::Nothing);
        assert_eq!(decode(&[], 0, 1, 0), Found::Nothing);
    }

    #[test]
    fn the_last_written_byte_is_found() {
        for length in [0, 1, 4_095, 4_096, 4_097, 10_000] {
            let mut bytes = vec![0; length];
            assert_eq!(written_bytes(&bytes), 0);
            for last in [0, 4_095, 4_096, length.saturating_sub(1)].into_iter().filter(|last| *last < length) {
                bytes.fill(0);
                bytes[last] = 1;
                assert_eq!(written_bytes(&bytes), last + 1);
            }
        }
    }

    #[test]
    fn a_frame_is_proof_only_when_a_sync_lay_between() {
        let mut bytes = vec![0xff; 40];
        encode(&entry(1, b"same write"), 1, 40, 0, &mut bytes);
        assert_eq!(find_proof(&bytes, 1, 0, bytes.len()), None);
        let at = bytes.len();
        encode(&entry(2, b"later write"), 1, u32_of(at), u32_of(at), &mut bytes);
        assert_eq!(find_proof(&bytes, 1, 0, bytes.len()), Some(at));
        assert_eq!(find_proof(&bytes, 1, at, bytes.len()), None);
    }
}
