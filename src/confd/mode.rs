//! File modes: read as people write them, shown as `ls -l` does.

/// What a `mode` says: the permission bits, and whether it only meant them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadMode {
    pub bits: u32,
    /// Written without the leading 0: confd takes that as a decimal number.
    pub bare: bool,
}

/// Reads `0644`, `0o644`, `0x1a4` and `0b110100100`, and `644` as octal (confd: decimal, which nobody means). Bits above
/// 0777 are dropped, as confd does. `None`: not a mode.
pub(super) fn read_mode(text: &str) -> Option<ReadMode> {
    let (digits, radix, bare) = if let Some(digits) = prefixed(text, ["0x", "0X"]) {
        (digits, 16, false)
    } else if let Some(digits) = prefixed(text, ["0b", "0B"]) {
        (digits, 2, false)
    } else if let Some(digits) = prefixed(text, ["0o", "0O"]) {
        (digits, 8, false)
    } else {
        (text, 8, !text.starts_with('0'))
    };
    // from_str_radix would take a sign.
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let bits = u32::from_str_radix(digits, radix).ok()?;
    Some(ReadMode { bits: bits & 0o777, bare })
}

fn prefixed<'a>(text: &'a str, prefixes: [&str; 2]) -> Option<&'a str> {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))
}

/// A regular file's permission bits as `-rw-r--r--`.
pub fn show_mode(mode: u32) -> String {
    let letters = (0..9).map(|at| if mode & (0o400 >> at) != 0 { "rwxrwxrwx".as_bytes()[at] } else { b'-' });
    std::iter::once('-').chain(letters.map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_modes_and_what_was_meant() {
        let cases = [
            ("0644", Some((0o644, false))),
            ("0o600", Some((0o600, false))),
            ("644", Some((0o644, true))),
            ("04755", Some((0o755, false))),
            ("0x1ff", Some((0o777, false))),
            ("0b110", Some((0o6, false))),
            ("0", Some((0, false))),
            ("rw", None),
            ("", None),
            ("689", None),
            ("-644", None),
            ("0+44", None),
            ("0o", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_mode(text).map(|mode| (mode.bits, mode.bare)), expected, "{text}");
        }
    }

    #[test]
    fn shows_modes_as_ls_does() {
        for (mode, expected) in
            [(0o644, "-rw-r--r--"), (0o4755, "-rwxr-xr-x"), (0, "----------"), (0o777, "-rwxrwxrwx")]
        {
            assert_eq!(show_mode(mode), expected);
        }
    }
}
