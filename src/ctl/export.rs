//! `node ctl snapshot export`: the state as a snapshot that etcd's own tools take.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::args::Flag;
use super::node_ctl::{self, misunderstood, understood};
use super::snapshot::{self, Staged};
use crate::base::UnixMillis;
use crate::etcd_file::{self, Exported};
use crate::wire::seal::Sealed;

const HELP: &str = "\
node ctl snapshot export: write the users' keys, with revisions, history and leases, as a snapshot of etcd's.
  $ node ctl snapshot export --etcd OUT           of the cluster as it is now
  $ node ctl snapshot export FILE --etcd OUT      of a saved snapshot
`etcdctl snapshot restore OUT` (3.4 and later) takes it. Users, machines and units are not in it; leases of v2 keys have the
time to live that is left.
  --endpoint URL    the node to ask, as elsewhere
";

const FLAGS: &[Flag] = &[Flag { names: &["etcd"], value: true, variable: None, help: "the file to write" }];

/// Runs the command: 0, 2 for a command line that cannot be understood.
///
/// # Errors
/// What is wrong with the snapshot or the file.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match understood(arguments, &[FLAGS, node_ctl::FLAGS], HELP) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let Some(out) = parsed.value("etcd").map(Path::new) else {
        return Ok(misunderstood("`snapshot export` needs --etcd OUT"));
    };
    let exported = match parsed.words.as_slice() {
        [file] => export(Path::new(file), out)?,
        [] => {
            let fetched = Staged::beside(out, ".fetched");
            let from = node_ctl::endpoint(&parsed)?;
            let login = node_ctl::who_asks(&parsed)?;
            node_ctl::runtime()?.block_on(snapshot::fetch(&from, login.as_ref(), fetched.path()))?;
            export(fetched.path(), out)?
        }
        _ => return Ok(misunderstood("`snapshot export` takes one FILE at most")),
    };
    let Exported { changes, leases, revision, compacted, bytes } = exported;
    let history = if compacted == 0 { "all history".to_owned() } else { format!("history from {compacted} on") };
    println!("wrote {}", out.display());
    println!("revision  {revision} with {history}\nchanges   {changes}\nleases    {leases}\nsize      {bytes} bytes");
    Ok(0)
}

/// Writes a snapshot anew. The file is read twice: nothing is made of one that is not whole.
fn export(file: &Path, out: &Path) -> anyhow::Result<Exported> {
    let name = || file.display().to_string();
    let found = snapshot::look(file)?;
    let staged = Staged::beside(out, ".part");
    let writing = || format!("writing {}", out.display());
    let made = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(staged.path());
    let made = made.with_context(writing)?;
    let source = BufReader::new(File::open(file).with_context(name)?);
    let mut sealed = Sealed::new(source, found.bytes).with_context(name)?;
    let now = UnixMillis(jiff::Timestamp::now().as_millisecond());
    let exported = etcd_file::export(&mut sealed, &made, now).with_context(name)?;
    anyhow::ensure!(sealed.end().with_context(name)? == found.sum, "{}: it has changed while it was read", name());
    snapshot::put_in_place(staged.path(), out)?;
    Ok(exported)
}
