//! The face `fleetd`: agent and engine of a cluster that keeps its etcd. fleet.conf and `FLEET_*` say which; the API is served on
//! the sockets that systemd hands over, as fleet's was, or on one of its own.
//!
//! Unlike fleet's, its end touches no unit: they go on, and the next start adopts them.

mod elsewhere;
mod options;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::elsewhere::LocalOnly;
use self::options::Options;
use super::host;
use super::machine;
use super::run::{environment, start_logging, tell, watchdog};
use super::settings::Settings;
use super::sockets;
use crate::api::fleet::FLEET_VERSION;
use crate::api::{Doors, Listener, Services, UsersOptions};
use crate::base::MemberId;
use crate::jobs::Jobs;
use crate::kv::Store;
use crate::remote::{Candidacy, Login, RemoteStore, SharedStore};

const DEFAULT_FILE: &str = "/etc/fleet/fleet.conf";
/// How long jobs may take to end.
const JOBS_END_WITHIN: Duration = Duration::from_secs(5);

const HELP: &str = "\
fleetd: agent and engine of a cluster that keeps its etcd (v3). Configured as fleet's own:

  $ fleetd                               reads /etc/fleet/fleet.conf if it is there, and FLEET_* variables over it
  $ fleetd -config /etc/fleet/other.conf
  $ FLEET_ETCD_SERVERS=http://10.0.0.1:2379 FLEET_METADATA=region=r1 fleetd

  -config FILE    the configuration; must be there
  -version        the version of fleet whose API is served

Options of the file, each also a variable (agent_ttl: FLEET_AGENT_TTL):
";

/// `fleetd`.
pub fn fleetd(arguments: &[String]) -> u8 {
    let file = match file(arguments) {
        Ok(file) => file,
        Err(code) => return code,
    };
    let options = read(file.as_deref());
    let (options, settings) = match options {
        Ok(told) => told,
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("fleetd: {mistake}");
            }
            return 1;
        }
    };
    start_logging(&settings.log_level);
    for note in &options.notes {
        tracing::warn!("{note}");
    }
    match live(options, settings, file.as_deref()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("fleetd: {error:#}");
            1
        }
    }
}

/// Which file is to be read, if any; or the exit code, where all was said.
fn file(arguments: &[String]) -> Result<Option<String>, u8> {
    let words: Vec<&str> =
        arguments.iter().map(|word| word.strip_prefix("--").map_or(word.as_str(), |_| &word[1..])).collect();
    match words.as_slice() {
        [] => Ok(Path::new(DEFAULT_FILE).exists().then(|| DEFAULT_FILE.to_owned())),
        ["-config", file] => Ok(Some((*file).to_owned())),
        [one] if one.starts_with("-config=") => Ok(Some(one["-config=".len()..].to_owned())),
        ["-version" | "version"] => {
            println!("fleetd version {FLEET_VERSION}");
            Err(0)
        }
        ["-h" | "-help"] => {
            print!("{HELP}");
            for (name, default, fate) in options::OPTIONS {
                let fate = match fate {
                    options::Fate::Followed => String::new(),
                    options::Fate::Nothing(why) => format!("  (steers nothing: {why})"),
                    options::Fate::Refused { why, .. } => format!("  (refused else: {why})"),
                };
                println!("  {:<27} {default:?}{fate}", name);
            }
            Err(0)
        }
        [word, ..] if word.starts_with('-') => {
            eprintln!("flag provided but not defined: {word}; `fleetd -help` shows those there are");
            Err(2)
        }
        _ => {
            eprintln!("fleetd takes no arguments. Did you mean to invoke fleetctl instead?");
            Err(1)
        }
    }
}

fn read(file: Option<&str>) -> Result<(Options, Settings), Vec<String>> {
    let text = match file {
        Some(name) => Some((name, std::fs::read_to_string(name).map_err(|error| vec![format!("{name}: {error}")])?)),
        None => None,
    };
    let options = options::read(text.as_ref().map(|(name, text)| (*name, text.as_str())), environment())?;
    let pairs: Vec<(&str, &str)> = options.pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let settings = Settings::from_pairs(&pairs).map_err(|mistakes| mistakes.0)?;
    Ok((options, settings))
}

/// Runs until it is told to end; SIGHUP reads the configuration anew.
fn live(mut options: Options, mut settings: Settings, file: Option<&str>) -> anyhow::Result<()> {
    let handed_over = sd_notify::listen_fds().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("watching for SIGINT")?;
        let mut hangup = signal(SignalKind::hangup()).context("watching for SIGHUP")?;
        let heartbeat = tokio::spawn(watchdog());
        loop {
            let life = Life::begin(&options, settings.clone(), &handed_over).await?;
            let again = tokio::select! {
                _ = terminate.recv() => false,
                _ = interrupt.recv() => false,
                _ = hangup.recv() => true,
                reason = life.broken() => {
                    life.end().await;
                    anyhow::bail!("{reason}");
                }
                () = life.told() => unreachable!("it waits for ever once it has told"),
            };
            tell(&[if again { NotifyState::Reloading } else { NotifyState::Stopping }]);
            life.end().await;
            if !again {
                heartbeat.abort();
                return Ok(());
            }
            tracing::info!("Reloading configuration");
            match read(file) {
                Ok((new, checked)) => (options, settings) = (new, checked),
                Err(mistakes) => tracing::error!("the configuration stays as it was: {}", mistakes.join("; ")),
            }
        }
    })
}

/// fleetd between two readings of its configuration.
struct Life {
    jobs: Jobs,
    machine: machine::Machine,
    doors: Doors,
    closing: CancellationToken,
    fatal: watch::Receiver<Option<String>>,
}

impl Life {
    async fn begin(options: &Options, mut settings: Settings, handed_over: &[i32]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&settings.data_dir).with_context(|| settings.data_dir.display().to_string())?;
        let ready = machine::executor(&settings).await?;
        settings.member = member_of(ready.id());
        let login = (!options.username.is_empty())
            .then(|| Login { user: options.username.clone(), password: options.password.clone() });
        let remote = RemoteStore::with_login(options.servers.clone(), options.request_timeout, login);
        let candidacy = Candidacy { member: settings.member, ttl: options.lead_ttl, never: options.disable_engine };
        let store: Arc<dyn Store> = SharedStore::new(remote, &options.key_prefix, candidacy);
        let listeners = listeners(options, handed_over).await?;
        let mut jobs = Jobs::default();
        let (fatal_tx, fatal) = watch::channel(None);
        let inspector =
            Arc::new(LocalOnly { machine: ready.id().clone(), executor: ready.executor(), sessions: ready.sessions() });
        let machine = ready.start_jobs(&settings, &store, &mut jobs, fatal_tx);
        let metrics: crate::api::Metrics = machine.counts();
        let closing = CancellationToken::new();
        let clock = Arc::new(host::SystemClock);
        let routes = crate::api::fleet::router(store.clone(), inspector, clock.clone(), closing.clone());
        let services = Services {
            store,
            clock,
            random: Arc::new(host::SystemRandom),
            users: UsersOptions::default(),
            watch_progress: Duration::from_millis(settings.watch_progress_ms),
            identity: None,
            routes,
            metrics: vec![metrics],
        };
        let doors = crate::api::serve_only(listeners, services);
        Ok(Self { jobs, machine, doors, closing, fatal })
    }

    /// Tells the supervisor once this machine is in the list; never completes.
    async fn told(&self) {
        self.machine.announced().await;
        tell(&[NotifyState::Ready, NotifyState::Status("serves")]);
        std::future::pending().await
    }

    /// Completes when it cannot go on, with the reason.
    async fn broken(&self) -> String {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    async fn end(self) {
        self.closing.cancel();
        self.doors.stop().await;
        self.jobs.stop(JOBS_END_WITHIN).await;
    }
}

/// Machines are told apart by their ids, and so are those who stand for leader.
fn member_of(machine: &crate::base::MachineId) -> MemberId {
    let digits = machine.0.get(..16).unwrap_or_default();
    MemberId(u64::from_str_radix(digits, 16).unwrap_or(1).max(1))
}

async fn listeners(options: &Options, handed_over: &[i32]) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for descriptor in handed_over {
        listeners.push(sockets::handed_over(*descriptor).with_context(|| format!("taking over socket {descriptor}"))?);
    }
    if let (true, Some(path)) = (listeners.is_empty(), &options.socket) {
        listeners.push(sockets::unix("socket", Path::new(path)).await?);
    }
    Ok(listeners)
}
