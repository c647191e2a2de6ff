//! `node ctl import etcd`: another etcd's data as the beginning of a new cluster.

mod into;
mod live;
mod report;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use serde_json::Value;

use self::live::Taken;
use self::report::{Outcome, told};
use self::tree::{Prefer, Tree};
use super::args::{Flag, Parsed};
use super::founding::{self, Founding, Misunderstood};
use super::node_ctl::{HELP_FLAG, misunderstood, understood};
use super::restore::node_defaults;
use super::{http, snapshot, tls};
use crate::base::UnixMillis;
use crate::disk::Database;
use crate::etcd_file::{self, EtcdFile, Intake, Report};
use crate::kv::PastIndex;
use crate::net::Address;

/// How long a server may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub const HELP: &str = "\
node ctl import etcd: begin a new cluster with the data of another etcd, 2 or 3.
  $ node ctl import etcd --snapshot FILE --data-dir DIR
  $ node ctl import etcd --endpoint URL[,URL] --data-dir DIR [--save SNAPSHOT]
  $ node ctl import etcd --endpoint URL[,URL] --into URL
FILE is a snapshot (`etcdctl snapshot save`), a stopped member's database (member/snap/db) or its data directory.
URL is a live etcd: its v3 keys come by its snapshot, its v2 tree (where v2 is served) by /v2/keys; both become one keyspace.
Keys come with their revisions, versions, leases and the history that is there, v2 nodes with their indexes and times to live.
For several members import one FILE for each, or import with --save and `node ctl snapshot restore` what that saves for the others.
  --prefer v2|v3                whose value counts where both APIs have a key
  --no-snapshot                 read keys one by one, as where the snapshot is refused: without history
  --save SNAPSHOT               a snapshot of what was imported, for the other members
  --into URL                    a new cluster that runs; revisions are its own then, and history is not taken
  --v2-hidden PATH[,PATH]       v2 nodes to take that v2 does not list, because their names begin with `_`
  --cacert, --cert, --key FILE  by TLS: who vouches for the servers, the certificate to show and its key;
                                --insecure-skip-tls-verify takes any server for the one that is meant
  --data-dir DIR                the folder to make; it must be empty or absent
  --name NAME                   the member that it is for [this host's name]
  --initial-cluster NAME=URL,…  all members of the new cluster [NAME=http://127.0.0.1:2380]
  --initial-cluster-token TEXT  tells clusters of the same addresses apart [etcd-cluster]
  --bump-revision N --mark-compacted
                                revisions skip N ahead and older history cannot be read
";

const FLAGS: &[Flag] = &[
    Flag { names: &["snapshot"], value: true, variable: None, help: "etcd's file" },
    Flag { names: &["endpoint", "endpoints"], value: true, variable: None, help: "a live etcd" },
    Flag { names: &["save"], value: true, variable: None, help: "a snapshot of what was imported" },
    Flag { names: &["into"], value: true, variable: None, help: "a cluster that runs" },
    Flag { names: &["prefer"], value: true, variable: None, help: "v2 or v3" },
    Flag { names: &["no-snapshot"], value: false, variable: None, help: "read keys one by one" },
    Flag { names: &["v2-hidden"], value: true, variable: None, help: "v2 nodes that are not listed" },
    Flag { names: &["cacert"], value: true, variable: None, help: "who vouches for servers" },
    Flag { names: &["cert"], value: true, variable: None, help: "the certificate to show" },
    Flag { names: &["key"], value: true, variable: None, help: "its key" },
    Flag { names: &["insecure-skip-tls-verify"], value: false, variable: None, help: "take any server for the one" },
];

/// Runs the command: 0, 2 for a command line that cannot be understood.
///
/// # Errors
/// What is wrong with the source or the folder.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match understood(arguments, &[FLAGS, founding::FLAGS, HELP_FLAG], HELP) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    match parsed.words.as_slice() {
        [what] if what == "etcd" => {}
        _ => return Ok(misunderstood("`import` takes `etcd`")),
    }
    match Order::read(&parsed) {
        Ok(order) => order.carry_out(),
        Err(error) => Ok(misunderstood(&error.to_string())),
    }
}

/// Where the data comes from.
enum Origin {
    File(PathBuf),
    /// Any of them will do.
    Live(Vec<Address>),
}

/// What becomes of it.
enum Target {
    /// A member's data directory, and a snapshot for the other members if one is named.
    Directory(Box<Founding>, Option<PathBuf>),
    /// A cluster that runs.
    Cluster(Address),
}

/// A command line that has been understood.
struct Order {
    origin: Origin,
    target: Target,
    prefer: Option<Prefer>,
    hidden: Vec<String>,
    /// Keys are read one by one even where a snapshot can be had.
    by_keys: bool,
}

/// What a live etcd gave, before anything is made of it.
#[derive(Default)]
struct Fetched {
    snapshot: Option<EtcdFile>,
    /// The address whose keys are to be read one by one, and their revision.
    keys: Option<(Address, i64)>,
    tree: Option<Tree>,
    notes: Vec<String>,
}

impl Order {
    fn read(parsed: &Parsed) -> Result<Self, Misunderstood> {
        let origin = match (parsed.value("snapshot"), parsed.value("endpoint")) {
            (Some(file), None) => Origin::File(PathBuf::from(file)),
            (None, Some(urls)) => Origin::Live(addresses(parsed, urls)?),
            _ => return Err(Misunderstood("--snapshot FILE or --endpoint URL is needed, not both".to_owned())),
        };
        let prefer = match parsed.value("prefer") {
            None => None,
            Some("v2") => Some(Prefer::V2),
            Some("v3") => Some(Prefer::V3),
            Some(other) => return Err(Misunderstood(format!("--prefer: `{other}` is neither v2 nor v3"))),
        };
        let hidden = parsed.values("v2-hidden").flat_map(|paths| paths.split(','));
        let hidden = hidden.map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect();
        let target = match parsed.value("into") {
            Some(url) => match addresses(parsed, url)?.as_slice() {
                [address] if founding::FLAGS.iter().all(|flag| parsed.value(flag.names[0]).is_none()) => {
                    Target::Cluster(address.clone())
                }
                _ => return Err(Misunderstood("--into takes one URL, and no flags of a new cluster".to_owned())),
            },
            None => {
                let founding = Box::new(Founding::read(parsed, &node_defaults())?);
                Target::Directory(founding, parsed.value("save").map(PathBuf::from))
            }
        };
        let by_keys = parsed.truth("no-snapshot").map_err(|error| Misunderstood(error.to_string()))?;
        Ok(Self { origin, target, prefer, hidden, by_keys })
    }

    fn carry_out(&self) -> anyhow::Result<u8> {
        let (from, outcome) = match &self.origin {
            Origin::File(file) => {
                let name = file.display().to_string();
                let source = EtcdFile::open(file).with_context(|| name.clone())?;
                let fetched = Fetched { snapshot: Some(source), ..Fetched::default() };
                (name.clone(), self.make(fetched).context(name)?)
            }
            Origin::Live(addresses) => {
                let runtime = super::node_ctl::runtime()?;
                let (from, fetched) = runtime.block_on(self.fetch(addresses))?;
                (from.to_string(), self.make(fetched).context(from.to_string())?)
            }
        };
        match &self.target {
            Target::Directory(founding, saved) => {
                println!("imported {from} into {}", founding.data_dir.display());
                if let Some(file) = saved {
                    println!(
                        "saved it as {}; `node ctl snapshot restore` takes that for the other members",
                        file.display()
                    );
                }
                print!("{}{}", told(&outcome), founding.told());
            }
            Target::Cluster(to) => {
                println!("imported {from} into {to}");
                print!("{}", told(&outcome));
            }
        }
        Ok(0)
    }

    /// Asks the addresses in their order until one gives what it has.
    async fn fetch(&self, addresses: &[Address]) -> anyhow::Result<(Address, Fetched)> {
        let mut failed = Vec::new();
        for address in addresses {
            match self.fetch_from(address).await {
                Ok(fetched) => return Ok((address.clone(), fetched)),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
        anyhow::bail!("{}", failed.join("; "))
    }

    async fn fetch_from(&self, from: &Address) -> anyhow::Result<Fetched> {
        let mut fetched = Fetched::default();
        let hidden: Vec<&str> = self.hidden.iter().map(String::as_str).collect();
        let version = version(from).await?;
        fetched.tree = tree::fetch(from, &hidden).await?;
        if fetched.tree.is_some() && hidden.is_empty() {
            fetched
                .notes
                .push("v2 does not list nodes whose names begin with `_`; name them with --v2-hidden".to_owned());
        }
        if version.starts_with("2.") {
            anyhow::ensure!(fetched.tree.is_some(), "{from}: etcd {version} has no keys at /v2/keys");
            return Ok(fetched);
        }
        // Beside the folder that is made, where there is room for what comes.
        let folder = match &self.target {
            Target::Directory(founding, _) => founding.data_dir.parent().filter(|parent| parent.is_dir()),
            Target::Cluster(_) => None,
        };
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        let taken = match self.by_keys {
            true => Taken::Refused("it is not asked for one".to_owned()),
            false => live::snapshot(from, &folder).await?,
        };
        match taken {
            Taken::Snapshot(file) => fetched.snapshot = Some(EtcdFile::of(file, PathBuf::from("its snapshot"))?),
            Taken::Refused(why) => {
                fetched.keys = Some((from.clone(), live::revision(from).await?));
                fetched.notes.push(format!(
                    "it gives no snapshot ({why}): keys have the numbers of their last change, without history"
                ));
            }
        }
        Ok(fetched)
    }

    fn make(&self, fetched: Fetched) -> anyhow::Result<Outcome> {
        match &self.target {
            Target::Directory(founding, saved) => founding.make(|database| {
                let outcome = fill(fetched, self.prefer, database, founding.seed.members.len())?;
                saved.as_ref().map_or(Ok(()), |file| snapshot::write(database, file))?;
                Ok(outcome)
            }),
            Target::Cluster(to) => {
                let folder = tempfile::tempdir().context("making a folder for what was fetched")?;
                let database = Database::open(&folder.path().join("state"), true)?;
                let mut outcome = fill(fetched, self.prefer, &database, 1)?;
                let now = jiff::Timestamp::now().as_millisecond();
                let sent = super::node_ctl::runtime()?.block_on(into::send(&database, to, UnixMillis(now)))?;
                outcome.notes.push(format!(
                    "written to {to}: the newest values of {} keys, and {} leases; revisions and versions are that cluster's, history is not there",
                    sent.keys, sent.leases
                ));
                Ok(outcome)
            }
        }
    }
}

/// Puts what was fetched into an empty database, for a cluster of so many members.
fn fill(fetched: Fetched, prefer: Option<Prefer>, database: &Database, members: usize) -> anyhow::Result<Outcome> {
    let Fetched { snapshot, keys, tree, notes } = fetched;
    let compacted = match (&snapshot, &keys) {
        (Some(file), _) => etcd_file::compacted(file)?,
        (None, Some((_, revision))) => *revision,
        (None, None) => 0,
    };
    let tree = tree.filter(Tree::has_nodes);
    let mut intake = Intake::new(database, members, compacted)?;
    let mut outcome = Outcome { notes, ..Outcome::default() };
    // Beside a tree, which has indexes of its own, what v3 has comes under one index, the next.
    let beside = tree.as_ref().map(|tree| tree.index + 1);
    let index = beside.map_or(PastIndex::Next, PastIndex::Shared);
    if let Some(file) = &snapshot {
        outcome.report = etcd_file::load(file, &mut intake, index)?;
    }
    if let Some((from, revision)) = &keys {
        let index = PastIndex::Shared(beside.unwrap_or(intake.loader.v2_index() + 1));
        let silent = super::node_ctl::runtime()?.block_on(live::keys(from, &mut intake, *revision, index))?;
        if let PastIndex::Shared(index) = index {
            intake.loader.reach_v2_index(index);
        }
        outcome.report = Report { revision: *revision, compacted, sealed: true, ..Report::default() };
        if silent > 0 {
            outcome.notes.push("it does not tell all of its leases: their keys do not end".to_owned());
        }
    }
    if let Some(tree) = tree {
        let alone = snapshot.is_none() && keys.is_none();
        intake.loader.reach_v2_index(if alone { tree.index } else { tree.index + 1 });
        outcome.report.sealed |= alone;
        let grown = tree.put(&mut intake, outcome.report.revision.max(1), prefer)?;
        outcome.report.revision = grown.revision;
        outcome.grown = Some(grown);
    }
    outcome.report.loaded = intake.finish(outcome.report.revision)?;
    Ok(outcome)
}

/// Makes a data directory of a file of etcd's. Returns what was taken and what was not, as text.
///
/// # Errors
/// What is wrong with the file or the folder.
pub fn make(source: EtcdFile, founding: &Founding) -> anyhow::Result<String> {
    let name = source.path.display().to_string();
    let fetched = Fetched { snapshot: Some(source), ..Fetched::default() };
    let members = founding.seed.members.len();
    let outcome = founding.make(|database| fill(fetched, None, database, members)).context(name)?;
    Ok(told(&outcome))
}

/// What the server says that it is.
async fn version(from: &Address) -> anyhow::Result<String> {
    let answer = http::call(from, Method::GET, "/version", None, ANSWER_WITHIN).await?;
    let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let version = told["etcdserver"].as_str().map(str::to_owned);
    version.with_context(|| format!("{from}: /version: it does not say that it is an etcd 2 or 3"))
}

fn addresses(parsed: &Parsed, urls: &str) -> Result<Vec<Address>, Misunderstood> {
    let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
    let tls = tls::of(parsed).map_err(Misunderstood)?;
    urls.map(|url| tls::address(&tls, url).map_err(|error| Misunderstood(format!("--endpoint: {error}")))).collect()
}
