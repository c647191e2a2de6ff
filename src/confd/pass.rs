//! One decision: is the file what it should be? With the reasons in confd's words.

use super::md5::Md5;
use super::mode::show_mode;

/// What the present file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestFacts {
    pub uid: u32,
    pub gid: u32,
    /// With the bits above the permissions, as far as `chmod` sets them (07777).
    pub mode: u32,
    pub md5: Md5,
}

/// What the file should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub md5: Md5,
}

/// Whether there is something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    InSync,
    /// The reasons, one log line each; none where there is no file yet.
    Changed(Vec<String>),
}

/// Compares the file at `dest` with what it should be. `None`: there is none.
pub fn compare(dest: &str, present: Option<&DestFacts>, wanted: &Wanted) -> Verdict {
    let Some(present) = present else { return Verdict::Changed(Vec::new()) };
    let mut reasons = Vec::new();
    if present.uid != wanted.uid {
        reasons.push(format!("{dest} has UID {} should be {}", present.uid, wanted.uid));
    }
    if present.gid != wanted.gid {
        reasons.push(format!("{dest} has GID {} should be {}", present.gid, wanted.gid));
    }
    if present.mode != wanted.mode {
        reasons.push(format!("{dest} has mode {} should be {}", show_mode(present.mode), show_mode(wanted.mode)));
    }
    if present.md5 != wanted.md5 {
        reasons.push(format!("{dest} has md5sum {} should be {}", present.md5, wanted.md5));
    }
    if reasons.is_empty() { Verdict::InSync } else { Verdict::Changed(reasons) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confd::md5::md5;

    #[test]
    fn every_difference_is_a_reason() {
        let wanted = Wanted { uid: 0, gid: 0, mode: 0o644, md5: md5(b"new") };
        let present = DestFacts { uid: 0, gid: 0, mode: 0o644, md5: md5(b"new") };
        let same = "22af645d1859cb5ca6da0c484f1f37ea";
        let old = "149603e6c03516362a8da23f624db945";
        let cases = [
            (present, Verdict::InSync),
            (DestFacts { uid: 5, ..present }, Verdict::Changed(vec!["/d has UID 5 should be 0".into()])),
            (DestFacts { gid: 5, ..present }, Verdict::Changed(vec!["/d has GID 5 should be 0".into()])),
            (
                DestFacts { mode: 0o600, ..present },
                Verdict::Changed(vec!["/d has mode -rw------- should be -rw-r--r--".into()]),
            ),
            (
                DestFacts { md5: md5(b"old"), ..present },
                Verdict::Changed(vec![format!("/d has md5sum {old} should be {same}")]),
            ),
        ];
        for (present, expected) in cases {
            assert_eq!(compare("/d", Some(&present), &wanted), expected);
        }
        assert_eq!(compare("/d", None, &wanted), Verdict::Changed(Vec::new()));
        // A set-user-id bit is a difference, though `-rwxr-xr-x` does not show it.
        let setuid = DestFacts { mode: 0o4644, ..present };
        assert!(matches!(compare("/d", Some(&setuid), &wanted), Verdict::Changed(_)));
    }
}
