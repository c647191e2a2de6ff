//! MD5 (RFC 1321): only the checksum that confd's log lines name; nothing is protected by it.

/// Sixteen bytes that print as 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Md5(pub [u8; 16]);

impl std::fmt::Display for Md5 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Md5 {
    /// Reads 32 hex digits; `None`: they are not.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
        let mut sum = [0; 16];
        for (at, byte) in sum.iter_mut().enumerate() {
            *byte = (digit(at * 2)? * 16 + digit(at * 2 + 1)?) as u8;
        }
        (digits.len() == 32).then_some(Self(sum))
    }
}

/// Left rotations of the four rounds.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The additive constant of a step: the integer part of 2^32 · |sin(step + 1)|.
fn constant(step: u32) -> u32 {
    (f64::from(step + 1).sin().abs() * 4_294_967_296.0) as u32
}

/// The checksum of `bytes`.
pub fn md5(bytes: &[u8]) -> Md5 {
    let constants: [u32; 64] = std::array::from_fn(|step| constant(step as u32));
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut chunks = bytes.chunks_exact(64);
    for chunk in &mut chunks {
        block(&mut state, chunk, &constants);
    }
    let mut tail = chunks.remainder().to_vec();
    tail.push(0x80);
    let padded = if tail.len() <= 56 { 56 } else { 120 };
    tail.resize(padded, 0);
    tail.extend_from_slice(&(bytes.len() as u64).wrapping_mul(8).to_le_bytes());
    for chunk in tail.chunks_exact(64) {
        block(&mut state, chunk, &constants);
    }
    let mut digest = [0; 16];
    for (at, word) in state.iter().enumerate() {
        digest[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
    }
    Md5(digest)
}

fn block(state: &mut [u32; 4], chunk: &[u8], constants: &[u32; 64]) {
    let words: [u32; 16] = std::array::from_fn(|at| {
        u32::from_le_bytes([chunk[at * 4], chunk[at * 4 + 1], chunk[at * 4 + 2], chunk[at * 4 + 3]])
    });
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64 {
        let (mixed, word) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        let sum = a.wrapping_add(mixed).wrapping_add(constants[step]).wrapping_add(words[word]);
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(ROTATIONS[step / 16][step % 4]));
    }
    for (old, new) in state.iter_mut().zip([a, b, c, d]) {
        *old = old.wrapping_add(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_sums_of_the_rfc() {
        let cases = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
            (&"1234567890".repeat(8), "57edf4a22be3c955ac49da2e2107b67a"),
        ];
        for (text, sum) in cases {
            assert_eq!(md5(text.as_bytes()).to_string(), sum, "{text}");
        }
    }
}
