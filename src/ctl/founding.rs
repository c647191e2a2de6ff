//! What a data directory is made with: the new cluster's name and members, from flags as `etcdctl snapshot restore` has them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::args::{Flag, Parsed};
use crate::base::limits::WAL_SEGMENT_BYTES;
use crate::base::{ClusterId, Founders, MemberId};
use crate::disk::Database;
use crate::kv::Member;
use crate::raft::{self, Peer, Seed};

/// The store's folder in a data directory, as a node lays it out.
const STORE: &str = "store";
/// What the `etcd` face keeps of a member's first start.
const FOUNDING: &str = "founding.json";

pub const FLAGS: &[Flag] = &[
    flag(&["data-dir"], true, "the folder to make; it must be empty or absent"),
    flag(&["name"], true, "the member that the folder is for"),
    flag(&["initial-cluster"], true, "the new cluster's members, NAME=URL[,…]"),
    flag(&["initial-cluster-token", "cluster-token"], true, "the same on every member"),
    flag(&["initial-advertise-peer-urls", "peer-advertise"], true, "this member's URLs in initial-cluster"),
    flag(&["bump-revision"], true, "how far revisions skip ahead"),
    flag(&["mark-compacted"], false, "goes with bump-revision: history before it cannot be read"),
];

const fn flag(names: &'static [&'static str], value: bool, help: &'static str) -> Flag {
    Flag { names, value, variable: None, help }
}

/// What stands where a flag is not given.
pub struct Defaults {
    pub name: String,
    /// `None`: the flag is needed.
    pub data_dir: Option<fn(&str) -> String>,
    pub peer_url: &'static str,
}

/// A command line of a face that cannot be carried out, in the words of that tool.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misunderstood(pub String);

/// A data directory to be made, and the cluster that begins with it.
#[derive(Debug)]
pub struct Founding {
    pub data_dir: PathBuf,
    pub name: String,
    pub initial_cluster: String,
    pub token: String,
    pub seed: Seed,
}

impl Founding {
    /// Reads the flags.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(parsed: &Parsed, defaults: &Defaults) -> Result<Self, Misunderstood> {
        let given = |flag: &str| parsed.value(flag).map(str::trim).filter(|value| !value.is_empty());
        let name = given("name").unwrap_or(&defaults.name).to_owned();
        let token = given("initial-cluster-token").unwrap_or("etcd-cluster").to_owned();
        let own = given("initial-advertise-peer-urls");
        let alone = || {
            let urls = own.unwrap_or(defaults.peer_url);
            urls.split(',').map(|url| format!("{name}={}", url.trim())).collect::<Vec<_>>().join(",")
        };
        let initial_cluster = given("initial-cluster").map_or_else(alone, str::to_owned);
        let named = named(&initial_cluster)?;
        let members = members(&named, &token)?;
        let Some(member) = members.iter().find(|member| member.name == name) else {
            let why = format!("couldn't find local name \"{name}\" in the initial cluster configuration");
            return Err(Misunderstood(why));
        };
        if let Some(own) = own {
            check_own(member, own)?;
        }
        let data_dir = match (given("data-dir"), defaults.data_dir) {
            (Some(dir), _) => dir.to_owned(),
            (None, Some(by_name)) => by_name(&name),
            (None, None) => return Err(Misunderstood("--data-dir DIR is needed".to_owned())),
        };
        let seed = Seed {
            cluster: ClusterId::computed(members.iter().map(|member| member.id)),
            member: member.id,
            peers: members.iter().map(peer).collect(),
            members,
            skip: skip(parsed)?,
            patience: None,
            wal_segment_bytes: WAL_SEGMENT_BYTES,
        };
        Ok(Self { data_dir: PathBuf::from(data_dir), name, initial_cluster, token, seed })
    }

    /// Makes the directory; `fill` puts the state into an empty database. A second call at the same time is refused.
    ///
    /// # Errors
    /// What is in the way, or what `fill` met; then nothing is left but what was there.
    pub fn make<T>(&self, fill: impl FnOnce(&Database) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let dir = &self.data_dir;
        let made = !dir.exists();
        let named = || format!("--data-dir {}", dir.display());
        std::fs::create_dir_all(dir).with_context(named)?;
        let lock = File::open(dir).with_context(named)?;
        lock.try_lock().with_context(|| format!("{}: another restore or import works in it", named()))?;
        let result = check_empty(dir).and_then(|()| {
            let mut filled = None;
            raft::seed(&dir.join(STORE), &self.seed, |database| {
                filled = Some(fill(database)?);
                self.keep()
            })?;
            filled.context("nothing was put into the state")
        });
        if result.is_err() && made {
            // Whatever is left of it is ours, and the next call takes it away should this not succeed.
            let _ = std::fs::remove_file(dir.join(FOUNDING));
            let _ = std::fs::remove_dir(dir);
        }
        result
    }

    /// Keeps the settings for the `etcd` face, which goes by them and not by its flags where there is data.
    fn keep(&self) -> anyhow::Result<()> {
        let kept = json!({"name": self.name, "initial_cluster": self.initial_cluster, "cluster_token": self.token});
        let file = self.data_dir.join(FOUNDING);
        std::fs::write(&file, format!("{kept}\n")).with_context(|| file.display().to_string())
    }

    /// The flags and the settings by which a node takes the directory up, a line each.
    pub fn told(&self) -> String {
        let Self { data_dir, name, initial_cluster, token, seed } = self;
        format!(
            "member    {name} ({}) of cluster {}\nstart it  node run --name {name} --data-dir {} --initial-cluster {initial_cluster} --cluster-token {token}\n",
            seed.member,
            seed.cluster,
            data_dir.display()
        )
    }
}

/// Names with their URLs, in the order of their first mention.
fn named(initial_cluster: &str) -> Result<Vec<(String, Vec<String>)>, Misunderstood> {
    let founders = Founders::parse(initial_cluster);
    if let Some(item) = founders.strange.first() {
        return Err(Misunderstood(format!("--initial-cluster: `{item}` is not NAME=http://HOST:PORT")));
    }
    let checked = founders.urls().try_for_each(check_url);
    checked.map_err(|why| Misunderstood(format!("--initial-cluster: {why}")))?;
    Ok(founders.members)
}

fn check_url(url: &str) -> Result<(), String> {
    let Some(authority) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return Err(format!("`{url}`: members speak http://HOST:PORT or https://HOST:PORT"));
    };
    match authority.trim_end_matches('/').rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(format!("`{url}` is not http://HOST:PORT")),
    }
}

fn members(named: &[(String, Vec<String>)], token: &str) -> Result<Vec<Member>, Misunderstood> {
    let mut members: BTreeMap<MemberId, Member> = BTreeMap::new();
    for (name, urls) in named {
        let id = MemberId::computed(urls, token);
        let member = Member { id, name: name.clone(), peer_urls: urls.clone(), ..Member::default() };
        if let Some(twin) = members.insert(id, member) {
            let why = format!("--initial-cluster: `{}` and `{name}` have the same URLs", twin.name);
            return Err(Misunderstood(why));
        }
    }
    Ok(members.into_values().collect())
}

/// Where the other members reach a member.
fn peer(member: &Member) -> Peer {
    Peer { id: member.id, name: member.name.clone(), urls: member.peer_urls.clone() }
}

fn check_own(member: &Member, own: &str) -> Result<(), Misunderstood> {
    let mut given: Vec<&str> = own.split(',').map(str::trim).collect();
    let mut named: Vec<&str> = member.peer_urls.iter().map(String::as_str).collect();
    given.sort_unstable();
    named.sort_unstable();
    if given == named {
        return Ok(());
    }
    let (name, named, given) = (&member.name, named.join(","), given.join(","));
    Err(Misunderstood(format!(
        "--initial-cluster has {name}={named} but missing from --initial-advertise-peer-urls={given}"
    )))
}

fn skip(parsed: &Parsed) -> Result<u64, Misunderstood> {
    let wrong = |error: super::args::ArgsError| Misunderstood(error.to_string());
    let skip = parsed.number::<u64>("bump-revision").map_err(wrong)?.unwrap_or(0);
    let marked = parsed.truth("mark-compacted").map_err(wrong)?;
    match (skip > 0, marked) {
        (true, false) => Err(Misunderstood("--mark-compacted is required with --bump-revision".to_owned())),
        (false, true) => Err(Misunderstood("--mark-compacted goes with --bump-revision only".to_owned())),
        _ if i64::try_from(skip).is_err() => Err(Misunderstood(format!("--bump-revision {skip} is too large"))),
        _ => Ok(skip),
    }
}

/// Refuses a folder with something in it, but for what a call that was killed has left.
fn check_empty(dir: &Path) -> anyhow::Result<()> {
    let named = || format!("--data-dir {}", dir.display());
    let unfinished = raft::is_unfinished(&dir.join(STORE));
    for entry in std::fs::read_dir(dir).with_context(named)? {
        let name = entry.with_context(named)?.file_name();
        let left_over = unfinished && (name == FOUNDING || name.to_string_lossy().starts_with("store."));
        anyhow::ensure!(
            left_over,
            "data-dir \"{}\" is not empty, it holds {}; name another folder, or move that away",
            dir.display(),
            name.to_string_lossy()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::args;
    use super::*;

    fn read(line: &str) -> Result<Founding, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = args::parse(&words, &[FLAGS], &|_| None).unwrap();
        let defaults = Defaults {
            name: "default".to_owned(),
            data_dir: Some(|name| format!("{name}.etcd")),
            peer_url: "http://localhost:2380",
        };
        Founding::read(&parsed, &defaults).map_err(|error| error.to_string())
    }

    #[test]
    fn ids_are_those_that_etcd_computes() {
        // As etcd 3.4.23 printed them for `etcdctl snapshot restore` without flags.
        let alone = read("").unwrap();
        assert_eq!(alone.seed.cluster.to_string(), "cdf818194e3a8c32");
        assert_eq!(alone.seed.member.to_string(), "8e9e05c52164694d");
        assert_eq!(alone.data_dir, Path::new("default.etcd"));
        let line = "--name b --initial-cluster a=http://h:1,b=http://h:2,b=http://h:3 --initial-cluster-token t";
        let two = read(line).unwrap();
        assert_eq!((two.seed.peers.len(), two.data_dir.as_path()), (2, Path::new("b.etcd")));
        let own = two.seed.members.iter().find(|member| member.id == two.seed.member).unwrap();
        assert_eq!(own.peer_urls, ["http://h:2", "http://h:3"]);
        assert!(two.seed.peers.iter().any(|peer| peer.id == own.id && peer.urls == ["http://h:2", "http://h:3"]));
    }

    #[test]
    fn mistakes_are_told() {
        let cases = [
            ("--name x --initial-cluster a=http://h:1", "couldn't find local name \"x\""),
            ("--initial-cluster default=ftp://h:1", "members speak http://"),
            ("--initial-cluster default=http://h", "is not http://HOST:PORT"),
            ("--initial-cluster h:1", "is not NAME="),
            ("--initial-cluster default=http://h:1,b=http://h:1", "the same URLs"),
            (
                "--initial-cluster default=http://h:1 --initial-advertise-peer-urls http://h:2",
                "missing from --initial-advertise-peer-urls=http://h:2",
            ),
            ("--bump-revision 5", "--mark-compacted is required"),
            ("--mark-compacted", "goes with --bump-revision"),
            ("--bump-revision many --mark-compacted", "is not a number"),
        ];
        for (line, expected) in cases {
            let why = read(line).unwrap_err();
            assert!(why.contains(expected), "{line}: {why}");
        }
    }

    #[test]
    fn a_folder_in_use_and_one_that_failed_are_left_as_they_were() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("deep").join("data");
        let founding = read(&format!("--data-dir {}", dir.display())).unwrap();
        let failed = founding.make(|_| -> anyhow::Result<()> { anyhow::bail!("no snapshot") });
        assert_eq!(failed.unwrap_err().to_string(), "no snapshot");
        assert!(!dir.exists());
        // What a call that was killed leaves is no obstacle.
        std::fs::create_dir_all(dir.join("store.unfinished").join("wal")).unwrap();
        std::fs::write(dir.join("founding.json"), "{").unwrap();
        founding.make(|_| Ok(())).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["founding.json", "store"]);
        let again = founding.make(|_| Ok(())).unwrap_err().to_string();
        assert!(again.contains("is not empty, it holds"), "{again}");
    }
}
