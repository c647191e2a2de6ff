//! `snapshot restore`: a saved copy of the state becomes the beginning of a new cluster.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;

use super::args::Parsed;
use super::founding::{self, Defaults, Founding, Misunderstood};
use super::snapshot::{self, Found};
use crate::disk::Database;
use crate::wire::seal::Sealed;

/// What is read of a file at a time.
const READ_BYTES: usize = 1 << 20;

pub const HELP: &str = "\
node ctl snapshot restore FILE --data-dir DIR: make the data of a member of a new cluster that begins with the snapshot's state.
The same file, restored for each member with the same --initial-cluster, gives one cluster. DIR must be empty or absent.
  --data-dir DIR                the folder to make
  --name NAME                   the member that it is for [this host's name]
  --initial-cluster NAME=URL,…  all members of the new cluster [NAME=http://127.0.0.1:2380]
  --initial-cluster-token TEXT  tells clusters of the same addresses apart [etcd-cluster]
  --bump-revision N --mark-compacted
                                users' revisions skip N ahead and older history cannot be read, for clients that have seen
                                revisions which are later than the snapshot
";

/// `node ctl snapshot restore`: 0, 2 for a command line that cannot be understood.
///
/// # Errors
/// What is wrong with the file or the folder.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let flags = &[founding::FLAGS, super::node_ctl::HELP_FLAG];
    let parsed = match super::node_ctl::understood(arguments, flags, HELP) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    match told(&parsed, &node_defaults()) {
        Ok((file, founding)) => {
            let found = restore(Path::new(&file), &founding)?;
            println!("restored {file} into {}", founding.data_dir.display());
            print!("{}{}", snapshot::render(&found), founding.told());
            Ok(0)
        }
        Err(error) => Ok(super::node_ctl::misunderstood(&error.to_string())),
    }
}

/// As `node run` has them.
pub fn node_defaults() -> Defaults {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned());
    Defaults { name, data_dir: None, peer_url: "http://127.0.0.1:2380" }
}

/// The file, and what is to be made of it.
///
/// # Errors
/// What is wrong with the command line.
pub fn told(parsed: &Parsed, defaults: &Defaults) -> Result<(String, Founding), Misunderstood> {
    let [file] = parsed.words.as_slice() else {
        return Err(Misunderstood("snapshot restore requires exactly one argument".to_owned()));
    };
    Ok((file.clone(), Founding::read(parsed, defaults)?))
}

/// Makes the data directory. The file is read twice: nothing is begun with one that is not whole.
///
/// # Errors
/// What is wrong with the file or the folder.
pub fn restore(file: &Path, founding: &Founding) -> anyhow::Result<Found> {
    let found = snapshot::look(file)?;
    founding.make(|database| take_in(file, &found, database))?;
    Ok(found)
}

fn take_in(file: &Path, found: &Found, database: &Database) -> anyhow::Result<()> {
    let name = || file.display().to_string();
    let open = File::open(file).with_context(name)?;
    let mut sealed = Sealed::new(BufReader::with_capacity(READ_BYTES, open), found.bytes).with_context(name)?;
    database.import(&mut sealed).with_context(name)?;
    let sum = sealed.end().with_context(name)?;
    anyhow::ensure!(sum == found.sum, "{}: it has changed while it was restored", name());
    Ok(())
}
