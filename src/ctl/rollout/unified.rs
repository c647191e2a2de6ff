//! Two texts as a unified diff.

use std::fmt::Write as _;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// Lines times lines that are compared; beyond it what differs is shown as a whole.
const CELLS_MAX: usize = 4_000_000;

/// A line of the result, and what it is: kept, taken away, new.
type Line<'a> = (char, &'a str);

/// The difference with its head, as `diff -u` writes it; nothing where there is none.
pub fn diff(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let lines = lines(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let mut text = format!("--- a/{name}\n+++ b/{name}\n");
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len());
        lines[around].iter().any(|(kind, _)| *kind != ' ')
    };
    let shown: Vec<bool> = (0..lines.len()).map(near).collect();
    let (mut old, mut new) = (1, 1);
    let mut at = 0;
    while at < lines.len() {
        let end = (at..lines.len()).find(|i| shown[*i] != shown[at]).unwrap_or(lines.len());
        let part = &lines[at..end];
        let of = |kind: char| part.iter().filter(|(k, _)| *k != kind).count();
        let (olds, news) = (of('+'), of('-'));
        if shown[at] {
            let begin = |line: usize, count: usize| if count == 0 { line - 1 } else { line };
            let _ = writeln!(text, "@@ -{},{olds} +{},{news} @@", begin(old, olds), begin(new, news));
            for (kind, line) in part {
                let _ = writeln!(text, "{kind}{line}");
            }
        }
        (old, new, at) = (old + olds, new + news, end);
    }
    text
}

/// The longest common subsequence keeps, all else goes or comes.
fn lines<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before_rest, after_rest) = (&before[head..], &after[head..]);
    let tail = before_rest.iter().rev().zip(after_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before_rest[..before_rest.len() - tail], &after_rest[..after_rest.len() - tail]);
    let mut lines: Vec<Line<'a>> = before[..head].iter().map(|line| (' ', *line)).collect();
    let width = new.len() + 1;
    let mut longest = vec![0u32; 0];
    if old.len() * new.len() <= CELLS_MAX {
        longest = vec![0; (old.len() + 1) * width];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                longest[i * width + j] = if old[i] == new[j] {
                    longest[(i + 1) * width + j + 1] + 1
                } else {
                    longest[(i + 1) * width + j].max(longest[i * width + j + 1])
                };
            }
        }
    }
    let length = |i: usize, j: usize| longest.get(i * width + j).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if !longest.is_empty() && i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || length(i + 1, j) >= length(i, j + 1)) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    lines.extend(before_rest[before_rest.len() - tail..].iter().map(|line| (' ', *line)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_diff_u_writes_it() {
        assert_eq!(diff("a", "x\n", "x\n"), "");
        assert_eq!(diff("a", "", "x\ny\n"), "--- a/a\n+++ b/a\n@@ -0,0 +1,2 @@\n+x\n+y\n");
        assert_eq!(diff("a", "x\n", ""), "--- a/a\n+++ b/a\n@@ -1,1 +0,0 @@\n-x\n");
        let before: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let after = before.replace("\n3\n", "\nthree\n").replace("\n15\n", "\n15\nnew\n");
        let expected = "--- a/a\n+++ b/a\n@@ -1,6 +1,6 @@\n 1\n 2\n-3\n+three\n 4\n 5\n 6\n@@ -13,6 +13,7 @@\n 13\n 14\n 15\n+new\n 16\n 17\n 18\n";
        assert_eq!(diff("a", &before, &after), expected);
    }

    #[test]
    fn texts_too_large_to_compare_are_shown_whole() {
        let old: String = (0..3_000).map(|n| format!("a{n}\n")).collect();
        let new: String = (0..3_000).map(|n| format!("b{n}\n")).collect();
        let text = diff("a", &old, &new);
        assert_eq!(text.lines().filter(|line| line.starts_with('-')).count(), 3_001);
        assert_eq!(text.lines().filter(|line| line.starts_with('+')).count(), 3_001);
    }
}
