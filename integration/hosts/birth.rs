//! Hosts with nothing on them but the program: they become a cluster with a command each, one more joins, one is lost for good and
//! replaced, and nobody types anything for what runs there.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;
use crate::units::{self, SEEN_BOUND};
use crate::waits::wait_until;

const NAMES: [&str; 4] = ["core-01", "core-02", "core-03", "core-04"];
const WEB: &str = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nConflicts=web@*.service\n";
const PATTERNS: [&str; 1] = ["web@*"];
/// Three vote, and one that is silent for so long is gone for good.
const SEATS: &str = "--voters 3 --voter-lost-after 10s";

pub fn run() -> Result<()> {
    Lab::start_blank(&NAMES, &crate::binary())?.tell(|lab| {
        for name in NAMES {
            lab.write_file(name, "/root/web@.service", WEB)?;
        }
        let token = three_become_a_cluster(lab)?;
        a_fourth_joins(lab, &token)?;
        the_third_is_lost(lab)?;
        another_takes_its_name(lab)
    })
}

/// Two commands on each: the one that makes it a member, and one that starts a unit.
fn three_become_a_cluster(lab: &Lab) -> Result<String> {
    let begun = Instant::now();
    let told = lab.shell(NAMES[0], &format!("node init {SEATS}"))?.ok()?.stdout;
    let token = told.split_whitespace().find(|word| word.starts_with("node1.")).context("a token")?.to_owned();
    for name in &NAMES[1..3] {
        lab.shell(name, &format!("node join {token} {SEATS}"))?.ok()?;
    }
    for (at, name) in NAMES[..3].iter().enumerate() {
        lab.shell(name, &format!("fleetctl start web@{}", at + 1))?.ok()?;
    }
    units::settle(lab, NAMES[0], &NAMES[..3], &PATTERNS, |running| {
        ensure!(running.len() == 3, "{running:?}");
        Ok(())
    })?;
    eprintln!("lab: three hosts were a cluster with three units {:.1?} after the first command", begun.elapsed());
    for name in &NAMES[..3] {
        let enabled = lab.exec(name, &["systemctl", "is-enabled", "node"])?.ok()?.stdout;
        ensure!(enabled.trim() == "enabled", "{name}: {enabled}");
    }
    voters(lab, &NAMES[..3])?;
    Ok(token)
}

fn a_fourth_joins(lab: &Lab, token: &str) -> Result<()> {
    lab.shell(NAMES[3], &format!("node join {token} {SEATS}"))?.ok()?;
    wait_until("the fourth to be listed", SEEN_BOUND, || {
        Ok(lab.exec(NAMES[0], &["fleetctl", "list-machines", "--no-legend"])?.ok()?.stdout.lines().count() == 4)
    })?;
    voters(lab, &NAMES[..3])
}

fn the_third_is_lost(lab: &Lab) -> Result<()> {
    let begun = Instant::now();
    lab.power_off(NAMES[2])?;
    let left = [NAMES[0], NAMES[1], NAMES[3]];
    units::settle(lab, NAMES[0], &left, &PATTERNS, |running| {
        ensure!(running.keys().any(|(host, _)| host == NAMES[3]) && running.len() == 3, "{running:?}");
        Ok(())
    })?;
    eprintln!("lab: the lost host's unit runs elsewhere after {:.1?}", begun.elapsed());
    voters(lab, &left)?;
    eprintln!("lab: its vote is another host's after {:.1?}", begun.elapsed());
    Ok(())
}

/// A machine with an empty disk comes under the name of the one that is lost; the name of one that lives is refused.
fn another_takes_its_name(lab: &Lab) -> Result<()> {
    lab.replace(NAMES[2], &crate::binary())?;
    let token = lab.exec(NAMES[0], &["node", "ctl", "token", "create"])?.ok()?.stdout.trim().to_owned();
    let refused = lab.shell(NAMES[2], &format!("node join {token} --name {}", NAMES[0]))?.exits_with(1)?;
    ensure!(refused.stderr.contains(&format!("a member {} runs at", NAMES[0])), "{refused}");
    lab.shell(NAMES[2], &format!("node join {token} {SEATS}"))?.ok()?;
    wait_until("the new machine in the place of the lost one", SEEN_BOUND, || {
        let members = lab.exec(NAMES[0], &["etcdctl", "member", "list"])?.ok()?.stdout;
        let own: Vec<&str> = members.lines().filter(|line| line.contains(", core-03, ")).collect();
        ensure!(members.lines().count() == 4 && own.len() == 1 && own[0].contains(", started, "), "{members}");
        Ok(true)
    })
}

/// Waits until these members and no others vote.
fn voters(lab: &Lab, names: &[&str]) -> Result<()> {
    wait_until(&format!("{names:?} to vote"), SEEN_BOUND, || {
        let members = lab.exec(NAMES[0], &["etcdctl", "member", "list"])?.ok()?.stdout;
        let voting = members.lines().filter(|line| line.ends_with(", false"));
        let mut voting: Vec<&str> = voting.filter_map(|line| line.split(", ").nth(2)).collect();
        voting.sort_unstable();
        ensure!(voting == names, "{members}");
        Ok(true)
    })
}
