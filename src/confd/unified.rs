//! A unified diff between the file that is there and the one that would be.

use similar::TextDiff;

/// Lines around each difference.
const CONTEXT_LINES: usize = 3;

/// The diff as `diff -u` prints it, from `present` (`None`: there is no file) to `wanted`; empty where they are alike.
pub fn unified_diff(dest: &str, present: Option<&[u8]>, wanted: &[u8]) -> String {
    let before = String::from_utf8_lossy(present.unwrap_or_default());
    let after = String::from_utf8_lossy(wanted);
    let from = if present.is_some() { dest } else { "/dev/null" };
    let diff = TextDiff::from_lines(&*before, &*after);
    diff.unified_diff().context_radius(CONTEXT_LINES).header(from, dest).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_as_diff_u() {
        let before = b"a\nb\nc\nd\ne\nf\ng\nh\n";
        let after = b"a\nb\nc\nd\nE\nf\ng\nh\n";
        let expected = "--- /d\n+++ /d\n@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+E\n f\n g\n h\n";
        assert_eq!(unified_diff("/d", Some(before), after), expected);
        assert_eq!(unified_diff("/d", Some(before), before), "");
        assert_eq!(unified_diff("/d", None, b"x\n"), "--- /dev/null\n+++ /d\n@@ -0,0 +1 @@\n+x\n");
        let no_newline = unified_diff("/d", Some(b"x"), b"x\n");
        assert_eq!(no_newline, "--- /d\n+++ /d\n@@ -1 +1 @@\n-x\n\\ No newline at end of file\n+x\n");
    }
}
