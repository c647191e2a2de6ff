//! `node ctl doctor`: looks at every member and says what is wrong, each with its remedy.

mod collect;
mod verdict;
#[cfg(test)]
mod verdict_tests;

use std::fmt::Write as _;

use super::node_ctl;
use verdict::{Cluster, Finding, verdicts};

pub const HELP: &str = "\
node ctl doctor: look at every member and say what is wrong, each with its remedy.

  $ node ctl doctor

It finds clocks that differ, disks that are slow to sync or full, certificates that end soon, a quorum that the loss of one more
member would cost, members that do not answer or do not hear each other, units that fit on no machine, backups that fail.
The exit code is 1 where something is wrong.
  --endpoint URL    as for the other commands
";

/// Runs the command: 0, 1 where something is wrong, 2 for a command line that cannot be understood.
///
/// # Errors
/// Where the node that is asked does not answer, or lets nobody in.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match node_ctl::understood(arguments, &[node_ctl::FLAGS], HELP) {
        Ok(parsed) if parsed.words.len() > 1 => return Ok(node_ctl::misunderstood("`doctor` takes no words")),
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let cluster = node_ctl::runtime()?.block_on(collect::collect(&parsed))?;
    let findings = verdicts(&cluster);
    print!("{}", render(&cluster, &findings));
    Ok(u8::from(!findings.is_empty()))
}

fn render(cluster: &Cluster, findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, remedy } in findings {
        let _ = writeln!(text, "{what}\n  remedy: {remedy}");
    }
    let looked = format!("{} members and {} units were looked at", cluster.members.len(), cluster.units);
    let _ = match findings.len() {
        0 => writeln!(text, "nothing is wrong; {looked}"),
        1 => writeln!(text, "1 thing is wrong; {looked}"),
        many => writeln!(text, "{many} things are wrong; {looked}"),
    };
    text
}
