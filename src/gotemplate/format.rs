//! Go's `fmt.Sprint`, `Sprintln` and `Sprintf` over template values.

use super::printer::{Flags, Printer, TooLong};
use super::text;
use super::value::Value;

/// Go refuses larger widths, precisions and argument indexes.
const MAX_NUMBER: i64 = 1_000_000;

/// A value as `%v` prints it, at most `limit` bytes. A nil is `<nil>`.
pub fn format_value(value: &Value, limit: usize) -> Result<Vec<u8>, TooLong> {
    sprint(std::slice::from_ref(value), limit)
}

/// Go's `fmt.Sprint`: spaces between operands when neither is a string. At most `limit` bytes.
pub fn sprint(args: &[Value], limit: usize) -> Result<Vec<u8>, TooLong> {
    let mut printer = Printer::new(limit);
    for (at, arg) in args.iter().enumerate() {
        let previous = at.checked_sub(1).and_then(|at| args.get(at));
        if previous.is_some_and(|previous| !is_string(previous) && !is_string(arg)) {
            printer.write(b" ");
        }
        printer.argument(arg, 'v');
    }
    printer.finish()
}

/// Go's `fmt.Sprintln`: spaces between all operands and a newline. At most `limit` bytes.
pub fn sprintln(args: &[Value], limit: usize) -> Result<Vec<u8>, TooLong> {
    let mut printer = Printer::new(limit);
    for (at, arg) in args.iter().enumerate() {
        if at > 0 {
            printer.write(b" ");
        }
        printer.argument(arg, 'v');
    }
    printer.write(b"\n");
    printer.finish()
}

/// Go's `fmt.Sprintf`, including the `%!verb(type=value)` marks for mistakes. At most `limit` bytes.
pub fn sprintf(format: &[u8], args: &[Value], limit: usize) -> Result<Vec<u8>, TooLong> {
    let mut run =
        Run { printer: Printer::new(limit), format, args, at: 0, next: 0, reordered: false, good_index: true };
    while run.at < format.len() && !run.printer.is_full() {
        run.literal();
        if run.at < format.len() {
            run.at += 1;
            run.verb();
        }
    }
    run.surplus();
    run.printer.finish()
}

fn is_string(value: &Value) -> bool {
    matches!(value.basic(), Value::Str(_))
}

/// One run over a format string.
struct Run<'a> {
    printer: Printer,
    format: &'a [u8],
    args: &'a [Value],
    /// Position in the format.
    at: usize,
    /// Index of the next argument.
    next: usize,
    /// An explicit index (`%[2]d`) was used.
    reordered: bool,
    /// The current verb's explicit index is usable.
    good_index: bool,
}

impl Run<'_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn literal(&mut self) {
        let rest = &self.format[self.at..];
        let length = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
        self.printer.write(&rest[..length]);
        self.at += length;
    }

    fn verb(&mut self) {
        self.good_index = true;
        self.printer.flags = Flags::default();
        self.flags();
        let mut indexed = self.index();
        if self.peek() == Some(b'*') {
            self.at += 1;
            match self.star() {
                Some(width) => {
                    self.printer.flags.width = Some(width.unsigned_abs() as usize);
                    if width < 0 {
                        self.printer.flags.minus = true;
                        self.printer.flags.zero = false;
                    }
                }
                None => self.printer.write(b"%!(BADWIDTH)"),
            }
            indexed = false;
        } else {
            self.printer.flags.width = self.number(self.format.len());
            if indexed && self.printer.flags.width.is_some() {
                self.good_index = false;
            }
        }
        // At the very end it is the verb, and a bad one.
        if self.peek() == Some(b'.') && self.at + 1 < self.format.len() {
            self.at += 1;
            indexed = self.precision(indexed);
        }
        if !indexed {
            self.index();
        }
        self.apply();
    }

    fn flags(&mut self) {
        let flags = &mut self.printer.flags;
        while let Some(byte) = self.format.get(self.at) {
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = !flags.minus,
                b'+' => flags.plus = true,
                b'-' => {
                    flags.minus = true;
                    flags.zero = false;
                }
                b' ' => flags.space = true,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn precision(&mut self, indexed: bool) -> bool {
        if indexed {
            self.good_index = false;
        }
        let indexed = self.index();
        if self.peek() != Some(b'*') {
            self.printer.flags.precision = Some(self.number(self.format.len()).unwrap_or(0));
            return indexed;
        }
        self.at += 1;
        self.printer.flags.precision = self.star().and_then(|value| usize::try_from(value).ok());
        if self.printer.flags.precision.is_none() {
            self.printer.write(b"%!(BADPREC)");
        }
        false
    }

    /// A `*` takes its number from the next argument.
    fn star(&mut self) -> Option<i64> {
        let value = self.args.get(self.next)?;
        self.next += 1;
        match value.basic() {
            Value::Int(number) => Some(number),
            Value::Integer(kind, number) if kind.signed() || number >= 0 => Some(number),
            _ => None,
        }
        .filter(|number| (-MAX_NUMBER..=MAX_NUMBER).contains(number))
    }

    /// A decimal number ending before `end`; one that is too large swallows the rest of the format, as in Go.
    fn number(&mut self, end: usize) -> Option<usize> {
        let mut value = None;
        while let Some(digit) = self.peek().filter(|byte| self.at < end && byte.is_ascii_digit()) {
            let so_far = value.unwrap_or(0);
            if so_far > MAX_NUMBER as usize {
                self.at = end;
                return None;
            }
            value = Some(so_far * 10 + usize::from(digit - b'0'));
            self.at += 1;
        }
        value
    }

    /// An explicit argument index `[n]`; whether there was a usable one.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let close = rest.iter().position(|byte| *byte == b']').filter(|_| rest.len() >= 3);
        let Some(close) = close else {
            self.at += 1;
            self.good_index = false;
            return false;
        };
        let end = self.at + close;
        self.at += 1;
        let number = self.number(end);
        let complete = self.at == end;
        self.at = end + 1;
        match number {
            Some(number) if complete && number >= 1 && number <= self.args.len() => {
                self.next = number - 1;
                true
            }
            // Go treats a well-formed index out of range as present but bad.
            Some(_) if complete => {
                self.good_index = false;
                true
            }
            _ => {
                self.good_index = false;
                false
            }
        }
    }

    fn apply(&mut self) {
        let Some((verb, width)) = text::decode_rune(&self.format[self.at..]) else {
            return self.printer.write(b"%!(NOVERB)");
        };
        self.at += width;
        if verb == '%' {
            return self.printer.write(b"%");
        }
        if !self.good_index {
            return self.complain(verb, "BADINDEX");
        }
        let Some(arg) = self.args.get(self.next) else {
            return self.complain(verb, "MISSING");
        };
        self.next += 1;
        let flags = &mut self.printer.flags;
        if verb == 'v' {
            flags.sharp_v = std::mem::take(&mut flags.sharp);
            flags.plus_v = std::mem::take(&mut flags.plus);
        }
        self.printer.argument(arg, verb);
    }

    fn complain(&mut self, verb: char, what: &str) {
        self.printer.write(format!("%!{verb}({what})").as_bytes());
    }

    /// Arguments that no verb used.
    fn surplus(&mut self) {
        if self.reordered || self.next >= self.args.len() {
            return;
        }
        self.printer.flags = Flags::default();
        self.printer.write(b"%!(EXTRA ");
        for (at, arg) in self.args[self.next..].iter().enumerate() {
            if at > 0 {
                self.printer.write(b", ");
            }
            if matches!(arg, Value::Nil) {
                self.printer.write(b"<nil>");
            } else {
                self.printer.write(format!("{}=", arg.go_type()).as_bytes());
                self.printer.argument(arg, 'v');
            }
        }
        self.printer.write(b")");
    }
}
