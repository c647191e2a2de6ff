//! The faces `node run` and `node config check`: settings in, exit code out; between them one node's life under its supervisor.

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::host;
use super::node::{Node, Teardown};
use super::program::Program;
use super::settings::{self, Settings};
use crate::base::SERVES_NOTICE;

/// A configuration that cannot be used, as in systemd's and sysexits' tables.
const EXIT_CONFIG: u8 = 78;
/// The cluster has removed this member: no start with this data will help. sysexits' "permission denied".
const EXIT_REMOVED: u8 = 77;
/// How long a node that has stopped waits for calls that block, such as for the lock of a unit whose shim does not answer.
const BLOCKED_END_WITHIN: Duration = Duration::from_secs(1);

/// `node run`.
pub fn run(arguments: &[String]) -> u8 {
    if wants_help(arguments) {
        print!("{}", run_help());
        return 0;
    }
    // Given by `node dev`: standard input is the parent's leash.
    let (leashed, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "--leash" => (true, rest),
        _ => (false, arguments),
    };
    let input = settings::gather(arguments, environment());
    let settings = match settings::settle(&input, &host::hostname()) {
        Ok(settings) => settings,
        Err(mistakes) => {
            eprintln!("node: {mistakes}");
            return EXIT_CONFIG;
        }
    };
    start_logging(&settings.log_level);
    match live(settings, leashed) {
        Ok(End::Asked) => 0,
        Ok(End::Again(program)) => {
            eprintln!("node: {}", program.go_on());
            1
        }
        Ok(End::Removed(reason)) => {
            eprintln!("node: {}", removed(&reason));
            EXIT_REMOVED
        }
        Err(error) => {
            eprintln!("node: {error:#}");
            1
        }
    }
}

/// `node config check`.
pub fn config(arguments: &[String]) -> u8 {
    match arguments.split_first() {
        Some((verb, rest)) if verb == "check" && !wants_help(rest) => check(rest),
        _ => {
            println!(
                "node config check [--config FILE] [--KEY VALUE …]: the effective settings and where each comes from\n"
            );
            print!("{}", settings::help());
            u8::from(!wants_help(arguments)) * 2
        }
    }
}

fn check(arguments: &[String]) -> u8 {
    let input = settings::gather(arguments, environment());
    print!("{}", settings::show(&input));
    match settings::settle(&input, &host::hostname()) {
        Ok(_) => 0,
        Err(mistakes) => {
            eprintln!("node: {mistakes}");
            EXIT_CONFIG
        }
    }
}

fn wants_help(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == "--help" || argument == "-h")
}

fn run_help() -> String {
    format!(
        "\
node run: this machine's node, until SIGTERM or SIGINT. Stopping it touches no unit.

  $ node run                                   a cluster of this machine alone, on loopback
  $ node run --config /etc/node/node.toml      as the systemd unit does it
  $ NODE_NAME=core-01 node run --client-listen 0.0.0.0:2379

  --config FILE          read FILE and FILE.d/*.toml; default {}, if it is there
{}
Each flag is also a variable (--peer-listen: NODE_PEER_LISTEN) and a key of the file (listen in [peer]).
Flags beat variables, variables beat files, files beat defaults; `node config check` shows the outcome.
",
        settings::DEFAULT_FILE,
        settings::help()
    )
}

pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

pub(super) fn start_logging(level: &str) {
    // openraft tells of every step at info; its warnings are what an operator can use. bollard tells at debug all that is asked of
    // an engine, variables that hold secrets among it.
    let filter = tracing_subscriber::EnvFilter::new(format!("{level},openraft=error,bollard=warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that cannot be written is no reason to end; the default is to print so, which ends a program that cannot.
        .log_internal_errors(false)
        .try_init();
}

/// Why a node's life ended in order.
enum End {
    Asked,
    /// The cluster removed this member.
    Removed(String),
    /// The node is to go on with another program.
    Again(Arc<Program>),
}

/// What is said to whoever starts a member that was removed.
pub(super) fn removed(reason: &str) -> String {
    format!("{reason}; the data directory of this member must be removed before this machine can join again")
}

fn live(settings: Settings, leashed: bool) -> anyhow::Result<End> {
    host::allow_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
        let mut leash = std::pin::pin!(leash_closed(leashed));
        let program = Program::of_this_process(&settings).context("finding this program")?;
        // From the beginning on: where the process was handed on, the watchdog has not stopped.
        let heartbeat = tokio::spawn(watchdog());
        let node = tokio::select! {
            node = Node::start_as(settings, program.clone()) => node?,
            // It may be waiting for others to be discovered.
            _ = terminate.recv() => return Ok(End::Asked),
            _ = interrupt.recv() => return Ok(End::Asked),
            () = &mut leash => return Ok(End::Asked),
        };
        tell(&[NotifyState::Ready, NotifyState::Status("doors are open; waiting for a leader")]);
        let teardown = tokio::select! {
            _ = terminate.recv() => Teardown::KeepUnits,
            _ = interrupt.recv() => Teardown::KeepUnits,
            () = &mut leash => Teardown::RemoveUnits,
            cause = node.broken() => {
                node.stop(Teardown::KeepUnits).await;
                anyhow::bail!("{cause}");
            }
            reason = node.removed() => {
                tracing::error!("{}", removed(&reason));
                tell(&[NotifyState::Stopping]);
                node.stop(Teardown::KeepUnits).await;
                return Ok(End::Removed(reason));
            }
            program = restart_asked(program.as_ref()) => {
                tell(&[NotifyState::Status("ends, to go on with another program")]);
                node.stop(Teardown::KeepUnits).await;
                tell(&[NotifyState::Watchdog]);
                return Ok(End::Again(program));
            }
            never = serve_notice(&node, program.as_ref()) => match never {},
        };
        tell(&[NotifyState::Stopping]);
        heartbeat.abort();
        node.stop(teardown).await;
        Ok(End::Asked)
    });
    runtime.shutdown_timeout(BLOCKED_END_WITHIN);
    ended
}

async fn restart_asked(program: Option<&Arc<Program>>) -> Arc<Program> {
    match program {
        Some(program) => {
            program.restart_asked().await;
            program.clone()
        }
        None => std::future::pending().await,
    }
}

/// Tells the supervisor once the node serves; never completes.
async fn serve_notice(node: &Node, program: Option<&Arc<Program>>) -> Infallible {
    node.serves().await;
    tell(&[NotifyState::Status("serves"), NotifyState::Custom(SERVES_NOTICE)]);
    match program {
        Some(program) => program.serves().await,
        None => std::future::pending().await,
    }
}

/// What systemd is asked for at a time while the node starts: longer than any step of it takes before it tells again.
#[cfg(feature = "api")]
const START_LONGER_MICROSECONDS: u32 = 120_000_000;

/// Tells the supervisor what a start waits for, which may take longer yet.
#[cfg(feature = "api")]
pub(super) fn tell_starting(status: &str) {
    tell(&[NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(START_LONGER_MICROSECONDS)]);
}

pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("telling the supervisor: {error}");
    }
}

/// Pets systemd's watchdog from within the runtime: a runtime that is stuck does not.
pub(super) async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((limit / 3).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

async fn leash_closed(leashed: bool) {
    if !leashed {
        return std::future::pending().await;
    }
    let (held, closed) = oneshot::channel::<()>();
    // A thread of its own: a runtime that ends waits for a read of standard input that it has begun.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(held);
    });
    // The thread sends nothing: the channel's end is the leash's.
    let _ = closed.await;
}
