//! The roll: the file to every node, and then one node after the other, the leader last.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::Binary;
use super::ask::{Cluster, Member};
use super::lives::{self, Lives};
use crate::base::limits::{PROGRAM_PIECE_BYTES_MAX, PROGRAM_TRIAL_MS};
use crate::wire::program::{NodeFacts, Outcome};

/// How long the members may take to be all there, before a step.
const WELL_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take with the former program, once it has given up the new one.
const BACK_WITHIN: Duration = Duration::from_millis(PROGRAM_TRIAL_MS);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(200);

/// Rolls: 0 once all have it, 1 where it stopped, which is told with how to go on or back.
///
/// # Errors
/// What is in the way before anything was changed.
pub async fn run(cluster: &Cluster, binary: &Binary, names: &[&str]) -> anyhow::Result<u8> {
    let members = well(cluster).await?;
    let chosen = choose(&members, names)?;
    let mut left = Vec::new();
    for (member, facts) in chosen {
        match facts.sha256 == binary.sha256 && facts.serves {
            true => println!("{}: runs it already", member.name),
            false => left.push(member.clone()),
        }
    }
    for member in &left {
        send(cluster, member, binary).await.with_context(|| format!("{}; nothing was changed", member.name))?;
    }
    let mut done = Vec::new();
    while !left.is_empty() {
        let member = match next(cluster, &mut left).await {
            Ok(member) => member,
            Err(error) => {
                println!("{error:#}");
                print!("{}", stopped(&done, None, &left));
                return Ok(1);
            }
        };
        if let Err(error) = step(cluster, &member, binary).await {
            println!("{}: {error:#}", member.name);
            print!("{}", stopped(&done, Some(&member), &left));
            return Ok(1);
        }
        done.push(member.name);
    }
    println!("{} of {} members were upgraded", done.len(), members.len());
    Ok(0)
}

/// All members, once every one of them serves under one leader.
async fn well(cluster: &Cluster) -> anyhow::Result<Vec<(Member, NodeFacts)>> {
    let begun = Instant::now();
    loop {
        let why = match looked_at(cluster).await {
            Ok(members) => return Ok(members),
            Err(error) => format!("{error:#}"),
        };
        ensure!(begun.elapsed() < WELL_WITHIN, "{why}; no node is upgraded while one is not well");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn looked_at(cluster: &Cluster) -> anyhow::Result<Vec<(Member, NodeFacts)>> {
    let mut all: Vec<(Member, NodeFacts)> = Vec::new();
    for member in cluster.members().await? {
        let facts = cluster.facts(&member.id).await.with_context(|| member.name.clone())?;
        ensure!(facts.serves, "{} does not serve yet", member.name);
        ensure!(facts.leader.is_some(), "{} knows no leader", member.name);
        ensure!(facts.silent.is_empty(), "{} does not hear {}", member.name, facts.silent.join(", "));
        if let Some((other, before)) = all.first() {
            ensure!(before.leader == facts.leader, "{} and {} follow different leaders", other.name, member.name);
        }
        all.push((member, facts));
    }
    Ok(all)
}

fn choose<'a>(members: &'a [(Member, NodeFacts)], names: &[&str]) -> anyhow::Result<Vec<&'a (Member, NodeFacts)>> {
    let unknown = names.iter().find(|name| !members.iter().any(|(member, _)| member.name == **name));
    if let Some(name) = unknown {
        let known: Vec<&str> = members.iter().map(|(member, _)| member.name.as_str()).collect();
        bail!("--machine: no member is called {name}; there are {}", known.join(", "));
    }
    Ok(members.iter().filter(|(member, _)| names.is_empty() || names.contains(&member.name.as_str())).collect())
}

async fn send(cluster: &Cluster, member: &Member, binary: &Binary) -> anyhow::Result<()> {
    for (index, piece) in binary.bytes.chunks(PROGRAM_PIECE_BYTES_MAX).enumerate() {
        cluster.stage(&member.id, &binary.sha256, index * PROGRAM_PIECE_BYTES_MAX, piece).await?;
    }
    let version = cluster.check(&member.id, &binary.sha256).await?;
    println!("{}: has the file, {}", member.name, version.told());
    Ok(())
}

/// The next one of those that are left, once all members are well: those that do not vote first, the leader last.
async fn next(cluster: &Cluster, left: &mut Vec<Member>) -> anyhow::Result<Member> {
    let members = well(cluster).await?;
    let leader = members.first().and_then(|(_, facts)| facts.leader.clone());
    left.sort_by_key(|member| rank(member, leader.as_deref()));
    Ok(left.remove(0))
}

/// Smaller goes first.
fn rank(member: &Member, leader: Option<&str>) -> u8 {
    match (leader == Some(member.id.as_str()), member.votes) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

/// Has one node restart with it, and waits until it is as it was.
async fn step(cluster: &Cluster, member: &Member, binary: &Binary) -> anyhow::Result<()> {
    let before = cluster.facts(&member.id).await?;
    let units = of_units(cluster, &before).await;
    let begun = Instant::now();
    if let Err(error) = cluster.install(&member.id, &binary.sha256, binary.trial).await {
        // Its answer may have been lost as it went.
        let known = cluster.facts(&member.id).await;
        if known.is_ok_and(|now| now.began_ms == before.began_ms && now.trial == before.trial) {
            return Err(error);
        }
    }
    let now = back(cluster, member, &before, binary.trial + BACK_WITHIN).await?;
    if now.sha256 != binary.sha256 {
        let why = match now.trial.map(|trial| trial.outcome) {
            Some(Outcome::Back(why)) => why,
            _ => "its log says why".to_owned(),
        };
        bail!("has taken the new program back and serves with {}: {why}", now.program.told());
    }
    let after = of_units(cluster, &now).await;
    check_units(&units, &after)?;
    println!(
        "{}: serves with {} in the place of {} after {:.1} s; {} units run on",
        member.name,
        now.program.told(),
        before.program.told(),
        begun.elapsed().as_secs_f64(),
        units.len()
    );
    Ok(())
}

async fn of_units(cluster: &Cluster, facts: &NodeFacts) -> Lives {
    match &facts.machine {
        Some(machine) => lives::of(&cluster.door, machine).await,
        None => Lives::new(),
    }
}

/// Waits until the node serves in another life, with whichever program.
async fn back(cluster: &Cluster, member: &Member, before: &NodeFacts, within: Duration) -> anyhow::Result<NodeFacts> {
    let begun = Instant::now();
    loop {
        let why = match cluster.facts(&member.id).await {
            Ok(now) if now.began_ms != before.began_ms && now.serves && settled(&now) => return Ok(now),
            Ok(_) => "it answers and does not serve".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(begun.elapsed() < within, "does not come back: {why}");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether it is decided which program it goes on with.
fn settled(facts: &NodeFacts) -> bool {
    facts.trial.as_ref().is_none_or(|trial| trial.outcome != Outcome::Open)
}

fn check_units(before: &Lives, after: &Lives) -> anyhow::Result<()> {
    for (unit, processes) in before {
        match after.get(unit) {
            Some(now) if now == processes => {}
            Some(now) => bail!("{unit} is another process than before: {} was {}", now.join(" "), processes.join(" ")),
            None => bail!("{unit} is not active any more"),
        }
    }
    Ok(())
}

/// What is said where it does not go on, before a step or in the one of `at`.
fn stopped(done: &[String], at: Option<&Member>, left: &[Member]) -> String {
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let done = list(done.iter().map(String::as_str).collect());
    let left = list(left.iter().map(|member| member.name.as_str()).collect());
    let at = at.map(|member| format!(" at {}", member.name)).unwrap_or_default();
    format!(
        "stopped{at}. Upgraded: {done}. Not touched: {left}.\n\
         To go on, see to what is wrong (`node ctl doctor`, the node's log) and run the same command again: who has the program is left\n\
         alone. To go back, run `node ctl upgrade --binary FILE` with the former program; nodes that were upgraded keep it as\n\
         node.previous, beside the program that runs. Where a node does not answer, move node.previous to its place there, and restart it.\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn member(id: &str, votes: bool) -> Member {
        Member { id: id.to_owned(), name: format!("n{id}"), votes }
    }

    #[test]
    fn the_leader_goes_last_and_who_does_not_vote_first() {
        let mut members = [member("1", true), member("2", true), member("3", false)];
        members.sort_by_key(|member| rank(member, Some("1")));
        assert_eq!(members.map(|member| member.id), ["3", "2", "1"]);
    }

    #[test]
    fn members_are_chosen_by_name() {
        let members = [("1", true), ("2", true)].map(|(id, votes)| (member(id, votes), NodeFacts::default()));
        assert_eq!(choose(&members, &[]).unwrap().len(), 2);
        assert_eq!(choose(&members, &["n2"]).unwrap()[0].0.id, "2");
        assert!(choose(&members, &["n3"]).unwrap_err().to_string().contains("there are n1, n2"));
    }

    #[test]
    fn units_must_be_the_same_processes() {
        let lives = |pids: &[(&str, &str)]| -> Lives {
            pids.iter().map(|(unit, pid)| ((*unit).to_owned(), vec![(*pid).to_owned()])).collect()
        };
        let before = lives(&[("a", "1"), ("b", "2")]);
        // One that came meanwhile is no harm.
        check_units(&before, &lives(&[("a", "1"), ("b", "2"), ("c", "3")])).unwrap();
        let other = check_units(&before, &lives(&[("a", "9"), ("b", "2")])).unwrap_err().to_string();
        assert!(other.contains("a is another process than before: 9 was 1"), "{other}");
        let gone = check_units(&before, &lives(&[("a", "1")])).unwrap_err().to_string();
        assert_eq!(gone, "b is not active any more");
    }

    #[test]
    fn whoever_is_left_half_way_knows_how_to_go_on_and_back() {
        let told = stopped(&["n1".to_owned()], Some(&member("2", true)), &[]);
        for part in ["stopped at n2. Upgraded: n1. Not touched: none.", "To go on", "To go back", "node.previous"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
