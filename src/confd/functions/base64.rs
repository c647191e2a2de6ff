//! base64 with the standard alphabet as Go's `encoding/base64.StdEncoding` has it: padded, line ends ignored.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

/// Decodes text.
///
/// # Errors
/// Go's text with the offset of the first byte that does not belong.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let corrupt = |at: usize| format!("illegal base64 data at input byte {at}");
    let mut letters = text.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    loop {
        let (mut group, mut count) = (0u32, 0);
        while count < 4 {
            match letters.next() {
                None if count == 0 => return Ok(out),
                None => return Err(corrupt(text.len() - count)),
                Some((at, b'=')) => {
                    // Padding: one or two at the end of the last group, nothing after.
                    let complete = match count {
                        2 => matches!(letters.next(), Some((_, b'='))).then_some(()).ok_or_else(|| corrupt(text.len())),
                        3 => Ok(()),
                        _ => Err(corrupt(at)),
                    };
                    complete?;
                    if let Some((trailing, _)) = letters.next() {
                        return Err(corrupt(trailing));
                    }
                    group <<= 6 * (4 - count);
                    out.extend_from_slice(&group.to_be_bytes()[1..count]);
                    return Ok(out);
                }
                Some((at, byte)) => {
                    let value = ALPHABET.iter().position(|letter| *letter == byte).ok_or_else(|| corrupt(at))?;
                    group = group << 6 | value as u32;
                    count += 1;
                }
            }
        }
        out.extend_from_slice(&group.to_be_bytes()[1..]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn goes_there_and_back() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode(b"Zm9v\r\nYmFy\n").unwrap(), b"foobar");
        assert_eq!(decode(b"/w==").unwrap(), [0xff]);
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["Zg", "Zg=", "Z", "Z===", "Zg==x", "Z*==", "====", "Zm8=Zm8=", "Zm-_"] {
            let error = decode(text.as_bytes()).unwrap_err();
            assert!(error.starts_with("illegal base64 data at input byte "), "{text}: {error}");
        }
        assert_eq!(decode(b"Z*==").unwrap_err(), "illegal base64 data at input byte 1");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_survive(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(decode(encode(&bytes).as_bytes()).unwrap(), bytes);
        }
    }
}
