//! `node ctl upgrade`: has the nodes of the cluster run another program, one after the other.

mod ask;
mod lives;
mod roll;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use super::args::Flag;
use super::node_ctl;
use crate::base::limits::{PROGRAM_BYTES_MAX, PROGRAM_TRIAL_MS, PROGRAM_TRIAL_MS_MAX};
use crate::trust::hex;
use crate::unit::value::{TimeSpan, time_span};

pub use ask::Cluster;

pub const HELP: &str = "\
node ctl upgrade: have the nodes run another program, one after the other; units are not touched.

  $ node ctl upgrade --binary ./node                  all nodes, the leader last
  $ node ctl upgrade --binary ./node --machine core-02,core-03

Every node is sent the file, checks that it has arrived whole, runs here and reads its data, and only then the first one restarts with
it. Before each restart all members must answer. After it the node must serve again, have caught up, and its units must be the same
processes. Nodes that run the file already are left alone, so the same command goes on where one has stopped.
The former program stays beside the new one, as node.previous. A node that does not come to serve is given it back by itself
after the time of --trial, or at once where it ends; and
`node ctl upgrade --binary /usr/bin/node.previous` goes back everywhere. A program that reads only an earlier format of data is refused.
With one or two nodes, writes wait while one restarts.

  --binary FILE     the program
  --machine NAME    these members only; several with commas or again
  --trial TIME      how long a node may take to serve with it, before it is given its former program back, at most 1h [2m]
  --endpoint URL    as for the other commands; one node is enough, it hands on what is for the others
";

const FLAGS: &[Flag] = &[
    Flag { names: &["binary"], value: true, variable: None, help: "the program" },
    Flag { names: &["machine"], value: true, variable: None, help: "members by name" },
    Flag { names: &["trial"], value: true, variable: None, help: "how long a node may take to serve with it" },
];

/// A program that nodes are to run.
pub struct Binary {
    bytes: Vec<u8>,
    sha256: String,
    /// How long a node may take to serve with it.
    trial: Duration,
}

impl Binary {
    fn read(file: &Path, trial: Duration) -> anyhow::Result<Self> {
        let name = || file.display().to_string();
        let size = std::fs::metadata(file).with_context(name)?.len();
        ensure!(size <= PROGRAM_BYTES_MAX, "{} has {size} bytes, and nodes take {PROGRAM_BYTES_MAX}", name());
        let bytes = std::fs::read(file).with_context(name)?;
        let sha256 = hex(&Sha256::digest(&bytes));
        Ok(Self { bytes, sha256, trial })
    }
}

/// The time of `--trial`.
fn trial(text: Option<&str>) -> Result<Duration, String> {
    let most = Duration::from_millis(PROGRAM_TRIAL_MS_MAX);
    match text.map(time_span) {
        None => Ok(Duration::from_millis(PROGRAM_TRIAL_MS)),
        Some(Ok(TimeSpan::Finite(trial))) if !trial.is_zero() && trial <= most => Ok(trial),
        Some(_) => Err(format!("--trial is `{}`: write a time such as 2m, at most 1h", text.unwrap_or_default())),
    }
}

/// Runs the command: 0, 1 where it stopped, 2 for a command line that cannot be understood.
///
/// # Errors
/// What is in the way before anything was changed.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match node_ctl::understood(arguments, &[node_ctl::FLAGS, FLAGS], HELP) {
        Ok(parsed) if parsed.words.len() > 1 => return Ok(node_ctl::misunderstood("`upgrade` takes no words")),
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let Some(file) = parsed.value("binary") else {
        return Ok(node_ctl::misunderstood("`upgrade` needs --binary FILE"));
    };
    let trial = match trial(parsed.value("trial")) {
        Ok(trial) => trial,
        Err(why) => return Ok(node_ctl::misunderstood(&why)),
    };
    let binary = Binary::read(Path::new(file), trial)?;
    let names: Vec<&str> = parsed.values("machine").flat_map(|names| names.split(',')).map(str::trim).collect();
    node_ctl::runtime()?.block_on(async {
        let cluster = Cluster::at(node_ctl::contact(&parsed).await?);
        roll::run(&cluster, &binary, &names).await
    })
}
