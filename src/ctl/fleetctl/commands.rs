//! The commands and their flags: which there are, how they are found by name or unique prefix, and what runs them.

use super::{Context, Failed, list, look, remote, restart, say, units};
use crate::ctl::args::{Flag, Parsed};

/// One command.
pub struct Command {
    pub name: &'static str,
    pub usage: &'static str,
    pub summary: &'static str,
    /// How it is used, by example.
    pub examples: &'static str,
    pub flags: &'static [Flag],
}

const fn global(names: &'static [&'static str], variable: &'static str, help: &'static str) -> Flag {
    Flag { names, value: true, variable: Some(variable), help }
}

const fn value(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, value: true, variable: None, help }
}

const fn truth(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, value: false, variable: None, help }
}

/// Flags that every command takes, before or behind it.
pub const GLOBAL: &[Flag] = &[
    truth(&["help", "h"], "Print usage information and exit"),
    Flag { names: &["version", "v"], value: false, variable: None, help: "Print the version and exit" },
    Flag {
        names: &["debug"],
        value: false,
        variable: Some("FLEETCTL_DEBUG"),
        help: "Accepted; errors say all there is",
    },
    global(
        &["endpoint"],
        "FLEETCTL_ENDPOINT",
        "Where the API is: unix:///PATH, http://HOST:PORT or https://HOST:PORT, several with commas [a socket on this machine, else http://127.0.0.1:2379]",
    ),
    global(&["tunnel"], "FLEETCTL_TUNNEL", "Reach the endpoint through this host, HOST[:PORT], by ssh"),
    global(&["ssh-username"], "FLEETCTL_SSH_USERNAME", "Whom ssh logs in as [core]"),
    global(&["ssh-timeout"], "FLEETCTL_SSH_TIMEOUT", "Seconds that an ssh connection may take to come about [10.0]"),
    Flag {
        names: &["strict-host-key-checking"],
        value: false,
        variable: Some("FLEETCTL_STRICT_HOST_KEY_CHECKING"),
        help: "Refuse hosts whose key is not the known one [true]",
    },
    global(&["known-hosts-file"], "FLEETCTL_KNOWN_HOSTS_FILE", "Where ssh keeps the keys of hosts [ssh's own]"),
    global(&["driver"], "FLEETCTL_DRIVER", "Accepted: API or etcd; the same port serves both"),
    global(&["username"], "FLEETCTL_USERNAME", "NAME:PASSWORD of root, where the store asks for users"),
    global(&["request-timeout"], "FLEETCTL_REQUEST_TIMEOUT", "Accepted; requests have bounds of their own"),
    global(&["etcd-key-prefix"], "FLEETCTL_ETCD_KEY_PREFIX", "Accepted and not used"),
    global(&["cacert", "ca-file", "etcd-cafile"], "FLEETCTL_CA_FILE", "Who vouches for an https:// endpoint, PEM"),
    global(&["cert", "cert-file", "etcd-certfile"], "FLEETCTL_CERT_FILE", "The certificate to show there, PEM"),
    global(&["key", "key-file", "etcd-keyfile"], "FLEETCTL_KEY_FILE", "Its key, PEM"),
    Flag {
        names: &["experimental-api"],
        value: false,
        variable: Some("FLEETCTL_EXPERIMENTAL_API"),
        help: "Accepted and not used",
    },
];

const FULL: Flag = truth(&["full", "l"], "Do not ellipsize fields on output");
const NO_LEGEND: Flag = truth(&["no-legend"], "Do not print a legend (column headers)");
const FIELDS: Flag = value(&["fields"], "Columns to print, separated by commas");
const NO_BLOCK: Flag = truth(&["no-block"], "Do not wait until the units have come so far");
const BLOCK_ATTEMPTS: Flag = value(
    &["block-attempts"],
    "Wait for at most N times 2 seconds, 0: for ever [ten minutes; not at all for what fits nowhere]",
);
const REPLACE: Flag = truth(&["replace"], "Replace units in the cluster by the files here");
const SIGN: Flag = truth(&["sign"], "DEPRECATED - this option cannot be used");
const SSH_PORT: Flag = value(&["ssh-port"], "Port of ssh on the machines [22]");

/// Flags of commands whose values are numbers.
pub const NUMBERS: [&str; 3] = ["block-attempts", "lines", "ssh-port"];

const CREATING: &[Flag] = &[NO_BLOCK, BLOCK_ATTEMPTS, REPLACE, SIGN];
const WAITING: &[Flag] = &[NO_BLOCK, BLOCK_ATTEMPTS];

/// All commands, by name.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "cat",
        usage: "cat UNIT",
        summary: "Output the contents of a submitted unit",
        examples: "  $ fleetctl cat web@1.service > web@1.service\n",
        flags: &[],
    },
    Command {
        name: "destroy",
        usage: "destroy UNIT...",
        summary: "Destroy one or more units in the cluster",
        examples: "  $ fleetctl destroy web@1.service\n  $ fleetctl destroy 'web@*'          all instances, and the template\n",
        flags: WAITING,
    },
    Command {
        name: "fd-forward",
        usage: "fd-forward SOCKET",
        summary: "Connect standard input and output to a unix socket",
        examples: "  $ fleetctl fd-forward /run/fleet.sock     what `--tunnel` of old clients runs on the far side\n",
        flags: &[],
    },
    Command {
        name: "journal",
        usage: "journal [--lines=N] [-f|--follow] [--output=STRING] UNIT",
        summary: "Print the journal of a unit in the cluster to stdout",
        examples: "  $ fleetctl journal web@1.service            the last 10 lines, whichever machine they are on\n  $ fleetctl journal --lines 100 -f web@1     and what comes\n",
        flags: &[
            value(&["lines", "n"], "Number of recent log lines to return [10]"),
            truth(&["follow", "f"], "Go on printing as lines come"),
            value(&["output"], "journalctl's output mode [short]"),
            truth(&["sudo"], "Accepted; the node reads the journal"),
            SSH_PORT,
        ],
    },
    Command {
        name: "list-machines",
        usage: "list-machines [-l|--full] [--no-legend] [--fields]",
        summary: "Enumerate the current hosts in the cluster",
        examples: "  $ fleetctl list-machines\n  $ fleetctl list-machines --full --no-legend --fields machine,metadata\n\nFields: machine,ip,metadata\n",
        flags: &[FULL, NO_LEGEND, FIELDS],
    },
    Command {
        name: "list-unit-files",
        usage: "list-unit-files [-l|--full] [--no-legend] [--fields]",
        summary: "List the units that exist in the cluster.",
        examples: "  $ fleetctl list-unit-files\n  $ fleetctl list-unit-files --fields unit,dstate,state,target\n\nFields: unit,hash,dstate,state,target; also global,desc\n",
        flags: &[FULL, NO_LEGEND, FIELDS],
    },
    Command {
        name: "list-units",
        usage: "list-units [-l|--full] [--no-legend] [--fields]",
        summary: "List the current state of units in the cluster",
        examples: "  $ fleetctl list-units\n  $ fleetctl list-units --no-legend --fields unit,active,machine\n\nFields: unit,machine,active,sub; also load,hash\n",
        flags: &[FULL, NO_LEGEND, FIELDS],
    },
    Command {
        name: "load",
        usage: "load [--no-block|--block-attempts=N] UNIT...",
        summary: "Schedule one or more units in the cluster, first submitting them if necessary.",
        examples: "  $ fleetctl load web@1.service       on a machine, known to its systemd, not started\n",
        flags: CREATING,
    },
    Command {
        name: "restart",
        usage: "restart [--block-attempts=N] UNIT...",
        summary: "Stop and start units where they are, one after the other; global ones machine by machine.",
        examples: "  $ fleetctl restart web@1.service web@2.service    the second once the first is active again\n",
        flags: WAITING,
    },
    Command {
        name: "ssh",
        usage: "ssh [-A|--forward-agent] [--ssh-port=N] [--machine|--unit] {MACHINE|UNIT} [--] [COMMAND...]",
        summary: "Open interactive shell on a machine in the cluster",
        examples: "  $ fleetctl ssh 2444264c                 a machine, by the beginning of its id\n  $ fleetctl ssh web@1.service uptime     the machine that runs a unit\n",
        flags: &[
            value(&["machine"], "Connect to this machine"),
            value(&["unit"], "Connect to the machine that runs this unit"),
            truth(&["forward-agent", "A"], "Forward the local ssh-agent"),
            SSH_PORT,
        ],
    },
    Command {
        name: "start",
        usage: "start [--no-block|--block-attempts=N] UNIT...",
        summary: "Instruct systemd to start one or more units in the cluster, first submitting and loading if necessary.",
        examples: "  $ fleetctl start hello.service            a file here, or a unit submitted before\n  $ fleetctl start web@{1..3}.service       three instances of web@.service\n  $ fleetctl start --no-block units/*\n",
        flags: CREATING,
    },
    Command {
        name: "status",
        usage: "status UNIT...",
        summary: "Output the status of one or more units in the cluster",
        examples: "  $ fleetctl status web@1.service           as systemctl says it on the machine that runs it\n  $ fleetctl status 'web@*'\n",
        flags: &[SSH_PORT],
    },
    Command {
        name: "stop",
        usage: "stop [--no-block|--block-attempts=N] UNIT...",
        summary: "Instruct systemd to stop one or more units in the cluster.",
        examples: "  $ fleetctl stop web@1.service             it stays on its machine and can be started again\n",
        flags: WAITING,
    },
    Command {
        name: "submit",
        usage: "submit UNIT...",
        summary: "Upload one or more units to the cluster without starting them",
        examples: "  $ fleetctl submit web@.service            a template, to be started as web@1, web@2, …\n  $ fleetctl submit --replace web@.service\n",
        flags: &[REPLACE, SIGN, BLOCK_ATTEMPTS, NO_BLOCK],
    },
    Command {
        name: "unload",
        usage: "unload [--no-block|--block-attempts=N] UNIT...",
        summary: "Unschedule one or more units in the cluster.",
        examples: "  $ fleetctl unload web@1.service           stopped, and on no machine any more\n",
        flags: WAITING,
    },
    Command { name: "verify", usage: "verify UNIT", summary: "DEPRECATED - No longer works", examples: "", flags: &[] },
    Command {
        name: "version",
        usage: "version",
        summary: "Print the version and exit",
        examples: "  $ fleetctl version\n",
        flags: &[],
    },
];

/// The command of a name or of a prefix that only it has.
///
/// # Errors
/// What to tell the user.
pub fn named(name: &str) -> Result<&'static Command, String> {
    let unknown = format!("Error: unknown command {name:?} for \"fleetctl\"\n");
    let advice = "Run 'fleetctl --help' for usage.";
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return Ok(command);
    }
    let candidates: Vec<_> = COMMANDS.iter().filter(|command| command.name.starts_with(name)).collect();
    match candidates.as_slice() {
        [only] if !name.is_empty() => Ok(only),
        [] => {
            let near = COMMANDS.iter().filter(|command| strsim::levenshtein(command.name, name) <= 2);
            let near: String = near.map(|command| format!("\t{}\n", command.name)).collect();
            let hint = if near.is_empty() { near } else { format!("\nDid you mean this?\n{near}\n") };
            Err(format!("{unknown}{hint}{advice}"))
        }
        several => {
            let names: String = several.iter().map(|command| format!("\t{}\n", command.name)).collect();
            Err(format!("{unknown}\nDid you mean this?\n{names}\n{advice}"))
        }
    }
}

/// Where in a command line the command stands: the first word that is neither a flag nor a flag's value.
pub fn verb_at(arguments: &[String]) -> Option<usize> {
    let takes_value = |name: &str| {
        let all = || GLOBAL.iter().chain(COMMANDS.iter().flat_map(|command| command.flags));
        all().any(|flag| flag.value && flag.names.contains(&name))
    };
    let mut at = 0;
    while let Some(argument) = arguments.get(at) {
        match argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) {
            Some("") => return None,
            Some(name) => at += if takes_value(name) { 2 } else { 1 },
            None => return Some(at),
        }
    }
    None
}

/// Takes off what is for another command: with `ssh`, all that stands behind `--` or behind the first word.
pub fn split_tail(command: &Command, arguments: &[String], verb: usize) -> (Vec<String>, Vec<String>) {
    if command.name != "ssh" {
        return (arguments.to_vec(), Vec::new());
    }
    let given = |name: &str| {
        let is = |argument: &String| {
            let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            bare.is_some_and(|bare| bare == name || bare.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
        };
        arguments.iter().take_while(|argument| *argument != "--").any(is)
    };
    // With the target in a flag the first word is the command's already.
    let targets = if given("machine") || given("unit") { 0 } else { 1 };
    let (head, behind) = match arguments.iter().position(|argument| argument == "--") {
        Some(dashes) => (&arguments[..dashes], Some(&arguments[dashes + 1..])),
        None => (arguments, None),
    };
    let mut words = 0;
    let mut at = verb + 1;
    while let Some(next) = head.get(at..).and_then(verb_at) {
        at += next;
        if words == targets {
            return (head[..at].to_vec(), behind.unwrap_or(&head[at..]).to_vec());
        }
        words += 1;
        at += 1;
    }
    (head.to_vec(), behind.unwrap_or_default().to_vec())
}

/// Runs a command that asks nobody. `None`: it is none of those.
pub async fn without_client(command: &Command, parsed: &Parsed, words: &[String]) -> Result<Option<u8>, Failed> {
    const SIGNED: &str = "WARNING: The signed/verified units feature is DEPRECATED and cannot be used.";
    match command.name {
        "verify" => Err(Failed::usage(format!("Command \"verify\" is deprecated, {}\n{SIGNED}", command.summary))),
        "fd-forward" => remote::fd_forward(words).await.map(Some),
        _ if parsed.truth("sign")? => Err(Failed::usage(SIGNED)),
        "submit" | "load" | "start" | "stop" | "unload" | "destroy" | "restart" if words.is_empty() => {
            say::warn("No units given");
            Ok(Some(0))
        }
        _ => Ok(None),
    }
}

/// Runs a command.
pub async fn execute(command: &Command, context: &Context) -> Result<u8, Failed> {
    match command.name {
        "list-machines" => list::machines(context).await,
        "list-units" => list::units(context).await,
        "list-unit-files" => list::unit_files(context).await,
        "submit" => units::submit(context).await,
        "load" => units::load(context).await,
        "start" => units::start(context).await,
        "stop" => units::stop(context).await,
        "unload" => units::unload(context).await,
        "destroy" => units::destroy(context).await,
        "restart" => restart::restart(context).await,
        "cat" => look::cat(context).await,
        "status" => look::status(context).await,
        "journal" => look::journal(context).await,
        "ssh" => remote::ssh(context).await,
        other => Err(Failed::usage(format!("Error: unknown command {other:?} for \"fleetctl\""))),
    }
}
