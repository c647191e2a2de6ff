//! Floating-point numbers as text the way Go's strconv writes and reads them.

/// More decimal places than any finite `f64` has digits; places beyond are zeros.
const MAX_EXACT_PLACES: usize = 1100;

/// The significant decimal digits of a number: 0.d₁d₂… × 10^`point`; zero has no digits.
struct Decimal {
    digits: Vec<u8>,
    point: i32,
}

impl Decimal {
    /// From Rust's scientific notation (`1.25e-7`).
    fn parse(scientific: &str) -> Decimal {
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let point = match digits.is_empty() {
            true => 0,
            false => exponent.parse::<i32>().unwrap_or(0) + 1,
        };
        Decimal { digits, point }
    }

    fn shortest(value: f64) -> Decimal {
        Decimal::parse(&format!("{value:e}"))
    }

    fn rounded(value: f64, significant: usize) -> Decimal {
        let places = significant.saturating_sub(1).min(MAX_EXACT_PLACES);
        Decimal::parse(&format!("{value:.places$e}"))
    }

    fn digit(&self, at: i64) -> u8 {
        usize::try_from(at).ok().and_then(|at| self.digits.get(at).copied()).unwrap_or(b'0')
    }

    fn write_scientific(&self, out: &mut Vec<u8>, places: usize, letter: u8) {
        out.push(self.digit(0));
        if places > 0 {
            out.push(b'.');
            out.extend((1..=places as i64).map(|at| self.digit(at)));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        out.push(letter);
        write_exponent(out, exponent);
    }

    fn write_fixed(&self, out: &mut Vec<u8>, places: usize) {
        let point = i64::from(self.point);
        if point > 0 {
            out.extend((0..point).map(|at| self.digit(at)));
        } else {
            out.push(b'0');
        }
        if places > 0 {
            out.push(b'.');
            out.extend((0..places as i64).map(|at| self.digit(point + at)));
        }
    }
}

fn write_exponent(out: &mut Vec<u8>, exponent: i32) {
    let sign = if exponent < 0 { '-' } else { '+' };
    out.extend_from_slice(format!("{sign}{:02}", exponent.unsigned_abs()).as_bytes());
}

/// A float in format `verb` (one of `e E f F g G b x X`) with `places` digits of precision, or the shortest text that
/// reads back the same when `None`. Infinities are `+Inf` and `-Inf`.
pub fn format_float(value: f64, verb: u8, places: Option<usize>) -> Vec<u8> {
    if value.is_nan() {
        return b"NaN".to_vec();
    }
    let mut out = Vec::new();
    if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-Inf" } else { b"+Inf" });
        return out;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let value = value.abs();
    match verb {
        b'e' | b'E' => {
            let decimal = match places {
                Some(places) => Decimal::rounded(value, places + 1),
                None => Decimal::shortest(value),
            };
            let places = places.unwrap_or(decimal.digits.len().saturating_sub(1));
            decimal.write_scientific(&mut out, places, verb);
        }
        b'g' | b'G' => write_general(&mut out, value, verb - (b'g' - b'e'), places),
        b'b' => write_binary(&mut out, value),
        b'x' | b'X' => write_hex(&mut out, value, verb, places),
        _ => match places {
            Some(places) => {
                let exact = places.min(MAX_EXACT_PLACES);
                out.extend_from_slice(format!("{value:.exact$}").as_bytes());
                out.resize(out.len() + places - exact, b'0');
            }
            None => out.extend_from_slice(format!("{value}").as_bytes()),
        },
    }
    out
}

/// `%g`: fixed notation unless the exponent is below -4 or not below the precision (6 when shortest).
fn write_general(out: &mut Vec<u8>, value: f64, letter: u8, places: Option<usize>) {
    let (decimal, limit) = match places {
        None => (Decimal::shortest(value), 6),
        Some(places) => {
            let significant = places.max(1);
            (Decimal::rounded(value, significant), significant)
        }
    };
    let count = decimal.digits.len();
    let exponent = i64::from(decimal.point) - 1;
    if exponent < -4 || exponent >= limit as i64 {
        decimal.write_scientific(out, count.saturating_sub(1), letter);
    } else {
        let fraction = count as i64 - i64::from(decimal.point);
        decimal.write_fixed(out, usize::try_from(fraction).unwrap_or(0));
    }
}

const MANTISSA_BITS: u32 = 52;

/// The mantissa with its implicit bit and the exponent of its lowest bit's scale (IEEE 754 binary64).
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    match (bits >> MANTISSA_BITS) & 0x7ff {
        0 => (fraction, -1022),
        exponent => (fraction | 1 << MANTISSA_BITS, exponent as i32 - 1023),
    }
}

fn write_binary(out: &mut Vec<u8>, value: f64) {
    let (mantissa, exponent) = parts(value);
    out.extend_from_slice(format!("{mantissa}p{:+}", exponent - MANTISSA_BITS as i32).as_bytes());
}

fn write_hex(out: &mut Vec<u8>, value: f64, verb: u8, places: Option<usize>) {
    const TOP: u32 = 60;
    let digits: &[u8; 16] = if verb == b'x' { b"0123456789abcdef" } else { b"0123456789ABCDEF" };
    let (mantissa, mut exponent) = parts(value);
    let mut mantissa = mantissa << (TOP - MANTISSA_BITS);
    if mantissa == 0 {
        exponent = 0;
    }
    while mantissa != 0 && mantissa & (1 << TOP) == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if let Some(places) = places.filter(|places| *places < 15) {
        let shift = places as u32 * 4;
        let extra = (mantissa << shift) & ((1 << TOP) - 1);
        mantissa >>= TOP - shift;
        if extra | (mantissa & 1) > 1 << (TOP - 1) {
            mantissa += 1;
        }
        mantissa <<= TOP - shift;
        if mantissa & (1 << (TOP + 1)) != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    out.extend_from_slice(&[b'0', verb, b'0' + ((mantissa >> TOP) & 1) as u8]);
    mantissa <<= 4;
    let mut next = || {
        let digit = digits[((mantissa >> TOP) & 15) as usize];
        mantissa <<= 4;
        (digit, mantissa)
    };
    match places {
        Some(0) => {}
        Some(places) => {
            out.push(b'.');
            out.extend((0..places).map(|_| next().0));
        }
        None => write_hex_fraction(out, next),
    }
    out.push(if verb == b'x' { b'p' } else { b'P' });
    write_exponent(out, exponent);
}

/// Hexadecimal digits until the rest of the mantissa is zero; nothing when it is zero at once.
fn write_hex_fraction(out: &mut Vec<u8>, mut next: impl FnMut() -> (u8, u64)) {
    let mut pending_zeros = 0;
    let mut started = false;
    for _ in 0..16 {
        let (digit, rest) = next();
        if digit == b'0' {
            pending_zeros += 1;
        } else {
            if !started {
                out.push(b'.');
                started = true;
            }
            out.resize(out.len() + pending_zeros, b'0');
            pending_zeros = 0;
            out.push(digit);
        }
        if rest == 0 {
            break;
        }
    }
}

/// Reads a Go floating-point literal, decimal or hexadecimal (`0x1.8p3`), with `_` between digits.
/// `None` when malformed or out of range.
pub fn parse_float(text: &str) -> Option<f64> {
    if text.contains('_') && !underscores_ok(text) {
        return None;
    }
    let clean = text.replace('_', "");
    let (negative, body) = match clean.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    if !body.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let value = match body.strip_prefix("0x").or_else(|| body.strip_prefix("0X")) {
        Some(hex) => parse_hex(hex)?,
        None => body.parse().ok()?,
    };
    match value.is_finite() {
        true => Some(if negative { -value } else { value }),
        false => None,
    }
}

fn parse_hex(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i64 = exponent.parse::<i32>().ok()?.into();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    let mut scale = exponent;
    for (at, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let digit = u64::from(digit.to_digit(16)?);
        let in_fraction = at >= whole.len();
        if value >> 59 == 0 {
            value = value << 4 | digit;
            scale -= if in_fraction { 4 } else { 0 };
        } else {
            // Digits past the 64th bit only matter for rounding: keep them as a sticky bit.
            value |= u64::from(digit != 0);
            scale += if in_fraction { 0 } else { 4 };
        }
    }
    let scale = i32::try_from(scale.clamp(-5000, 5000)).ok()?;
    let half = scale / 2;
    Some(value as f64 * 2f64.powi(half) * 2f64.powi(scale - half))
}

/// Go's rule for `_` in literals: only between digits, or between a base prefix and a digit.
pub fn underscores_ok(text: &str) -> bool {
    let body = text.trim_start_matches(['+', '-']);
    let bytes = body.as_bytes();
    let mut hex = false;
    let mut previous = b'^';
    let mut start = 0;
    if bytes.len() >= 2 && bytes[0] == b'0' && matches!(bytes[1] | 0x20, b'b' | b'o' | b'x') {
        hex = bytes[1] | 0x20 == b'x';
        previous = b'0';
        start = 2;
    }
    for &byte in &bytes[start..] {
        if byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit() {
            previous = b'0';
        } else if byte == b'_' {
            if previous != b'0' {
                return false;
            }
            previous = b'_';
        } else {
            if previous == b'_' {
                return false;
            }
            previous = b'!';
        }
    }
    previous != b'_'
}
