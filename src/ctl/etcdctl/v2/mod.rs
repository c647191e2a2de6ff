//! etcdctl's commands of API 2: paths over HTTP, with the flags, outputs, mistakes and exit codes of the original.
//!
//! Source: `etcdctl --help` of 3.4.23 with ETCDCTL_API=2, and what it prints and sends.

mod client;
mod cluster;
pub mod commands;
mod keys;
pub mod line;
mod print;
mod request;
mod users;
mod watch;

use self::client::Client;
use self::commands::{COMMANDS, GLOBAL, HELP, OF_V3, find};
use self::line::{Command, Line};
use crate::api::version::ETCD_SERVER;

/// Exit codes of the original; 1 is for arguments and for all that is no key.
mod exit {
    pub const CONNECTION: u8 = 2;
    pub const NO_SUCH_HELP: u8 = 3;
    pub const SERVER: u8 = 4;
    pub const NOT_HEALTHY: u8 = 5;
}

/// How a command fails: the exit code, and the whole text for standard error.
#[derive(Debug)]
pub struct Failed {
    pub code: u8,
    pub text: String,
}

impl Failed {
    /// In the way of the commands for keys.
    fn error(code: u8, why: impl std::fmt::Display) -> Self {
        Self { code, text: format!("Error:  {why}") }
    }

    /// In the way of all others.
    fn bare(why: impl Into<String>) -> Self {
        Self { code: 1, text: why.into() }
    }
}

/// Runs a command line.
pub fn run(arguments: &[String]) -> u8 {
    carried_out(arguments).unwrap_or_else(|failed| {
        eprintln!("{}", failed.text);
        failed.code
    })
}

fn carried_out(arguments: &[String]) -> Result<u8, Failed> {
    let mut line = Line::default();
    let rest = line.leading(arguments, &[GLOBAL, OF_V3]).map_err(|why| misused(why, '.', &line::program()))?;
    if line.truth("version") {
        print!("etcdctl version: {ETCD_SERVER}\nAPI version: 2\n");
        return Ok(0);
    }
    let Some((verb, rest)) = rest.split_first().filter(|_| !line.truth("help")) else {
        print!("{}", line::program());
        return Ok(0);
    };
    if matches!(verb.as_str(), "help" | "h") {
        return helped(rest.first().map(String::as_str));
    }
    let command = find(COMMANDS, verb).ok_or_else(|| no_topic(verb))?;
    if command.commands.is_empty() {
        return command_of(command, &mut line, rest, command.name);
    }
    let rest =
        line.leading(rest, &[&[HELP], GLOBAL, OF_V3]).map_err(|why| misused(why, '.', &line::family(command)))?;
    match rest.split_first().filter(|(name, _)| !line.truth("help") && *name != "help") {
        None => {
            print!("{}", line::family(command));
            Ok(0)
        }
        Some((name, rest)) => {
            let one = find(command.commands, name).ok_or_else(|| no_topic(name))?;
            command_of(one, &mut line, rest, &format!("{verb} {name}"))
        }
    }
}

/// `full` is the command's name with that of its family.
fn command_of(command: &Command, line: &mut Line, rest: &[String], full: &str) -> Result<u8, Failed> {
    let options: &[&'static [line::Opt]] = &[command.options, GLOBAL, OF_V3];
    line.all(rest, options).map_err(|why| misused(why, ':', &line::one(full, command)))?;
    if line.truth("help") {
        print!("{}", line::one(full, command));
        return Ok(0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::bare(format!("starting the runtime: {error}")))?;
    runtime.block_on(obeyed(full, line))
}

async fn obeyed(full: &str, line: &Line) -> Result<u8, Failed> {
    match full.split_once(' ') {
        Some(("member", verb)) => cluster::member(verb, line).await,
        Some(("user", verb)) => users::user(verb, line).await,
        Some(("role", verb)) => users::role(verb, line).await,
        Some((_, verb)) => users::auth(verb, line).await,
        None => match full {
            "backup" => Err(Failed::bare(
                "backup: a node's data directory is no etcd 2 directory; `node ctl snapshot save FILE` copies the state of a cluster that \
                 runs, and `node ctl import etcd` takes the data of an etcd",
            )),
            "cluster-health" => cluster::health(line).await,
            "watch" => watch::watch(line).await,
            "exec-watch" => watch::exec_watch(line).await,
            verb => keys::run(verb, line, &Client::synced(line).await?).await,
        },
    }
}

fn helped(topic: Option<&str>) -> Result<u8, Failed> {
    match topic {
        None => print!("{}", line::program()),
        Some(topic) => {
            let command = find(COMMANDS, topic).ok_or_else(|| no_topic(topic))?;
            print!("{}", line::one(topic, command));
        }
    }
    Ok(0)
}

fn no_topic(topic: &str) -> Failed {
    Failed { code: exit::NO_SUCH_HELP, text: format!("No help topic for '{topic}'") }
}

fn misused(why: String, mark: char, help: &str) -> Failed {
    print!("Incorrect Usage{mark} {why}\n\n{help}");
    Failed::bare(why)
}
