//! Whole numbers: arithmetic on Go's `int`, `seq`, `atoi`, `parseBool`.

use crate::gotemplate::{List, Type, Value};

/// The longest list that `seq` makes.
const SEQUENCE_ITEMS_MAX: u64 = 1_000_000;

static INT: Type = Type::INT;

/// One of `add sub mul div mod seq`.
///
/// # Errors
/// Division by zero, in Go's words; a sequence that is too long.
pub(super) fn calculate(name: &str, a: i64, b: i64) -> Result<Value, String> {
    let divided = || "runtime error: integer divide by zero".to_owned();
    Ok(match name {
        "add" => Value::Int(a.wrapping_add(b)),
        "sub" => Value::Int(a.wrapping_sub(b)),
        "mul" => Value::Int(a.wrapping_mul(b)),
        "div" if b == 0 => return Err(divided()),
        "mod" if b == 0 => return Err(divided()),
        "div" => Value::Int(a.wrapping_div(b)),
        "mod" => Value::Int(a.wrapping_rem(b)),
        _ if a <= b && b.abs_diff(a) >= SEQUENCE_ITEMS_MAX => {
            return Err(format!("more than {SEQUENCE_ITEMS_MAX} numbers"));
        }
        _ => Value::List(List::new(&INT, (a..=b).map(Value::Int).collect())),
    })
}

/// Go's `strconv.Atoi`. The text itself is not in the error: it may be a key's value.
pub(super) fn atoi(text: &[u8]) -> Result<Value, String> {
    let fail = |why: &str| format!("strconv.Atoi: parsing a text of {} bytes: {why}", text.len());
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(fail("invalid syntax"));
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.map(Value::Int).ok_or_else(|| fail("value out of range"))
}

/// Go's `strconv.ParseBool`, likewise.
pub(super) fn parse_bool(text: &[u8]) -> Result<Value, String> {
    match text {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok(Value::Bool(true)),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok(Value::Bool(false)),
        _ => Err(format!("strconv.ParseBool: parsing a text of {} bytes: invalid syntax", text.len())),
    }
}
