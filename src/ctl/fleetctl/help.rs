//! What `--help` prints: by example, in the blocks that the old tool had.

use std::fmt::Write as _;

use super::commands::{COMMANDS, Command, GLOBAL};
use crate::api::fleet::FLEET_VERSION;
use crate::ctl::args::Flag;

/// All commands.
pub fn all() -> String {
    let mut text = format!(
        "\
NAME:
\tfleetctl - start, stop and watch units anywhere in the cluster

USAGE:
\tfleetctl [global options] <command> [command options] [arguments...]

VERSION:
\t{FLEET_VERSION}

EXAMPLES:
  $ fleetctl list-machines                  who is there
  $ fleetctl submit web@.service            hand in a template
  $ fleetctl start web@1 web@2              start two instances, first creating them
  $ fleetctl list-units                     where they run
  $ fleetctl status web@1                   what systemd says of one
  $ fleetctl journal -f web@1               what it prints
  $ fleetctl stop web@1 && fleetctl destroy web@1

COMMANDS:
"
    );
    for command in COMMANDS.iter().filter(|command| !matches!(command.name, "verify" | "fd-forward")) {
        let _ = writeln!(text, "\t{:<16}{}", command.name, command.summary);
    }
    text.push_str("\nGLOBAL OPTIONS:\n");
    options(&mut text, GLOBAL);
    text.push_str(
        "\nGlobal options can also be given as variables: --endpoint as FLEETCTL_ENDPOINT, and so on.\n\
         Flags take one dash or two and may stand anywhere; commands may be cut short while they are unique.\n\
         Run \"fleetctl help <command>\" for more about a command.\n",
    );
    text
}

/// One command.
pub fn of(command: &Command) -> String {
    let mut text =
        format!("NAME:\n\tfleetctl {} - {}\n\nUSAGE:\n\tfleetctl {}\n", command.name, command.summary, command.usage);
    if !command.examples.is_empty() {
        let _ = write!(text, "\nEXAMPLES:\n{}", command.examples);
    }
    if !command.flags.is_empty() {
        text.push_str("\nOPTIONS:\n");
        options(&mut text, command.flags);
    }
    text.push_str("\nGlobal options are shown by \"fleetctl --help\".\n");
    text
}

fn options(text: &mut String, flags: &[Flag]) {
    for flag in flags {
        let dashed = |name: &&str| if name.len() == 1 { format!("-{name}") } else { format!("--{name}") };
        let names: Vec<String> = flag.names.iter().map(dashed).collect();
        let value = if flag.value { " VALUE" } else { "" };
        let _ = writeln!(text, "\t{:<32}{}", format!("{}{value}", names.join(", ")), flag.help);
    }
}
