//! `node ctl` about where units run: why, why not there, what would move; machines taken out of service and back.

mod ask;
mod drain;
mod explain;
mod machines;
mod rebalance;
mod simulate;

use std::time::Duration;

use super::args::{ArgsError, Flag, Parsed};
use super::node_ctl;
use crate::unit::value::{TimeSpan, time_span};
use ask::Cluster;

pub const HELP: &str = "\
node ctl about where units run:

  $ node ctl explain web@1.service                    every machine, and what speaks for or against it
  $ node ctl why-not web@1.service 8f3a               one machine: its id, the beginning of it, or its address
  $ node ctl simulate --kill 8f3a                     what would move where and why; nothing is changed
  $ node ctl simulate --drain 8f3a --add 2 --metadata zone=b --rebalance
  $ node ctl machines                                 how full machines are, and which take no units
  $ node ctl machine set-metadata 8f3a zone=b disk=   changes what a machine is known by; an empty value takes it away
  $ node ctl cordon 8f3a                              no more units come to it; those that are there stay
  $ node ctl drain 8f3a --max-parallel 4              its units move away, too; waits until they have
  $ node ctl uncordon 8f3a                            takes it back into service
  $ node ctl rebalance --dry-run                      what would be better off elsewhere
  $ node ctl rebalance --max-parallel 2               moves it, two units at a time, one instance of a template at a time

  --max-parallel N  units that may be on their way at once [1]
  --timeout SPAN    how long drain and rebalance wait [10min]
  --no-block        drain: does not wait
  --kill, --drain   a machine, several with commas or again; --add N: machines as large as the smallest
  --endpoint URL    as for the other commands
";

const FLAGS: &[Flag] = &[
    Flag { names: &["max-parallel"], value: true, variable: None, help: "units on their way at once" },
    Flag { names: &["timeout"], value: true, variable: None, help: "how long to wait" },
    Flag { names: &["no-block"], value: false, variable: None, help: "do not wait" },
    Flag { names: &["dry-run"], value: false, variable: None, help: "only tell" },
    Flag { names: &["kill"], value: true, variable: None, help: "a machine that is lost" },
    Flag { names: &["drain"], value: true, variable: None, help: "a machine that is drained" },
    Flag { names: &["add"], value: true, variable: None, help: "machines that come" },
    Flag { names: &["metadata"], value: true, variable: None, help: "of machines that come" },
    Flag { names: &["rebalance"], value: false, variable: None, help: "rebalance afterwards" },
];

/// How long drains and rebalances are waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// The commands.
pub const COMMANDS: [&str; 9] =
    ["explain", "why-not", "simulate", "machines", "machine", "cordon", "drain", "uncordon", "rebalance"];

/// Runs one of [`COMMANDS`]: 0 where it did what was asked, 1 where something is left, 2 for a command line that cannot be
/// understood.
///
/// # Errors
/// Where the node does not answer, or refuses.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let parsed = match node_ctl::understood(arguments, &[node_ctl::FLAGS, FLAGS], HELP) {
        Ok(parsed) => parsed,
        Err(code) => return Ok(code),
    };
    let options = match Options::of(&parsed) {
        Ok(options) => options,
        Err(what) => return Ok(node_ctl::misunderstood(&what)),
    };
    let words: Vec<&str> = parsed.words.iter().map(String::as_str).collect();
    node_ctl::runtime()?.block_on(async {
        let cluster = Cluster::at(node_ctl::contact(&parsed).await?);
        match words.as_slice() {
            ["explain", unit] => explain::explain(&cluster, unit).await,
            ["why-not", unit, machine] => explain::why_not(&cluster, unit, machine).await,
            ["simulate"] => simulate::run(&cluster, &parsed).await,
            ["machines"] => machines::list(&cluster).await,
            ["machine", "set-metadata", machine, pairs @ ..] if !pairs.is_empty() => {
                machines::set_metadata(&cluster, machine, pairs).await
            }
            ["cordon", machine] => machines::cordon(&cluster, machine).await,
            ["uncordon", machine] => machines::uncordon(&cluster, machine).await,
            ["drain", machine] => drain::run(&cluster, machine, &options).await,
            ["rebalance"] => rebalance::run(&cluster, &options).await,
            _ => Ok(node_ctl::misunderstood(&usage(words.first().copied().unwrap_or_default()))),
        }
    })
}

fn usage(command: &str) -> String {
    let takes = match command {
        "explain" => "UNIT",
        "why-not" => "UNIT MACHINE",
        "machine" => "set-metadata MACHINE KEY=VALUE…",
        "cordon" | "uncordon" | "drain" => "MACHINE",
        _ => "no words",
    };
    format!("`{command}` takes {takes}")
}

/// What drain and rebalance take besides machines.
struct Options {
    max_parallel: u32,
    patience: Duration,
    block: bool,
    dry_run: bool,
}

impl Options {
    fn of(parsed: &Parsed) -> Result<Self, String> {
        let said = |error: ArgsError| error.to_string();
        let max_parallel = parsed.number("max-parallel").map_err(said)?.unwrap_or(1);
        if max_parallel == 0 {
            return Err("flag `--max-parallel`: at least one unit has to go at a time".to_owned());
        }
        let patience = match parsed.value("timeout") {
            None => PATIENCE,
            Some(text) => match time_span(text).map_err(|error| format!("flag `--timeout`: {error}"))? {
                TimeSpan::Finite(span) => span,
                TimeSpan::Infinity => Duration::from_secs(u64::from(u32::MAX)),
            },
        };
        let block = !parsed.truth("no-block").map_err(said)?;
        Ok(Self { max_parallel, patience, block, dry_run: parsed.truth("dry-run").map_err(said)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines() {
        for (line, expected) in [
            ("explain --help", 0),
            ("explain", 2),
            ("why-not a.service", 2),
            ("drain", 2),
            ("drain a b", 2),
            ("drain a --max-parallel 0", 2),
            ("drain a --max-parallel x", 2),
            ("drain a --timeout soon", 2),
            ("machine paint m1 a=b", 2),
            ("machine set-metadata m1", 2),
            ("rebalance now", 2),
            ("simulate --bogus", 2),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(run(&words).ok(), Some(expected), "{line}");
        }
        let nobody = "explain a.service --endpoint http://127.0.0.1:1".split(' ').map(str::to_owned);
        assert!(run(&nobody.collect::<Vec<_>>()).is_err());
    }
}
