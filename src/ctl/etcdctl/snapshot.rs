//! `etcdctl snapshot save|restore|status`, for files of either kind: this program's and etcd's.

use std::fs::File;
use std::path::Path;

use serde_json::json;

use super::v3::format::{Format, table};
use super::{Context, Failed};
use crate::ctl::args::{Flag, Parsed};
use crate::ctl::founding::{Defaults, Founding, Misunderstood};
use crate::ctl::{import, restore, snapshot};
use crate::etcd_file::{self, EtcdFile, FileKind};

/// Flags of `restore` besides those of a new cluster.
pub const FLAGS: &[Flag] = &[
    Flag {
        names: &["skip-hash-check"],
        value: false,
        variable: None,
        help: "take a member's own file, without a checksum",
    },
    Flag { names: &["wal-dir"], value: true, variable: None, help: "not served: the log lies with the data" },
];

/// etcdctl's exit code for a command line with too few or too many words.
const EXIT_BAD_ARGUMENTS: u8 = 128;

/// Runs the command.
///
/// # Errors
/// As etcdctl has them: 128 for too few or too many words, 1 for all else.
pub async fn run(context: &Context) -> Result<u8, Failed> {
    match context.parsed.words.get(1).map(String::as_str) {
        Some("save") => save(context).await,
        Some("status") => status(context),
        Some("restore") => take_back(&context.parsed),
        _ => Err(Failed { code: EXIT_BAD_ARGUMENTS, message: "snapshot takes save, restore or status".to_owned() }),
    }
}

fn file<'a>(parsed: &'a Parsed, verb: &str) -> Result<&'a Path, Failed> {
    match &parsed.words[2..] {
        [file] => Ok(Path::new(file)),
        _ => {
            // The original says it in two ways.
            let needs = if verb == "save" { "expects" } else { "requires exactly" };
            let message = format!("snapshot {verb} {needs} one argument");
            Err(Failed { code: EXIT_BAD_ARGUMENTS, message })
        }
    }
}

fn failed(error: &anyhow::Error) -> Failed {
    Failed { code: 1, message: format!("{error:#}") }
}

async fn save(context: &Context) -> Result<u8, Failed> {
    let file = file(&context.parsed, "save")?;
    let [endpoint] = context.endpoints.as_slice() else {
        return Err(Failed {
            code: EXIT_BAD_ARGUMENTS,
            message: "snapshot must be requested to one selected node, not multiple".to_owned(),
        });
    };
    snapshot::save_any(endpoint, context.login.as_ref(), file).await.map_err(|error| failed(&error))?;
    println!("Snapshot saved at {}", file.display());
    Ok(0)
}

fn status(context: &Context) -> Result<u8, Failed> {
    let file = file(&context.parsed, "status")?;
    let status = figures(file).map_err(|error| failed(&error))?;
    let etcd_file::Status { hash, revision, keys, bytes } = status;
    match context.format {
        Format::Json => {
            println!("{}", json!({"hash": hash, "revision": revision, "totalKey": keys, "totalSize": bytes}))
        }
        Format::Simple => println!("{hash:x}, {revision}, {keys}, {}", size(bytes)),
        Format::Fields => {
            println!("\"Hash\" : {hash}\n\"Revision\" : {revision}\n\"Keys\" : {keys}\n\"Size\" : {bytes}")
        }
        Format::Table => {
            let row = [format!("{hash:x}"), revision.to_string(), keys.to_string(), size(bytes)];
            print!("{}", table(["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"], &[row]));
        }
        Format::Protobuf => return Err(context.format.unsupported()),
    }
    Ok(0)
}

fn figures(file: &Path) -> anyhow::Result<etcd_file::Status> {
    if is_etcds(file)? {
        let open = EtcdFile::open(file).and_then(|file| etcd_file::status(&file));
        return open.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()));
    }
    let found = snapshot::look(file)?;
    let census = found.census;
    Ok(etcd_file::Status { hash: census.checksum, revision: census.revision, keys: census.keys, bytes: found.bytes })
}

fn is_etcds(file: &Path) -> anyhow::Result<bool> {
    let kind = File::open(file).and_then(|open| etcd_file::kind(&open));
    let kind = kind.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    Ok(kind == FileKind::Etcd)
}

fn take_back(parsed: &Parsed) -> Result<u8, Failed> {
    let file = file(parsed, "restore")?;
    let defaults = Defaults {
        name: "default".to_owned(),
        data_dir: Some(|name| format!("{name}.etcd")),
        peer_url: "http://localhost:2380",
    };
    let wrong = |error: Misunderstood| Failed { code: 1, message: error.to_string() };
    if parsed.value("wal-dir").is_some_and(|dir| !dir.is_empty()) {
        return Err(wrong(Misunderstood("--wal-dir is not served: the log lies in the data directory".to_owned())));
    }
    let founding = Founding::read(parsed, &defaults).map_err(wrong)?;
    let skip = parsed.truth("skip-hash-check")?;
    restore_any(file, &founding, skip).map_err(|error| failed(&error))?;
    // As the original, which has nothing to say on its standard output.
    eprint!("restored {} into {}\n{}", file.display(), founding.data_dir.display(), founding.told());
    Ok(0)
}

fn restore_any(file: &Path, founding: &Founding, skip: bool) -> anyhow::Result<()> {
    if !is_etcds(file)? {
        return restore::restore(file, founding).map(drop);
    }
    let source = EtcdFile::open(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    anyhow::ensure!(source.sum.is_some() || skip, "snapshot missing hash but --skip-hash-check=false");
    eprint!("{}", import::make(source, founding)?);
    Ok(())
}

/// Bytes as etcdctl tells them: powers of a thousand, one digit behind the point below ten.
fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_look_as_etcdctls() {
        let sizes = [(0, "0 B"), (999, "999 B"), (20_480, "20 kB"), (2_100_000, "2.1 MB"), (9_000, "9.0 kB")];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected);
        }
    }
}
