//! The faces `node init` and `node join`: from nothing to a member of a cluster whose connections are all mutual TLS.
//!
//! `init` makes the cluster's authority, this machine's identity and a token; `join` takes a token and gets the same from a
//! member. Both write the settings by which `node run` starts, and start the service where systemd is there.

mod init;
mod join;
mod plan;
mod service;

use plan::Plan;

/// A command line that cannot be understood, or settings that are wrong.
const EXIT_USAGE: u8 = 2;

const HELP: &str = "\
node init: makes this machine the first of a new cluster. node join TOKEN: makes it one more of a cluster that is there.

  $ node init                                   prints what to type on the other machines
  $ node join node1.AAAA…                       what it printed; `node ctl token create` on a member makes more
  $ node join - < token                         the same, without the token in the list of processes
  $ node init --name core-01 --fleet-metadata region=eu

All connections between members are mutual TLS from the first moment on, clients come by TLS with certificates that the
cluster gives out (`node ctl login`), and who may write to /run/node/node.sock on a member needs none.

  --ip ADDRESS           where the other machines reach this one [the address of the default route]
  --config FILE          settings go to FILE.d/10-cluster.toml [/etc/node/node.toml]
  --no-start             do not enable and start node.service
  --anew                 join: leave the cluster that this machine is a member of; its data are put aside, its units run on
  --token-ttl TIME       init: how long the token lasts [1h]
  --token-uses NUMBER    init: how many machines may join with it [10]
  --KEY VALUE            any setting of `node run`; it goes into that file
";

/// `node init`.
pub fn init(arguments: &[String]) -> u8 {
    face("init", arguments, init::run)
}

/// `node join`.
pub fn join(arguments: &[String]) -> u8 {
    face("join", arguments, join::run)
}

fn face(name: &str, arguments: &[String], run: impl FnOnce(&Plan) -> anyhow::Result<()>) -> u8 {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return 0;
    }
    let plan = match Plan::read(arguments, name == "init") {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("node {name}: {error:#}; `node {name} --help` shows how");
            return EXIT_USAGE;
        }
    };
    match run(&plan) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("node {name}: {error:#}");
            1
        }
    }
}
