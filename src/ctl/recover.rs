//! `node ctl recover`: after the loss of a quorum, a cluster out of one member that survived.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::args::{Flag, Parsed};
use super::node_ctl;
use super::upgrade::Cluster;
use crate::base::{Clock, MemberId, UnixMillis};
use crate::net::{self, Address};
use crate::raft::{Recovered, Remains, Stopped};
use crate::unit::value::{TimeSpan, time_span};

pub const HELP: &str = "\
node ctl recover: when most of the voters are gone for good, make a new cluster of one member that survived.

  $ node ctl recover                     looks at all members, and says what would be kept and what may be lost; changes nothing
  $ node ctl recover --yes               does it, with the data of the member on this machine

Run it on the machine whose log ends furthest: it says which one that is. All that this member has is kept: keys with their history, users,
units, tokens and the cluster's authority. Lost is what the members that are gone have acknowledged and this one never got. It becomes a
cluster of one member under a new id; members of the old one that come back are refused and stop. Let each other machine join anew:
`node ctl token create` here, `node join --anew TOKEN` there.

Units run on meanwhile, and stay where they are as long as their machine joins within the time of --grace, counted from when the node here
runs again. After that the units of a machine that has not are moved, as those of any machine that is lost.
While a quorum answers it refuses: `etcdctl member remove` takes one member out then.

  --grace TIME      how long the machines have to join anew; 0: their units are moved at once [15m]
  --gone NAME       a machine that does not come back, by its member's name or its machine-id: its units are moved at once; may be repeated
  --data-dir DIR    the data of the member on this machine [/var/lib/node]
  --yes             do it; where systemd runs the node as node.service it is stopped and started again, elsewhere it must be stopped
  --endpoint URL    the node on this machine, as for the other commands
";

const FLAGS: &[Flag] = &[
    Flag { names: &["data-dir"], value: true, variable: Some("NODE_DATA_DIR"), help: "the member's data" },
    Flag { names: &["grace"], value: true, variable: None, help: "how long machines have to join anew" },
    Flag { names: &["gone"], value: true, variable: None, help: "a machine that does not come back" },
    Flag { names: &["yes"], value: false, variable: None, help: "do it" },
];

const DATA_DIR: &str = "/var/lib/node";
/// The store's folder in a data directory, as a node lays it out.
const STORE: &str = "store";
const SERVICE: &str = "node.service";
/// How long machines have to join the new cluster, and the longest that may be asked for.
const GRACE: Duration = Duration::from_secs(15 * 60);
const GRACE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long another member may take to let somebody in.
const PEER_WITHIN: Duration = Duration::from_secs(2);

/// Runs the command: 0 where it was done, 1 where it was only told what would be, 2 for a command line that cannot be understood.
///
/// # Errors
/// Why it must not be done, or could not.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match node_ctl::understood(arguments, &[node_ctl::FLAGS, FLAGS], HELP) {
        Ok(parsed) if parsed.words.len() > 1 => return Ok(node_ctl::misunderstood("`recover` takes no words")),
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let store = Path::new(parsed.value("data-dir").unwrap_or(DATA_DIR)).join(STORE);
    let sure = parsed.truth("yes")?;
    let grace = match grace(parsed.value("grace")) {
        Ok(grace) => grace,
        Err(why) => return Ok(node_ctl::misunderstood(&why)),
    };
    let gone: Vec<String> = parsed.values("gone").map(str::to_owned).collect();
    node_ctl::runtime()?.block_on(async {
        let found = live(&parsed).await?;
        match &found {
            Some(found) => {
                print!("{}", found.told());
                found.check()?;
            }
            None => {
                let remains = Stopped::open(&store, Arc::new(Now)).await?.remains().clone();
                let there = who_is_there(&remains).await;
                print!("{}", told_of_remains(&remains, &there));
                check_absence(&remains, &there)?;
            }
        }
        if !sure {
            println!("nothing was changed; `node ctl recover --yes` does it");
            return Ok(1);
        }
        let runs = found.is_some();
        if runs {
            stop_service()?;
        }
        recover(&store, runs, grace, gone).await
    })
}

struct Now;

impl Clock for Now {
    fn now(&self) -> UnixMillis {
        UnixMillis(jiff::Timestamp::now().as_millisecond())
    }
}

/// A member as the node on this machine finds it.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    votes: bool,
    own: bool,
    /// Term and index of the end of its log, and its revision; or why it does not tell.
    state: Result<(u64, u64, i64), String>,
}

/// The cluster as the node on this machine finds it.
struct Found {
    leader: Option<String>,
    members: Vec<Seen>,
}

/// Asks the node on this machine about all members; `None`: it does not run.
async fn live(parsed: &Parsed) -> anyhow::Result<Option<Found>> {
    let cluster = Cluster::at(node_ctl::contact(parsed).await?);
    let Ok(own) = cluster.own_facts().await else { return Ok(None) };
    let mut members = Vec::new();
    for member in cluster.members().await? {
        let facts = cluster.facts(&member.id).await;
        let state = facts.map(|facts| (facts.log_term, facts.log_index, facts.revision));
        let state = state.map_err(|error| format!("{error:#}"));
        members.push(Seen { own: member.id == own.member, name: member.name, votes: member.votes, state });
    }
    members.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Some(Found { leader: own.leader, members }))
}

impl Found {
    fn told(&self) -> String {
        let mut text = String::new();
        for member in &self.members {
            let part = if member.votes { "votes" } else { "does not vote" };
            let here = if member.own { ", this machine" } else { "" };
            let _ = match &member.state {
                Ok((term, index, revision)) => writeln!(
                    text,
                    "{}{here}: {part}; its log ends at entry {index} of term {term}, it has applied revision {revision}",
                    member.name
                ),
                Err(error) => writeln!(text, "{}{here}: {part}; does not answer: {error}", member.name),
            };
        }
        let gone: Vec<&str> =
            self.members.iter().filter(|member| member.state.is_err()).map(|member| member.name.as_str()).collect();
        let own = self.members.iter().find(|member| member.own).and_then(|member| member.state.as_ref().ok());
        if let (Some((_, index, _)), false) = (own, gone.is_empty()) {
            let _ = writeln!(
                text,
                "may be lost: what {} acknowledged and this machine never got, after entry {index}",
                gone.join(" and ")
            );
        }
        text
    }

    /// Refuses what would do harm.
    fn check(&self) -> anyhow::Result<()> {
        if let Some(leader) = &self.leader {
            bail!(
                "the cluster has a leader, {leader}: nothing needs to be recovered; `etcdctl member remove` takes a member out"
            );
        }
        let voters = self.members.iter().filter(|member| member.votes).count();
        let answer = self.members.iter().filter(|member| member.votes && member.state.is_ok()).count();
        ensure!(
            answer < voters / 2 + 1,
            "{answer} of {voters} voters answer, which is a quorum: wait for them to elect a leader, `node ctl doctor` says what is in \
             the way"
        );
        let end = |member: &Seen| member.state.as_ref().ok().map(|(term, index, _)| (*term, *index));
        let own = self.members.iter().find(|member| member.own).and_then(end);
        let furthest = self.members.iter().filter(|member| end(member) > own).max_by_key(|member| end(member));
        if let Some(member) = furthest {
            bail!("{} has more than this machine: run it there, so that nothing is lost which it has", member.name);
        }
        Ok(())
    }
}

/// The other members whose peer port somebody listens on: all that can be found out of them while the node here does not run.
async fn who_is_there(remains: &Remains) -> Vec<MemberId> {
    let mut there = Vec::new();
    for (member, _) in remains.members.iter().filter(|(member, _)| member.id != remains.member) {
        for url in &member.peer_urls {
            let address = match Address::from_url(url) {
                Ok(Address::Tls { host, port, .. }) => Address::Tcp { host, port },
                Ok(address) => address,
                Err(_) => continue,
            };
            if net::connect(&address, PEER_WITHIN).await.is_ok() {
                there.push(member.id);
                break;
            }
        }
    }
    there
}

/// What a member that does not run has, and who else is there.
fn told_of_remains(remains: &Remains, there: &[MemberId]) -> String {
    let mut text = format!(
        "this machine is member {} of cluster {}: its log ends at entry {} of term {}\n",
        remains.member, remains.cluster, remains.log_index, remains.log_term
    );
    for (member, votes) in remains.members.iter().filter(|(member, _)| member.id != remains.member) {
        let part = if *votes { "votes" } else { "does not vote" };
        let answers = if there.contains(&member.id) { "somebody listens" } else { "nobody listens" };
        let _ = writeln!(text, "{}: {part}; {answers} at {}", member.name, member.peer_urls.join(" "));
    }
    if !there.is_empty() {
        text.push_str("Who has the most can only be told while the node here runs: start it and run this again.\n");
    }
    text
}

/// Refuses while others may be a quorum without this member: they go on as they are, and would be told to stop.
fn check_absence(remains: &Remains, there: &[MemberId]) -> anyhow::Result<()> {
    let voters = remains.members.iter().filter(|(_, votes)| *votes);
    let others = voters.clone().filter(|(member, _)| there.contains(&member.id)).count();
    let voters = voters.count();
    ensure!(
        others < voters / 2 + 1,
        "{others} of {voters} voters are there without this machine, which is a quorum: start the node here, and it follows them"
    );
    Ok(())
}

/// Stops the node that runs, if systemd runs it and will start it again.
fn stop_service() -> anyhow::Result<()> {
    let active = Command::new("systemctl").args(["is-active", "--quiet", SERVICE]).status();
    if !active.is_ok_and(|status| status.success()) {
        bail!("the node runs and is no service of systemd's: stop it, and run this again");
    }
    systemctl("stop")
}

fn systemctl(verb: &str) -> anyhow::Result<()> {
    let output = Command::new("systemctl").args([verb, SERVICE]).output().context("systemctl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "systemctl {verb} {SERVICE}: {}", said.trim());
    Ok(())
}

/// The time of `--grace`.
fn grace(text: Option<&str>) -> Result<Duration, String> {
    match text.map(time_span) {
        None => Ok(GRACE),
        Some(Ok(TimeSpan::Finite(grace))) if grace <= GRACE_MAX => Ok(grace),
        Some(_) => Err(format!("--grace is `{}`: write a time such as 15m, at most a day", text.unwrap_or_default())),
    }
}

async fn recover(store: &Path, service: bool, grace: Duration, gone: Vec<String>) -> anyhow::Result<u8> {
    let done = make(store, grace, gone).await;
    // Whatever came of it: the node runs again as it did.
    if service {
        systemctl("start")?;
    }
    let (remains, made) = done?;
    println!(
        "recovered: cluster {} has this machine as its only member, with all up to entry {}",
        made.cluster, remains.log_index
    );
    println!("the former data are in {}; remove them when all is well", made.old.display());
    if !service {
        println!("start the node here now");
    }
    println!("others: `node ctl token create` here, `node join --anew TOKEN` there");
    print!("{}", told_of_awaited(&made.awaited, grace));
    Ok(0)
}

/// Until when machines are to be back.
fn told_of_awaited(awaited: &[String], grace: Duration) -> String {
    if awaited.is_empty() {
        return String::new();
    }
    let time = jiff::SignedDuration::try_from(grace).map(|grace| format!("{grace:#}")).unwrap_or_default();
    format!(
        "units stay on {} for {time} from when the node here runs; those of a machine that has not joined by then are moved\n",
        awaited.join(" and ")
    )
}

async fn make(store: &Path, grace: Duration, gone: Vec<String>) -> anyhow::Result<(Remains, Recovered)> {
    let stopped = Stopped::open(store, Arc::new(Now)).await?;
    let remains = stopped.remains().clone();
    let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    Ok((remains, stopped.recover(grace_ms, gone)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(leader: Option<&str>, ends: &[Option<(u64, u64)>]) -> Found {
        let seen = |(at, end): (usize, &Option<(u64, u64)>)| Seen {
            name: format!("n{at}"),
            votes: true,
            own: at == 0,
            state: end.map(|(term, index)| (term, index, 7)).ok_or_else(|| "cannot connect".to_owned()),
        };
        Found { leader: leader.map(str::to_owned), members: ends.iter().enumerate().map(seen).collect() }
    }

    #[test]
    fn only_the_furthest_member_of_a_lost_quorum_is_recovered() {
        let cases = [
            (None, vec![Some((2, 9)), None, None], ""),
            (Some("2a"), vec![Some((2, 9)), None, None], "has a leader, 2a"),
            (None, vec![Some((2, 9)), Some((2, 9)), None], "2 of 3 voters answer"),
            // The later term counts, as in an election.
            (None, vec![Some((2, 9)), Some((3, 4)), None, None, None], "n1 has more than this machine"),
            (None, vec![Some((3, 4)), Some((2, 9)), None, None], ""),
        ];
        for (leader, ends, expected) in cases {
            let outcome = found(leader, &ends).check();
            match expected {
                "" => outcome.unwrap(),
                why => assert!(outcome.as_ref().unwrap_err().to_string().contains(why), "{ends:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_member_that_was_stopped_does_not_leave_a_quorum() {
        let member = |id| (crate::kv::Member { id: MemberId(id), ..Default::default() }, id < 4);
        let remains = Remains { member: MemberId(1), members: (1..=5).map(member).collect(), ..Remains::default() };
        check_absence(&remains, &[MemberId(2), MemberId(4), MemberId(5)]).unwrap();
        let refusal = check_absence(&remains, &[MemberId(2), MemberId(3)]).unwrap_err().to_string();
        assert!(refusal.contains("2 of 3 voters are there without this machine"), "{refusal}");
    }

    #[test]
    fn the_grace_is_a_time() {
        for (text, expected) in
            [(None, 900), (Some("0"), 0), (Some("90"), 90), (Some("2h"), 7_200), (Some("1d"), 86_400)]
        {
            assert_eq!(grace(text), Ok(Duration::from_secs(expected)), "{text:?}");
        }
        for text in ["soon", "2d", "infinity", "-1"] {
            assert!(grace(Some(text)).unwrap_err().contains("write a time such as 15m"), "{text}");
        }
        let told = told_of_awaited(&["n2".to_owned(), "n3".to_owned()], GRACE);
        assert!(told.starts_with("units stay on n2 and n3 for 15m from"), "{told}");
        assert_eq!(told_of_awaited(&[], GRACE), "");
    }

    #[test]
    fn what_may_be_lost_is_said() {
        let told = found(None, &[Some((2, 9)), None, None]).told();
        for part in
            ["n0, this machine: votes; its log ends at entry 9 of term 2", "may be lost: what n1 and n2 acknowledged"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!found(None, &[Some((2, 9))]).told().contains("may be lost"));
    }
}
