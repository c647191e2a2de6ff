//! `node ctl import etcd`: another etcd's data as the beginning of a new cluster.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::args::{self, Flag, Parsed};
use super::founding::{self, Founding};
use super::node_ctl::{HELP_FLAG, misunderstood};
use super::restore::node_defaults;
use crate::disk::Database;
use crate::etcd_file::{self, EtcdFile, Intake, Report};
use crate::kv::PastIndex;

pub const HELP: &str = "\
node ctl import etcd: begin a new cluster with the data of an etcd 3.
  $ node ctl import etcd --snapshot FILE --data-dir DIR
FILE is a snapshot (`etcdctl snapshot save`), a stopped member's database (member/snap/db) or its data directory.
Keys come with their revisions, versions, leases and the history that is there. Import the same file for each member.
  --data-dir DIR                the folder to make; it must be empty or absent
  --name NAME                   the member that it is for [this host's name]
  --initial-cluster NAME=URL,…  all members of the new cluster [NAME=http://127.0.0.1:2380]
  --initial-cluster-token TEXT  tells clusters of the same addresses apart [etcd-cluster]
  --bump-revision N --mark-compacted
                                revisions skip N ahead and older history cannot be read
";

const FLAGS: &[Flag] = &[Flag { names: &["snapshot"], value: true, variable: None, help: "etcd's file" }];

/// Runs the command: 0, 2 for a command line that cannot be understood.
///
/// # Errors
/// What is wrong with the source or the folder.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match args::parse(arguments, &[FLAGS, founding::FLAGS, HELP_FLAG], &|_| None) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(misunderstood(&error.to_string())),
    };
    if parsed.value("help").is_some() {
        print!("{HELP}");
        return Ok(0);
    }
    match parsed.words.as_slice() {
        [what] if what == "etcd" => {}
        _ => return Ok(misunderstood("`import` takes `etcd`")),
    }
    match parsed.value("snapshot") {
        Some(file) => from_file(Path::new(file), &parsed),
        None => Ok(misunderstood("--snapshot FILE is needed")),
    }
}

fn from_file(file: &Path, parsed: &Parsed) -> anyhow::Result<u8> {
    let founding = match Founding::read(parsed, &node_defaults()) {
        Ok(founding) => founding,
        Err(error) => return Ok(misunderstood(&error.to_string())),
    };
    let report = make(file, &founding)?;
    println!("imported {} into {}", file.display(), founding.data_dir.display());
    print!("{}{}", told(&report), founding.told());
    Ok(0)
}

/// Makes a data directory of a file of etcd's.
///
/// # Errors
/// What is wrong with the file or the folder.
pub fn make(file: &Path, founding: &Founding) -> anyhow::Result<Report> {
    let name = || file.display().to_string();
    let source = EtcdFile::open(file).with_context(name)?;
    founding.make(|database| fill(&source, founding, database).with_context(name))
}

fn fill(source: &EtcdFile, founding: &Founding, database: &Database) -> anyhow::Result<Report> {
    let compacted = etcd_file::compacted(source)?;
    let mut intake = Intake::new(database, founding.seed.members.len(), compacted)?;
    let mut report = etcd_file::load(source, &mut intake, PastIndex::Next)?;
    report.loaded = intake.finish(report.revision)?;
    Ok(report)
}

/// What was taken and what was not.
pub fn told(report: &Report) -> String {
    let loaded = &report.loaded;
    let history = match report.compacted {
        0 => "all history".to_owned(),
        mark => format!("history from {mark} on"),
    };
    let mut text = format!(
        "taken     revision {} with {history}: {} puts, {} deletions, {} leases\n",
        report.revision, loaded.changes, loaded.deletions, loaded.leases
    );
    let mut left = |what: String| {
        let _ = writeln!(text, "not taken {what}");
    };
    if report.users > 0 || report.roles > 0 || report.auth_enabled {
        let on = if report.auth_enabled { "on" } else { "off" };
        left(format!("{} users and {} roles; authentication was {on}, here it is off", report.users, report.roles));
    }
    if report.alarms > 0 {
        left(format!("{} alarms", report.alarms));
    }
    if !report.members.is_empty() {
        let version = report.version.as_deref().map_or_else(String::new, |version| format!(" of version {version}"));
        left(format!("the old cluster{version} and its members: {}", report.members.join(", ")));
    }
    if !report.unknown.is_empty() {
        left(format!("what this program does not know: {}", report.unknown.join(", ")));
    }
    if loaded.without_lease > 0 {
        let _ = writeln!(text, "note      {} puts name leases that are not in the file", loaded.without_lease);
    }
    for (old, new) in &loaded.renumbered {
        let _ = writeln!(text, "note      lease {old} is {new} here: its number has another use");
    }
    if !report.sealed {
        text.push_str(
            "note      the file has no checksum, and what etcd had in its log alone is not in it: stop etcd in order before\n",
        );
    }
    text
}
