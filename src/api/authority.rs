//! Old clients send a whole URL as HTTP/2's `:authority`; it is made a name before the HTTP library sees it.
//!
//! `etcdctl` 3.4 asks `endpoint status` of `http://10.0.0.1:2379` with that text as the authority. etcd's own server does
//! not look at it, ours takes it for a broken request and resets the stream. So what comes in on an HTTP/2 connection is
//! followed frame by frame, and where a header block holds such a text, its `://` is overwritten with three characters
//! that may stand in a name and whose codes are as long, plain and in Huffman's code (RFC 7541): lengths and the table
//! of the compression stay as they are. Nobody reads the authority afterwards.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// A frame may be as large as the HTTP library announces; larger ones end the connection there.
const FRAME_BYTES_MAX: usize = 1 << 14;
const TYPE_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x8;
const FLAG_PRIORITY: u8 = 0x20;
/// The place of `:authority` in HPACK's static table.
const INDEX_AUTHORITY: usize = 1;

/// What comes first, and what it becomes.
const SCHEMES: [(&str, &str); 2] = [("http://", "httpB--"), ("https://", "httpsB--")];
/// Huffman codes of their characters and how many bits they have.
const CODES: [(char, u64, usize); 8] = [
    ('h', 0x27, 6),
    ('t', 0x9, 5),
    ('p', 0x2b, 6),
    ('s', 0x8, 5),
    (':', 0x5c, 7),
    ('/', 0x18, 6),
    ('B', 0x5d, 7),
    ('-', 0x16, 6),
];

/// Follows what one client sends.
pub(super) struct Cleaner {
    place: Place,
    held: Vec<u8>,
    /// So many of the held bytes may go on.
    ready: usize,
}

#[derive(Clone, Copy)]
enum Place {
    /// So much of the preface has come.
    Preface(usize),
    FrameHeader,
    /// So much of a frame is still to come that is of no interest.
    Passing(usize),
    /// The connection speaks another protocol.
    Elsewhere,
}

impl Cleaner {
    pub fn new() -> Self {
        Self { place: Place::Preface(0), held: Vec::new(), ready: 0 }
    }

    /// Whether there is nothing to do for the rest of the connection.
    pub fn is_done(&self) -> bool {
        matches!(self.place, Place::Elsewhere) && self.held.is_empty()
    }

    /// Takes what the client sent.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while self.step() {}
    }

    /// The client sends no more: what is held goes on as it is.
    pub fn finish(&mut self) {
        self.ready = self.held.len();
    }

    /// Moves as many bytes as may go on and fit; says how many.
    pub fn take(&mut self, to: &mut tokio::io::ReadBuf<'_>) -> usize {
        let n = self.ready.min(to.remaining());
        to.put_slice(&self.held[..n]);
        self.held.drain(..n);
        self.ready -= n;
        n
    }

    /// Understands one more piece; `false` if more bytes are needed for that.
    fn step(&mut self) -> bool {
        let rest = &mut self.held[self.ready..];
        match self.place {
            _ if rest.is_empty() => return false,
            Place::Preface(seen) => {
                let n = rest.len().min(PREFACE.len() - seen);
                if rest[..n] != PREFACE[seen..seen + n] {
                    self.place = Place::Elsewhere;
                    return true;
                }
                self.ready += n;
                self.place = match seen + n {
                    all if all == PREFACE.len() => Place::FrameHeader,
                    some => Place::Preface(some),
                };
            }
            Place::FrameHeader => {
                let [a, b, c, kind, flags, ..] = *rest else {
                    return false;
                };
                if rest.len() < FRAME_HEADER_BYTES {
                    return false;
                }
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let whole = FRAME_HEADER_BYTES + length;
                if kind != TYPE_HEADERS || length > FRAME_BYTES_MAX {
                    self.place = Place::Passing(whole);
                } else if rest.len() < whole {
                    return false;
                } else {
                    clean_headers(&mut rest[FRAME_HEADER_BYTES..whole], flags);
                    self.ready += whole;
                }
            }
            Place::Passing(length) => {
                let n = rest.len().min(length);
                self.ready += n;
                self.place = match length - n {
                    0 => Place::FrameHeader,
                    more => Place::Passing(more),
                };
            }
            Place::Elsewhere => self.ready = self.held.len(),
        }
        true
    }
}

/// Finds the header block in the payload of a HEADERS frame. What is malformed is left to the HTTP library.
fn clean_headers(payload: &mut [u8], flags: u8) {
    let padding = match payload.first() {
        Some(length) if flags & FLAG_PADDED != 0 => usize::from(*length),
        _ => 0,
    };
    let mut start = usize::from(flags & FLAG_PADDED != 0);
    if flags & FLAG_PRIORITY != 0 {
        start += 5;
    }
    if let Some(end) = payload.len().checked_sub(padding)
        && let Some(block) = payload.get_mut(start..end)
    {
        clean_block(block);
    }
}

/// Walks over the fields of a header block; `None` where it ends or is cut.
fn clean_block(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    loop {
        let (prefix, literal) = match *block.get(at)? {
            byte if byte & 0x80 != 0 => (7, false),
            byte if byte & 0x40 != 0 => (6, true),
            byte if byte & 0x20 != 0 => (5, false),
            _ => (4, true),
        };
        let index = integer(block, &mut at, prefix)?;
        if !literal {
            continue;
        }
        if index == 0 {
            string(block, &mut at)?;
        }
        let (huffman, value) = string(block, &mut at)?;
        if index == INDEX_AUTHORITY {
            clean_value(&mut block[value], huffman);
        }
    }
}

/// An integer in HPACK's form with a prefix of so many bits.
fn integer(block: &[u8], at: &mut usize, prefix: u32) -> Option<usize> {
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Where a string lies, and whether it is in Huffman's code.
fn string(block: &[u8], at: &mut usize) -> Option<(bool, std::ops::Range<usize>)> {
    let huffman = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let range = *at..at.checked_add(length)?;
    block.get(range.clone())?;
    *at = range.end;
    Some((huffman, range))
}

fn clean_value(value: &mut [u8], huffman: bool) {
    for (from, to) in SCHEMES {
        if !huffman {
            if value.starts_with(from.as_bytes()) {
                value[..to.len()].copy_from_slice(to.as_bytes());
            }
            continue;
        }
        let ((from, length), (to, _)) = (code(from), code(to));
        if starts_with_bits(value, from, length) {
            put_bits(value, to, length);
        }
    }
}

/// A text in Huffman's code, at the low end, and how many bits it has.
fn code(text: &str) -> (u64, usize) {
    let codes = text.chars().filter_map(|c| CODES.iter().find(|(known, ..)| *known == c));
    codes.fold((0, 0), |(bits, length), (_, code, n)| (bits << n | code, length + n))
}

fn starts_with_bits(value: &[u8], bits: u64, length: usize) -> bool {
    let bit = |i: usize| u64::from(value[i / 8] >> (7 - i % 8) & 1);
    value.len() * 8 >= length && (0..length).all(|i| bit(i) == bits >> (length - 1 - i) & 1)
}

fn put_bits(value: &mut [u8], bits: u64, length: usize) {
    for i in 0..length {
        let mask = 1 << (7 - i % 8);
        if bits >> (length - 1 - i) & 1 == 1 {
            value[i / 8] |= mask;
        } else {
            value[i / 8] &= !mask;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn through(pieces: &[&[u8]]) -> Vec<u8> {
        let mut cleaner = Cleaner::new();
        let mut out = Vec::new();
        let mut pull = |cleaner: &mut Cleaner| loop {
            let mut space = [0; 7];
            let mut to = tokio::io::ReadBuf::new(&mut space);
            if cleaner.take(&mut to) == 0 {
                return;
            }
            out.extend_from_slice(to.filled());
        };
        for piece in pieces {
            cleaner.feed(piece);
            pull(&mut cleaner);
        }
        cleaner.finish();
        pull(&mut cleaner);
        out
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    /// `:method: POST`, the authority, and an indexed field.
    fn block(authority: &[u8], huffman: bool) -> Vec<u8> {
        let length = u8::try_from(authority.len()).unwrap();
        let mut block = vec![0x83, 0x41, length | if huffman { 0x80 } else { 0 }];
        block.extend_from_slice(authority);
        block.push(0xbe);
        block
    }

    /// `http://h` and the padding of ones, in Huffman's code.
    fn coded(text: &str) -> Vec<u8> {
        let (bits, length) = code(text);
        let mut value = vec![0xff; length.div_ceil(8)];
        put_bits(&mut value, bits, length);
        value
    }

    fn conversation(authority: &str) -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, b"settin"));
        let mut padded = vec![3, 0, 0, 0, 0, 9];
        padded.extend(block(authority.as_bytes(), false));
        padded.extend([0, 0, 0]);
        bytes.extend(frame(TYPE_HEADERS, FLAG_PADDED | FLAG_PRIORITY, &padded));
        bytes.extend(frame(0, 0, b"http://data stays"));
        bytes.extend(frame(TYPE_HEADERS, 0, &block(&coded(&authority[..8]), true)));
        bytes
    }

    #[test]
    fn urls_become_names_and_all_else_stays() {
        assert_eq!(through(&[&conversation("http://h:1")]), conversation("httpB--h:1"));
        assert_eq!(through(&[&conversation("https://:1")]), conversation("httpsB--:1"));
        let plain = conversation("hhhhhhhhttp://");
        assert_eq!(through(&[&plain]), plain);
        let http1 = b"PRI /http:// HTTP/1.1\r\n\r\n";
        assert_eq!(through(&[http1]), http1);
        assert_eq!(through(&[b"GET / HT", b"TP/1.1"]), b"GET / HTTP/1.1");
    }

    proptest! {
        /// However the bytes are cut, the same comes out.
        #[test]
        fn cuts_do_not_matter(cuts in prop::collection::vec(0usize..120, 0..8)) {
            let whole = conversation("http://h:1");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &whole[cut[0]..cut[1]]).collect();
            prop_assert_eq!(through(&pieces), conversation("httpB--h:1"));
        }

        /// Nonsense in a header block does no harm and keeps its length.
        #[test]
        fn nonsense_does_no_harm(block in prop::collection::vec(any::<u8>(), 0..60), flags: u8) {
            let mut bytes = PREFACE.to_vec();
            bytes.extend(frame(TYPE_HEADERS, flags, &block));
            prop_assert_eq!(through(&[&bytes]).len(), bytes.len());
        }
    }
}
