//! Slash-separated paths as Go's package path treats them: what confd does to keys, and what `base` and `dir` do.

/// The shortest path that means the same: no `//`, no `.`, `..` resolved as far as possible; "" becomes ".".
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            other => kept.push(other),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The parts that are not empty, joined by slashes and cleaned; "" where all are empty.
pub fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { clean(&parts.join("/")) }
}

/// The last element: "." of an empty path, "/" of one of slashes only.
pub fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/";
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

/// All but the last element, cleaned.
pub fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

/// Whether `key` is `folder` or lies below it. Both are clean and absolute.
pub fn within(key: &str, folder: &str) -> bool {
    folder == "/" || key.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_go_path() {
        let cleaned = [
            ("", "."),
            ("abc", "abc"),
            ("/", "/"),
            ("//a//b/", "/a/b"),
            ("a/./b", "a/b"),
            ("a/../b", "b"),
            ("..", ".."),
            ("../../a", "../../a"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("a/b/../../../c", "../c"),
        ];
        for (path, expected) in cleaned {
            assert_eq!(clean(path), expected, "clean {path}");
        }
        let joined: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["", ""], ""),
            (&["/", "app/server"], "/app/server"),
            (&["/pre", "/app/"], "/pre/app"),
            (&["a", "b"], "a/b"),
        ];
        for (parts, expected) in joined {
            assert_eq!(join(parts), *expected, "join {parts:?}");
        }
        let split = [
            ("", ".", "."),
            ("/", "/", "/"),
            ("/a/b", "b", "/a"),
            ("a", "a", "."),
            ("/a/", "a", "/a"),
            ("//", "/", "/"),
        ];
        for (path, last, rest) in split {
            assert_eq!((base(path), dir(path).as_str()), (last, rest), "{path}");
        }
    }

    #[test]
    fn a_key_is_below_its_folder_only() {
        let cases =
            [("/a", "/a", true), ("/a/b", "/a", true), ("/ab", "/a", false), ("/x", "/", true), ("/a", "/a/b", false)];
        for (key, folder, expected) in cases {
            assert_eq!(within(key, folder), expected, "{key} in {folder}");
        }
    }
}
