//! The face `etcd`: etcd's flags, variables and file, the store and its doors alone, the lines that harnesses wait for,
//! and etcd's way to end.
//!
//! Source: `etcd --help` and the behaviour of etcd 3.4.23; the configuration pages of etcd 3.5 and 3.6.

mod file;
mod flags;
mod input;
mod log;
mod plan;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context as _;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{SignalKind, signal};

use self::input::{FlagError, Input};
use self::plan::Plan;
use super::node::{Node, Teardown};
use super::run::{environment, removed, tell, watchdog};
use super::settings::{self, Settings};
use super::{StartError, founding, host};
use crate::api::version::{ETCD_CLUSTER, ETCD_SERVER};

/// Go's exit code for a command line that is not understood.
const EXIT_USAGE: u8 = 2;
/// Everything else that ends etcd.
const EXIT_FAILED: u8 = 1;

/// `etcd`.
pub fn etcd(arguments: &[String]) -> u8 {
    match told(arguments) {
        Ok(Some(input)) => start(&input),
        Ok(None) => 0,
        Err(code) => code,
    }
}

/// What the command line, the variables or the file say; `None`: all was said already.
fn told(arguments: &[String]) -> Result<Option<Input>, u8> {
    let mut input = match input::from_arguments(arguments) {
        Ok(input) => input,
        Err(FlagError::Help) => {
            print!("{}", help());
            return Ok(None);
        }
        Err(FlagError::Syntax(why)) => {
            eprintln!("{why}\n{USAGE}");
            return Err(EXIT_USAGE);
        }
        Err(FlagError::Argument(argument)) => {
            let remedy = match argument.as_str() {
                "gateway" | "grpc-proxy" => "proxies are not served; point clients to the members",
                _ => "see 'etcd --help'",
            };
            return Err(refused(&[format!("'{argument}' is not a valid flag; {remedy}")]));
        }
    };
    if input.get("version") == Some("true") {
        print!("{}", version());
        return Ok(None);
    }
    let file = match input.get("config-file") {
        Some(file) => Some(file.to_owned()),
        None => std::env::var("ETCD_CONFIG_FILE").ok().filter(|file| !file.is_empty()),
    };
    if let Some(file) = file {
        return read_file(Path::new(&file)).map(Some).map_err(|mistakes| refused(&mistakes));
    }
    input::add_variables(&mut input, environment()).map_err(|why| refused(&[why]))?;
    Ok(Some(input))
}

fn read_file(file: &Path) -> Result<Input, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| vec![format!("{}: {error}", file.display())])?;
    let mut input = file::read(file, &text)?;
    input
        .warnings
        .insert(0, format!("configured by {}: other flags and ETCD_* variables are not used", file.display()));
    Ok(input)
}

fn refused(mistakes: &[String]) -> u8 {
    for mistake in mistakes {
        eprintln!("etcd: {mistake}");
    }
    EXIT_FAILED
}

/// Checks everything that can be checked before the node, and runs it.
fn start(input: &Input) -> u8 {
    let mut plan = match plan::plan(input, &host::default_route_ip()) {
        Ok(plan) => plan,
        Err(mistakes) => return refused(&mistakes),
    };
    if let Err(why) = look_at_data(&mut plan) {
        return refused(&[why]);
    }
    let settings = match settings::settle(&plan.settings, "localhost") {
        Ok(settings) => settings,
        Err(mistakes) => return refused(&mistakes.0),
    };
    if let Err(error) = log::start(&plan.log, &settings.log_level) {
        return refused(&[format!("--log-outputs: {error}")]);
    }
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    match live(settings, &plan) {
        Ok(Some(signal)) => ended_by(signal),
        Ok(None) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            refused(&[format!("{error:#}")])
        }
    }
}

/// Goes by what is in the data directory, where something is.
fn look_at_data(plan: &mut Plan) -> Result<(), String> {
    let dir = &plan.data_dir;
    if founding::is_of_etcd(dir) {
        return Err(format!(
            "--data-dir {0}: it holds another etcd's data, which is left as it is; make a folder of it for this program with \
             `node ctl import etcd --snapshot {0} --data-dir NEW` and point --data-dir to that",
            dir.display()
        ));
    }
    if founding::is_member(dir) {
        let overruled = founding::recall(dir, &mut plan.settings)?;
        plan.warnings.extend(overruled);
    }
    Ok(())
}

/// A node's life, until a signal ends it; `None`: the cluster removed this member, which etcd ends well for.
fn live(settings: Settings, plan: &Plan) -> anyhow::Result<Option<i32>> {
    host::allow_many_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
        let attributes = attributes(&settings);
        tracing::info!(
            etcd_version = ETCD_SERVER,
            name = settings.name,
            data_dir = %settings.data_dir.display(),
            "starting an etcd server"
        );
        let node = tokio::select! {
            node = Node::start(settings) => node.map_err(named_by_flag)?,
            // It may be waiting for others to be discovered.
            _ = terminate.recv() => return Ok(Some(SIGTERM)),
            _ = interrupt.recv() => return Ok(Some(SIGINT)),
        };
        let told = Told::new(&node, attributes);
        founding::keep(&plan.data_dir, &plan.settings).context("keeping what the first start was told")?;
        let heartbeat = tokio::spawn(watchdog());
        let signal = tokio::select! {
            _ = terminate.recv() => SIGTERM,
            _ = interrupt.recv() => SIGINT,
            cause = node.broken() => {
                node.stop(Teardown::KeepUnits).await;
                anyhow::bail!("{cause}");
            }
            reason = node.removed() => {
                tracing::error!("{}", removed(&reason));
                node.stop(Teardown::KeepUnits).await;
                return Ok(None);
            }
            () = told.once_published(&node) => unreachable!("it waits for ever once it has told"),
        };
        tracing::info!(signal, "received signal; shutting down");
        tell(&[NotifyState::Stopping]);
        heartbeat.abort();
        node.stop(Teardown::KeepUnits).await;
        tracing::info!("closed etcd server");
        Ok(Some(signal))
    })
}

/// A listener's failure in the words of this face.
fn named_by_flag(error: StartError) -> StartError {
    match error {
        StartError::Listen { key, address, cause } => {
            let key = if key == "peer.listen" { "--listen-peer-urls" } else { "--listen-client-urls" };
            StartError::Listen { key, address, cause }
        }
        other => other,
    }
}

/// What is told of a member that serves.
struct Told {
    member: String,
    cluster: String,
    attributes: String,
}

/// What a member says of itself, as etcd writes it.
fn attributes(settings: &Settings) -> String {
    format!("{{Name:{} ClientURLs:[{}]}}", settings.name, settings.client_advertise.join(" "))
}

impl Told {
    fn new(node: &Node, attributes: String) -> Self {
        let status = node.store().status();
        Self { member: status.member.to_string(), cluster: status.cluster.to_string(), attributes }
    }

    /// Writes the lines that etcd writes and harnesses wait for, and tells systemd; never completes.
    async fn once_published(&self, node: &Node) {
        node.published().await;
        tracing::info!(
            local_member_id = self.member,
            local_member_attributes = self.attributes,
            cluster_id = self.cluster,
            "published local member to cluster through raft"
        );
        tracing::info!("ready to serve client requests");
        let cluster_version = ETCD_CLUSTER.rsplit_once('.').map_or(ETCD_CLUSTER, |(minor, _)| minor);
        tracing::info!(cluster_version, "enabled capabilities for version");
        tell(&[NotifyState::Ready, NotifyState::Status("serves")]);
        std::future::pending().await
    }
}

/// etcd ends by the signal that ended its service, so that its parent sees it; as process 1, where signals without a handler
/// do nothing, with 0.
fn ended_by(signal: i32) -> u8 {
    if std::process::id() != 1 {
        // It returns only if it fails; then the exit code says the same.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        return u8::try_from(128 + signal).unwrap_or(EXIT_FAILED);
    }
    0
}

/// The four lines of `etcd --version`. Clients and tests read the first.
fn version() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!(
        "etcd Version: {ETCD_SERVER}\nGit SHA: Not provided (node {})\nGo Version: none (Rust)\nGo OS/Arch: {}/{arch}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS
    )
}

const USAGE: &str = "\
Usage:

  etcd [flags]
    Start a member of the store, alone: without scheduler and templates.

  etcd --version
    Show the version of etcd that clients are told.

  etcd -h | --help
    Show the flags.

  etcd --config-file FILE
    Read FILE (YAML); flags and ETCD_* variables are not used then.
";

fn help() -> String {
    let names = |wanted: fn(&flags::Fate) -> bool| {
        let mut text = String::new();
        for flag in flags::FLAGS.iter().filter(|flag| wanted(&flag.fate)) {
            match flag.default {
                "" => text.push_str(&format!("  --{}\n", flag.name)),
                default => text.push_str(&format!("  --{} '{default}'\n", flag.name)),
            }
        }
        text
    };
    format!(
        "{USAGE}
  $ etcd --name m1 --data-dir /var/lib/etcd --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379

Each flag is also a variable: --initial-cluster is ETCD_INITIAL_CLUSTER. Flags beat variables.

Followed:
{}
Taken and not used, said once in the log:
{}
Not served yet; taken at its default, said in the log else:
{}
Not served yet; taken at its default, refused else:
{}",
        names(|fate| *fate == flags::Fate::Followed),
        names(|fate| *fate == flags::Fate::Nothing),
        names(|fate| *fate == flags::Fate::NotYet),
        names(|fate| matches!(fate, flags::Fate::Refused(_))),
    )
}
