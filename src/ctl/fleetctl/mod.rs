//! The `fleetctl` face: both dialects of the old tool in one, every command, its texts and exit codes.
//!
//! What the old tool did by asking again and again, this one is told by the node's watch; what it did over ssh, the node
//! does. Pointed at a real fleetd it falls back to the old ways.

mod board;
pub mod client;
mod commands;
mod create;
mod exec;
mod find;
mod help;
mod launch;
mod list;
mod look;
mod remote;
mod restart;
mod say;
mod tunnel;
mod units;
mod wait;
mod why;

use crate::api::fleet::FLEET_VERSION;
use crate::ctl::args::{self, ArgsError, Parsed};

use client::Client;
use commands::{Command, GLOBAL};
pub use launch::launch;

/// Exit code of a command line that cannot be understood.
const USAGE: u8 = 2;

/// What every command is given.
struct Context {
    client: Client,
    parsed: Parsed,
    /// The words behind the command.
    words: Vec<String>,
}

/// A message for stderr, and the exit code.
struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    /// The command was understood and could not be done.
    fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }
}

impl From<ArgsError> for Failed {
    fn from(error: ArgsError) -> Self {
        Self::usage(format!("Error: {error}\nRun 'fleetctl --help' for usage."))
    }
}

/// Runs the face. 0: done, or nothing to do; 1: it failed; 2: the command line is wrong; `status`, `journal` and `ssh`
/// end as what they ran did.
pub fn run(arguments: &[String]) -> u8 {
    match dispatch(arguments, &|name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        Ok(code) => code,
        Err(failed) => {
            say::warn(&failed.message);
            failed.code
        }
    }
}

fn dispatch(arguments: &[String], variable: &dyn Fn(&str) -> Option<String>) -> Result<u8, Failed> {
    let Some(at) = commands::verb_at(arguments) else {
        let parsed = args::parse(arguments, &[GLOBAL], variable)?;
        if parsed.truth("version")? {
            return Ok(version());
        }
        say::out(&help::all());
        return Ok(0);
    };
    let verb = arguments.get(at).map(String::as_str).unwrap_or_default();
    if verb == "help" {
        return help_for(arguments.get(at + 1..).unwrap_or_default());
    }
    let command = commands::named(verb).map_err(Failed::usage)?;
    let (arguments, tail) = commands::split_tail(command, arguments, at);
    let parsed = args::parse(&arguments, &[GLOBAL, command.flags], variable)?;
    if parsed.truth("help")? {
        say::out(&help::of(command));
        return Ok(0);
    }
    if parsed.truth("version")? || command.name == "version" {
        return Ok(version());
    }
    // Every truth and number is read once, so that nonsense is refused before anything is done.
    for flag in GLOBAL.iter().chain(command.flags).filter(|flag| !flag.value) {
        parsed.truth(flag.names[0])?;
    }
    for name in command.flags.iter().map(|flag| flag.names[0]).filter(|name| commands::NUMBERS.contains(name)) {
        parsed.number::<i64>(name)?;
    }
    let words = parsed.words.iter().skip(1).cloned().chain(tail).collect();
    execute(command, parsed, words)
}

fn execute(command: &Command, parsed: Parsed, words: Vec<String>) -> Result<u8, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(format!("starting the runtime: {error}")))?;
    let code = runtime.block_on(async {
        if let Some(code) = commands::without_client(command, &parsed, &words).await? {
            return Ok(code);
        }
        let not_made = |error| Failed::new(format!("Unable to initialize client: {error}"));
        let client = Client::new(&parsed).await.map_err(not_made)?;
        let context = Context { client, parsed, words };
        let outcome = commands::execute(command, &context).await;
        context.client.close().await;
        outcome
    });
    // A read of standard input that nobody waits for any more must not keep the process.
    runtime.shutdown_background();
    code
}

fn version() -> u8 {
    say::out(&format!("fleetctl version {FLEET_VERSION}\n"));
    0
}

fn help_for(words: &[String]) -> Result<u8, Failed> {
    match words.iter().find(|word| !word.starts_with('-')) {
        None => {
            say::out(&help::all());
        }
        Some(word) => {
            let command = commands::named(word).map_err(|_| Failed::usage(format!("Unrecognized command: {word}")))?;
            say::out(&help::of(command));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
