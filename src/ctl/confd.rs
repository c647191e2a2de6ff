//! The face `confd`: the command line of confd 0.16 over any etcd v3 endpoint, our own nodes among them, or the environment.

mod log;
mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::settings::{Mode, Settings, Start};
use self::source::Source;
use crate::confd::{View, cover};
use crate::jobs::Jobs;
use crate::jobs::templates::{Context, LoadError, Loaded, Templates, load, process};

/// How long a watch that ends waits for checks and reloads under way.
const FAREWELL: Duration = Duration::from_secs(5);

const HELP: &str = "\
confd keeps local files up to date from keys of an etcd v3 store (a corenode cluster is one) or from the environment.

  $ confd -onetime -node http://127.0.0.1:2379         render everything once
  $ confd -watch -node 10.0.0.1:2379 -node 10.0.0.2:2379
                                                     render when keys change; the second node is asked if the first fails
  $ confd -interval 10 -node http://127.0.0.1:2379     look every ten seconds
  $ confd -onetime -noop -log-level debug              say what would be done, do nothing
  $ confd -onetime -backend env                        keys from the environment: /app/port is APP_PORT

A resource, /etc/confd/conf.d/app.toml:

  [template]
  src        = \"app.conf.tmpl\"                       in /etc/confd/templates
  dest       = \"/etc/app/app.conf\"
  keys       = [\"/app/server\"]
  owner      = \"app\"
  mode       = \"0644\"
  check_cmd  = \"/usr/sbin/app -t -c {{.src}}\"
  reload_cmd = \"systemctl reload app\"

Its template, /etc/confd/templates/app.conf.tmpl:

  {{range gets \"/app/server/*\"}}server {{.Value}}; # {{base .Key}}
  {{end}}

Flags, with one dash or two; they beat the file, and the file beats the defaults:
";

/// Runs the face and returns its exit code: 0, 1 after a FATAL line, 2 for a wrong command line.
pub fn run(arguments: &[String]) -> u8 {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = match settings::gather(arguments, &variable) {
        Ok(Start::Run(settings)) => settings,
        Ok(Start::Help) => {
            print!("{HELP}{}", settings::flags_help());
            return 0;
        }
        Ok(Start::Version) => {
            println!("confd 0.16.0 (node {})", env!("CARGO_PKG_VERSION"));
            return 0;
        }
        Err(settings::Failed::Usage(message)) => {
            eprint!("{message}\nUsage of confd:\n{}", settings::flags_help());
            return 2;
        }
        Err(settings::Failed::Fatal(message)) => return fatal(&message),
    };
    log::start(settings.log_level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&format!("starting the runtime: {error}")),
    };
    match runtime.block_on(work(&settings)) {
        Ok(()) => 0,
        Err(message) => fatal(&message),
    }
}

fn fatal(message: &str) -> u8 {
    log::line("FATAL", message);
    1
}

async fn work(settings: &Settings) -> Result<(), String> {
    tracing::info!("Backend set to {}", settings.backend.name());
    tracing::info!("Starting confd");
    let source = Source::open(settings).await?;
    match settings.mode {
        Mode::Once => one_round(settings, &source, resources(settings)?).await,
        Mode::Watch => watch(settings, &source, Ended::listen()?).await,
        Mode::Interval(pause) => repeat(settings, &source, pause, Ended::listen()?).await,
    }
}

/// Looks again and again, until a signal says otherwise. Resources are read anew each time; what fails is told and looked
/// at the next time, but where no resources can be had at all there is nothing to go on with.
async fn repeat(settings: &Settings, source: &Source, pause: Duration, mut ended: Ended) -> Result<(), String> {
    loop {
        let loaded = resources(settings)?;
        tokio::select! {
            () = ended.wait() => return Ok(()),
            _told = one_round(settings, source, loaded) => {}
        }
        tokio::select! {
            () = ended.wait() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The resources; a confdir that is not there has none.
fn resources(settings: &Settings) -> Result<Loaded, String> {
    let loaded = match load(&settings.confdir, &settings.prefix) {
        Ok(loaded) => loaded,
        Err(error @ LoadError::NoConfdir(_)) => {
            tracing::warn!("{error}");
            return Ok(Loaded::default());
        }
        Err(error) => return Err(error.to_string()),
    };
    if loaded.targets.is_empty() && loaded.broken.is_empty() {
        tracing::warn!("Found no templates");
    }
    Ok(loaded)
}

/// One pass over every resource, one after the other. The last error is the answer; each is told when it happens.
async fn one_round(settings: &Settings, source: &Source, loaded: Loaded) -> Result<(), String> {
    loaded.tell();
    let mut last = loaded.broken.last().map(|(_, reason)| reason.clone());
    let folders = cover(loaded.targets.iter().map(|target| &target.selection));
    let snapshot = match source.read(&folders).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::error!("{error}");
            return Err(error);
        }
    };
    let context = Context::new(settings.options);
    for target in &loaded.targets {
        let view = View::new(&target.selection, &snapshot.keys);
        if let Err(error) = process(&context, target, view.into()).await.result {
            tracing::error!("{error}");
            last = Some(error.to_string());
        }
    }
    last.map_or(Ok(()), Err)
}

async fn watch(settings: &Settings, source: &Source, mut ended: Ended) -> Result<(), String> {
    let loaded = resources(settings)?;
    if loaded.targets.is_empty() {
        loaded.tell();
        let broken = loaded.broken.into_iter().next_back();
        return broken.map_or(Ok(()), |(_, reason)| Err(reason));
    }
    let Some(store) = source.store() else {
        // The environment does not change: one round, as it is.
        let _told = one_round(settings, source, loaded).await;
        ended.wait().await;
        return Ok(());
    };
    let job = Templates::new(store, settings.confdir.clone(), settings.prefix.clone()).with(settings.options);
    let mut jobs = Jobs::default();
    jobs.start(job);
    ended.wait().await;
    jobs.stop(FAREWELL).await;
    Ok(())
}

/// Waits for the signals that end a daemon.
struct Ended {
    interrupt: Signal,
    terminate: Signal,
}

impl Ended {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("listening for signals: {error}"));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        let name = tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminated",
        };
        tracing::info!("Captured {name}. Exiting...");
    }
}
