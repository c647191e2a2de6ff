//! Output of integers and floats under one verb.

use super::float::format_float;
use super::printer::Printer;
use super::text;
use super::types::IntKind;
use super::value::Value;

impl Printer {
    pub fn integer(&mut self, value: &Value, number: i64, kind: IntKind, verb: char) {
        let signed = kind.signed();
        let lower = b"0123456789abcdefx";
        let code = number as u64;
        match verb {
            'v' if self.flags.sharp_v && !signed => {
                let sharp = std::mem::replace(&mut self.flags.sharp, true);
                self.digits(code, 16, false, lower, verb);
                self.flags.sharp = sharp;
            }
            'v' | 'd' => self.digits(code, 10, signed, lower, verb),
            'b' => self.digits(code, 2, signed, lower, verb),
            'o' | 'O' => self.digits(code, 8, signed, lower, verb),
            'x' => self.digits(code, 16, signed, lower, verb),
            'X' => self.digits(code, 16, signed, b"0123456789ABCDEFX", verb),
            'c' => {
                let mut buffer = [0; 4];
                self.pad(rune_of(code).encode_utf8(&mut buffer).as_bytes());
            }
            'q' => {
                let mut out = Vec::new();
                text::quote_rune_into(&mut out, rune_of(code), self.flags.plus);
                self.pad(&out);
            }
            'U' => self.unicode(code),
            _ => self.bad_verb(value, verb),
        }
    }

    fn digits(&mut self, bits: u64, base: u64, signed: bool, alphabet: &[u8; 17], verb: char) {
        let negative = signed && (bits as i64) < 0;
        let mut rest = if negative { bits.wrapping_neg() } else { bits };
        let sign = match (negative, self.flags.plus, self.flags.space) {
            (true, ..) => Some(b'-'),
            (false, true, _) => Some(b'+'),
            (false, false, true) => Some(b' '),
            _ => None,
        };
        let least = match (self.flags.precision, self.flags.width) {
            (Some(0), width) if rest == 0 => {
                return self.fill(width.unwrap_or(0), b' ');
            }
            (Some(precision), _) => precision,
            (None, Some(width)) if self.flags.zero => width - usize::from(sign.is_some() && width > 0),
            _ => 0,
        };
        if !self.fits(least) {
            return;
        }
        let mut out = Vec::new();
        loop {
            out.push(alphabet[(rest % base) as usize]);
            rest /= base;
            if rest == 0 {
                break;
            }
        }
        if out.len() < least {
            out.resize(least, b'0');
        }
        // The digits are reversed until the end, so prefixes are pushed backwards.
        if self.flags.sharp {
            match base {
                2 => out.extend_from_slice(b"b0"),
                8 if out.last() != Some(&b'0') => out.push(b'0'),
                16 => out.extend_from_slice(&[alphabet[16], b'0']),
                _ => {}
            }
        }
        if verb == 'O' {
            out.extend_from_slice(b"o0");
        }
        out.extend(sign);
        out.reverse();
        self.pad_with_spaces(&out);
    }

    fn unicode(&mut self, code: u64) {
        let digits = format!("{code:X}");
        let least = self.flags.precision.unwrap_or(4).max(4);
        if !self.fits(least) {
            return;
        }
        let mut out = b"U+".to_vec();
        out.resize(2 + least.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(digits.as_bytes());
        let rune = u32::try_from(code).ok().and_then(char::from_u32);
        if let Some(rune) = rune.filter(|rune| self.flags.sharp && text::is_print(*rune)) {
            out.extend_from_slice(format!(" '{rune}'").as_bytes());
        }
        self.pad_with_spaces(&out);
    }

    // Floats.

    pub fn float_verb(&mut self, value: &Value, number: f64, verb: char) {
        match verb {
            'v' => self.float(number, b'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.float(number, verb as u8, None),
            'e' | 'E' | 'f' => self.float(number, verb as u8, Some(6)),
            'F' => self.float(number, b'f', Some(6)),
            _ => self.bad_verb(value, verb),
        }
    }

    fn float(&mut self, number: f64, verb: u8, default: Option<usize>) {
        let precision = self.flags.precision.or(default);
        if !self.fits(precision.unwrap_or(0)) {
            return;
        }
        let text = format_float(number, verb, precision);
        let (sign, mut body) = match text.first() {
            Some(b'-') => (b'-', text[1..].to_vec()),
            Some(b'+') => (b'+', text[1..].to_vec()),
            _ => (b'+', text),
        };
        let show_sign = self.flags.plus || self.flags.space || sign == b'-';
        let sign = match (sign, self.flags.plus, self.flags.space) {
            (b'+', false, true) => b' ',
            _ => sign,
        };
        if !number.is_finite() {
            if show_sign || number.is_infinite() && self.flags.plus {
                body.insert(0, sign);
            } else if number.is_infinite() {
                body.insert(0, b'+');
            }
            return self.pad_with_spaces(&body);
        }
        if self.flags.sharp && verb != b'b' {
            restore_point(&mut body, verb, precision);
        }
        if !show_sign {
            return self.pad(&body);
        }
        let missing = self.flags.width.unwrap_or(0).saturating_sub(body.len() + 1);
        if self.flags.zero && missing > 0 {
            self.write(&[sign]);
            self.fill(missing, b'0');
            return self.write(&body);
        }
        body.insert(0, sign);
        self.pad(&body);
    }
}

/// The `#` flag on floats: always a decimal point, and for `%g` trailing zeros up to the precision (6 by default).
fn restore_point(body: &mut Vec<u8>, verb: u8, precision: Option<usize>) {
    let mut wanted = match verb {
        b'g' | b'G' | b'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let hex = matches!(verb, b'x' | b'X');
    let is_exponent = |byte: &u8| match byte {
        b'p' | b'P' => true,
        b'e' | b'E' => !hex,
        _ => false,
    };
    let split = body.iter().position(is_exponent).unwrap_or(body.len());
    let tail = body.split_off(split);
    let significant = body.iter().filter(|byte| **byte != b'.').skip_while(|byte| **byte == b'0').count();
    wanted = wanted.saturating_sub(significant);
    if !body.contains(&b'.') {
        if body == b"0" {
            wanted = wanted.saturating_sub(1);
        }
        body.push(b'.');
    }
    body.resize(body.len() + wanted, b'0');
    body.extend_from_slice(&tail);
}

fn rune_of(code: u64) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(text::REPLACEMENT)
}
