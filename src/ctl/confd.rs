//! The face `confd`: the command line of confd 0.16, and its fork's, over our own nodes, any etcd, files or the environment.

mod files;
mod log;
mod reread;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod v2;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use self::settings::{Mode, Settings, Start};
use self::source::Source;
use crate::confd::cover;
use crate::jobs::Jobs;
use crate::jobs::templates::{Context, LoadError, Loaded, Target, Templates, Views, load, process, reload_all};

/// How long a watch that ends waits for checks and reloads under way.
const FAREWELL: Duration = Duration::from_secs(5);

const HELP: &str = "\
confd keeps local files up to date from keys of a corenode cluster, of an etcd (v2 or v3), of files, or from the environment.

  $ confd -onetime -node http://127.0.0.1:2379         render everything once
  $ confd -watch -node 10.0.0.1:2379 -node 10.0.0.2:2379
                                                     render when keys change; the second node is asked if the first fails
  $ confd -interval 10 -node http://127.0.0.1:2379     look every ten seconds
  $ confd -onetime -noop                               show what would be changed, change nothing
  $ confd check                                        parse resources and templates
  $ confd validate -mock keys.yaml                     render them with the keys of a file, write nothing
  $ confd -watch -backend file -file keys.yaml         keys from YAML or JSON
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
    match &settings.mode {
        Mode::Check => return verify::check(&resources(settings)?),
        Mode::Validate(mock) => return verify::validate(&resources(settings)?, mock.clone()).await,
        Mode::Once | Mode::Watch | Mode::Interval(_) => {}
    }
    tracing::info!("Backend set to {}", settings.backend.name());
    tracing::info!("Starting confd");
    let source = Source::open(settings).await?;
    let context = Context::new(settings.options);
    match settings.mode {
        Mode::Watch => watch(settings, &source, Signals::listen()?).await,
        Mode::Interval(pause) => repeat(settings, &context, &source, pause, Signals::listen()?).await,
        _ => one_round(&context, &source, resources(settings)?).await,
    }
}

/// Looks again and again, until a signal says otherwise. Resources are read anew each time; what fails is told and looked
/// at the next time, but where no resources can be had at all there is nothing to go on with.
async fn repeat(
    settings: &Settings,
    context: &Context,
    source: &Source,
    pause: Duration,
    mut signals: Signals,
) -> Result<(), String> {
    loop {
        let loaded = resources(settings)?;
        tokio::select! {
            () = signals.end() => return Ok(()),
            _told = one_round(context, source, loaded) => {}
        }
        tokio::select! {
            signal = signals.next() => if signal == Told::End { return Ok(()) },
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
    for target in loaded.targets.iter().filter(|target| target.resource.max_parallel.is_some()) {
        tracing::warn!(
            "{}: max_parallel is for nodes' own templates; this confd waits for nobody",
            target.file.display()
        );
    }
    Ok(loaded)
}

/// One pass over every resource, one after the other, then the reloads of groups. The last error is the answer; each is told
/// when it happens.
async fn one_round(context: &Context, source: &Source, loaded: Loaded) -> Result<(), String> {
    loaded.tell();
    let mut last = loaded.broken.last().map(|broken| broken.reason.clone());
    let folders = cover(loaded.targets.iter().map(|target| &target.selection));
    let snapshot = match source.keys.read(&folders).await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            tracing::error!("{error}");
            return Err(error);
        }
    };
    let mut failed = |error: String| {
        tracing::error!("{error}");
        last = Some(error);
    };
    let (mut views, mut groups) = (Views::of(&snapshot), BTreeMap::<&str, Vec<Arc<Target>>>::new());
    for target in &loaded.targets {
        let pass = process(context, target, views.get(&target.selection)).await;
        pass.diffs.iter().for_each(|diff| print!("{diff}"));
        if pass.group_due {
            let group = target.resource.reload_group.as_deref().unwrap_or_default();
            groups.entry(group).or_default().push(target.clone());
        }
        if let Err(error) = pass.result {
            failed(error.to_string());
        }
    }
    for due in groups.values() {
        if let Err(error) = reload_all(context, due).await {
            failed(error);
        }
    }
    last.map_or(Ok(()), Err)
}

/// Follows the keys until a signal says otherwise. Files of the confdir that change are read anew at once.
async fn watch(settings: &Settings, source: &Source, mut signals: Signals) -> Result<(), String> {
    let loaded = resources(settings)?;
    if loaded.targets.is_empty() {
        loaded.tell();
        let broken = loaded.broken.into_iter().next_back();
        return broken.map_or(Ok(()), |broken| Err(broken.reason));
    }
    if !source.changes {
        // One round, as it is.
        let _told = one_round(&Context::new(settings.options), source, loaded).await;
        signals.end().await;
        return Ok(());
    }
    loop {
        let (keys, confdir) = (source.keys.clone(), settings.confdir.clone());
        let mut jobs = Jobs::default();
        jobs.start(Templates::new(keys, confdir, settings.prefix.clone()).with(settings.options));
        let signal = signals.next().await;
        jobs.stop(FAREWELL).await;
        if signal == Told::End {
            return Ok(());
        }
    }
}

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    End,
    /// Look at everything anew (SIGHUP).
    Again,
}

/// The signals that a daemon listens to.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("listening for signals: {error}"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        let name = tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminated",
            _ = self.hangup.recv() => {
                tracing::info!("Captured hangup. Looking at everything anew");
                return Told::Again;
            }
        };
        tracing::info!("Captured {name}. Exiting...");
        Told::End
    }

    /// Completes when the daemon is to end.
    async fn end(&mut self) {
        while self.next().await == Told::Again {}
    }
}
