//! The house rules, as a test: floors, doors, pure brains, and files that say what they are for.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Rooms by floor; a room imports only from floors below its own. ARCHITECTURE.md has the same table in words.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["kv", "unit", "gotemplate"],
    &["fleet", "confd", "cloudinit", "trust"],
    &["wal", "disk", "bolt", "net", "wire", "files", "shell", "process", "systemd", "docker"],
    &["raft", "remote", "etcd_file", "backup"],
    &["jobs"],
    &["api"],
    &["app", "ctl"],
];

/// Outside crates that may be named in these rooms only.
const DOORS: &[(&str, &[&str])] = &[
    ("openraft", &["raft"]),
    ("bollard", &["docker"]),
    ("redb", &["disk"]),
    ("zbus", &["systemd"]),
    ("zbus_systemd", &["systemd"]),
    ("axum", &["api"]),
    ("tokio_tungstenite", &["ctl"]),
    // Generated messages and services are data; whoever serves or calls them is named beside `wire`.
    ("tonic", &["api", "remote", "ctl", "wire"]),
    ("tonic_prost", &["wire"]),
    ("tonic_reflection", &["api"]),
    ("prost", &["wire", "api"]),
    ("hickory_resolver", &["net"]),
    ("rustls", &["net"]),
    ("tokio_rustls", &["net"]),
    ("rustls_native_certs", &["net"]),
    ("rcgen", &["net"]),
    ("x509_parser", &["net"]),
    ("rusty_s3", &["backup"]),
    ("bcrypt", &["api"]),
    ("hmac", &["api"]),
    ("flate2", &["cloudinit"]),
    ("anyhow", &["app", "ctl", "main"]),
];

/// What floors 0 to 2 never name: input and output, clocks, chance, threads.
const IMPURE: &[&str] = &[
    "tokio",
    "rustix",
    "rand::",
    "std::fs",
    "std::net",
    "std::env",
    "std::io::stdin",
    "std::os::",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "SystemTime::now",
    "Instant::now",
    "jiff::Timestamp::now",
    "Zoned::now",
    "println!",
    "eprintln!",
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Blanks out comments, strings and character literals, keeping the lines where they are.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').unwrap_or(0) + 1;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if rest.starts_with('"') {
            quoted(rest, '"')
        } else if rest.starts_with("'\\") || (rest.starts_with('\'') && rest.chars().nth(2) == Some('\'')) {
            quoted(rest, '\'')
        } else {
            let c = rest.chars().next().unwrap();
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        out.push(' ');
        at += skipped;
    }
    out
}

fn raw_string(rest: &str) -> Option<usize> {
    let tail = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = tail.len() - tail.trim_start_matches('#').len();
    tail[hashes..].starts_with('"').then_some(hashes)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The part before the tests: rules about purity and doors speak of the code that ships.
fn shipped(path: &str, code: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name == "tests.rs" || name.ends_with("_test.rs") || name.ends_with("_tests.rs") || name == "testing.rs" {
        return String::new();
    }
    code.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").to_owned()
}

/// Whether `word` stands in `line` as a path of its own and not as the end of a longer name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && before != Some(':') && (word.ends_with([':', '!']) || !part(after))
    })
}

fn check(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") && !text.contains("@generated") {
        faults.push(format!("{path}:1: opens without a `//!` line that says what the file is for"));
    }
    let Some(inside) = path.strip_prefix("src/") else { return faults };
    let room = inside.split(['/', '.']).next().unwrap_or(inside);
    let code = shipped(path, &code_only(text));
    for (number, line) in code.lines().enumerate() {
        let place = format!("{path}:{}", number + 1);
        check_imports(&place, room, line, &mut faults);
        for (outside, rooms) in DOORS {
            let named = names(line, &format!("{outside}::")) || names(line, &format!("use {outside}"));
            if named && !rooms.contains(&room) {
                faults.push(format!("{place}: names {outside}, whose door is {}", rooms.join(", ")));
            }
        }
        if floor(room).is_some_and(|floor| floor <= 2) {
            for word in IMPURE.iter().filter(|word| names(line, word)) {
                faults.push(format!("{place}: {room} is pure and names {word}; take it as an argument"));
            }
        }
    }
    faults
}

fn check_imports(place: &str, room: &str, line: &str, faults: &mut Vec<String>) {
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        if rest.starts_with('{') {
            faults.push(format!("{place}: write one `use crate::room::…` a line, so that imports can be checked"));
            continue;
        }
        let target: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let (Some(own), Some(other)) = (floor(room), floor(&target)) else { continue };
        if target != room && other >= own {
            let how = if other > own { "upwards" } else { "sideways" };
            faults.push(format!("{place}: {room} (floor {own}) imports {how} from {target} (floor {other})"));
        }
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "integration", "examples"] {
        rust_files(&root.join(folder), &mut files);
    }
    assert!(files.len() > 50, "found only {} files", files.len());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            check(&path, &std::fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_room_stands_on_a_floor_and_on_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("src/lib.rs")).unwrap();
    for entry in std::fs::read_dir(root.join("src")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            let room = entry.file_name().to_string_lossy().into_owned();
            assert!(floor(&room).is_some(), "src/{room} stands on no floor");
            assert!(map.contains(&format!("pub mod {room};")), "src/lib.rs does not name {room}");
        }
    }
}

#[test]
fn planted_faults_are_found() {
    let opened = |code: &str| format!("//! A file.\n{code}\n");
    let cases = [
        ("src/kv/a.rs", opened("use crate::raft::Store;"), "imports upwards"),
        ("src/kv/a.rs", opened("use crate::unit::Unit;"), "imports sideways"),
        ("src/app/a.rs", opened("fn f() { crate::ctl::run() }"), "imports sideways"),
        ("src/api/a.rs", opened("use crate::{kv, raft};"), "one `use crate::room"),
        ("src/jobs/a.rs", opened("use redb::Database;"), "whose door is disk"),
        ("src/kv/a.rs", opened("let t = std::time::Instant::now();"), "is pure"),
        ("src/fleet/a.rs", opened("use tokio::sync::mpsc;"), "is pure"),
        ("src/unit/a.rs", opened("let n = rand::random();"), "is pure"),
        ("src/wal/a.rs", "use std::fs;\n".to_owned(), "opens without"),
    ];
    for (path, text, expected) in cases {
        let faults = check(path, &text).join("\n");
        assert!(faults.contains(expected), "{path}: {text:?} gave {faults:?}");
    }
}

#[test]
fn what_is_allowed_is_not_a_fault() {
    let cases = [
        ("src/raft/a.rs", "//! A file.\nuse crate::kv::Store;\nuse openraft::Raft;\n"),
        ("src/kv/a.rs", "//! Names std::fs in words.\nlet text = \"tokio::spawn\"; // redb::Database\n"),
        ("src/kv/a.rs", "//! A file.\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n"),
        ("src/api/a.rs", "//! A file.\nlet c = 'x'; let brand::x = 1; crate::kv::f();\n"),
    ];
    for (path, text) in cases {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text:?}");
    }
}
