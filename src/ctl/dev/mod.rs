//! `node dev`: a cluster on loopback, child processes of this binary, gone without a trace when it ends.

mod child;
mod lose;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use child::Child;

const HELP: &str = "\
node dev: a cluster on loopback to try things on. Its data lies in a temporary folder.

  node dev [--nodes N] [--env FILE] [--confdir DIR]   start N nodes (3); Ctrl-C or SIGTERM removes all of it, units included
  node dev lose NAME --env FILE                       lose a machine: its node and all that it runs die at once

  --env FILE      written when the cluster serves: `. FILE` points etcdctl and fleetctl at it
  --confdir DIR   the last node renders the confd templates of DIR

  $ node dev --env /tmp/cluster.env &
  $ until [ -e /tmp/cluster.env ]; do sleep 0.1; done; . /tmp/cluster.env
  $ node etcdctl set /greeting hello
  $ node fleetctl list-machines
";

/// How long the cluster may take to serve before it is given up.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Clusters that are begun anew because another program took a port between its choice and its use.
const ATTEMPTS_MAX: usize = 5;
/// EADDRINUSE, as a node that ends for it words it.
const PORT_TAKEN: &str = "Address already in use";

struct Options {
    nodes: usize,
    env: Option<PathBuf>,
    confdir: Option<PathBuf>,
}

/// One node of the cluster that is to be started.
struct Plan {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    machine_id: String,
    dir: PathBuf,
}

/// Runs the face; returns the exit code.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(0);
    }
    if let Some((first, rest)) = arguments.split_first()
        && first == "lose"
    {
        return lose::run(rest);
    }
    let options = parse(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(cluster(&options))
}

fn parse(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { nodes: 3, env: None, confdir: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (flag, attached) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let mut value =
            || attached.clone().or_else(|| rest.next().cloned()).with_context(|| format!("{flag} needs a value"));
        match flag {
            "--nodes" => {
                options.nodes = value()?.parse().ok().filter(|n| (1..=9).contains(n)).context("--nodes: 1 to 9")?;
            }
            "--env" => options.env = Some(PathBuf::from(value()?)),
            "--confdir" => options.confdir = Some(std::path::absolute(value()?)?),
            _ => bail!("unknown argument `{argument}`; `node dev --help` shows what there is"),
        }
    }
    Ok(options)
}

async fn cluster(options: &Options) -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt()).context("watching for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("watching for SIGTERM")?;
    if let Some(env) = &options.env {
        remove_if_there(env)?;
    }
    for _ in 1..ATTEMPTS_MAX {
        let life = live(options, &mut interrupt, &mut terminate).await?;
        if life.over() {
            return life.end(options);
        }
    }
    live(options, &mut interrupt, &mut terminate).await?.end(options)
}

/// How a cluster fared. All of its processes have ended.
struct Life {
    folder: tempfile::TempDir,
    served: bool,
    outcome: anyhow::Result<()>,
    /// The ends of the nodes' logs.
    logs: String,
}

impl Life {
    /// Whether that was all, or it did not even begin because somebody else took one of its ports.
    fn over(&self) -> bool {
        self.served || self.outcome.is_ok() || !self.logs.contains(PORT_TAKEN)
    }

    /// Tells how it went and leaves nothing behind.
    fn end(self, options: &Options) -> anyhow::Result<u8> {
        if self.outcome.is_err() {
            eprint!("{}", self.logs);
        }
        if let Some(env) = &options.env {
            remove_if_there(env)?;
        }
        self.folder.close().context("removing the temporary folder")?;
        self.outcome.map(|()| 0)
    }
}

/// Runs a cluster from its first process to its last.
async fn live(options: &Options, interrupt: &mut Signal, terminate: &mut Signal) -> anyhow::Result<Life> {
    let folder = tempfile::Builder::new().prefix("corenode-dev-").tempdir().context("making a temporary folder")?;
    let plans = plan(options.nodes, folder.path())?;
    let mut children = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let confdir = options.confdir.as_deref().filter(|_| index + 1 == plans.len());
        children.push(Child::start(plan, &initial_cluster(&plans), confdir)?);
    }
    let mut has_served = false;
    let serve = async {
        let served = tokio::time::timeout(SERVES_WITHIN, all_serve(&mut children)).await;
        served.with_context(|| format!("the cluster did not serve within {SERVES_WITHIN:?}"))??;
        has_served = true;
        announce(options, &plans, folder.path())?;
        watch_over(&mut children).await
    };
    let outcome = tokio::select! {
        outcome = serve => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    let logs = children.iter().map(Child::log_tail).collect();
    for child in &mut children {
        child.ask_to_end();
    }
    for child in children {
        child.end().await;
    }
    Ok(Life { folder, served: has_served, outcome, logs })
}

fn remove_if_there(file: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Names, ports and machine ids. The first node takes etcd's own ports where they are free.
fn plan(nodes: usize, folder: &Path) -> anyhow::Result<Vec<Plan>> {
    // Held until all are chosen, so that no port is given twice.
    let mut held = Vec::new();
    let mut port = |preferred: u16| -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, preferred))
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("looking for a free port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        held.push(listener);
        Ok(address)
    };
    (1..=nodes)
        .map(|number| {
            let name = format!("dev-{number}");
            let (client, peer) = if number == 1 { (2379, 2380) } else { (0, 0) };
            Ok(Plan {
                client: port(client)?,
                peer: port(peer)?,
                machine_id: format!("{:032x}", rand::random::<u128>()),
                dir: folder.join(&name),
                name,
            })
        })
        .collect()
}

fn initial_cluster(plans: &[Plan]) -> String {
    let members: Vec<String> = plans.iter().map(|plan| format!("{}=http://{}", plan.name, plan.peer)).collect();
    members.join(",")
}

async fn all_serve(children: &mut [Child]) -> anyhow::Result<()> {
    for child in children {
        child.serves().await?;
    }
    Ok(())
}

fn announce(options: &Options, plans: &[Plan], folder: &Path) -> anyhow::Result<()> {
    let endpoints: Vec<String> = plans.iter().map(|plan| format!("http://{}", plan.client)).collect();
    let first = endpoints.first().map_or("", String::as_str);
    let exports = format!(
        "export ETCDCTL_ENDPOINTS={}\nexport FLEETCTL_ENDPOINT={first}\nexport NODE_CTL_ENDPOINT={first}\n\
         export NODE_DEV_DIR={}\n",
        endpoints.join(","),
        folder.display()
    );
    let mut text = format!("{} nodes serve; their data and logs lie in {}\n", plans.len(), folder.display());
    for plan in plans {
        let _ = writeln!(text, "  {}  http://{}  machine {}", plan.name, plan.client, plan.machine_id);
    }
    if let Some(env) = &options.env {
        // Renamed into place: whoever waits for the file never reads half of it.
        let staged = env.with_extension("new");
        std::fs::write(&staged, &exports)
            .and_then(|()| std::fs::rename(&staged, env))
            .with_context(|| format!("writing {}", env.display()))?;
    }
    print!("{text}{exports}");
    std::io::stdout().flush().context("printing the endpoints")?;
    Ok(())
}

/// Says when a node ends by itself; ends when the last one has.
async fn watch_over(children: &mut [Child]) -> anyhow::Result<()> {
    let ends = children.iter_mut().map(|child| async move {
        let how = child.ended().await;
        println!("{} ended: {how}", child.name());
    });
    futures_util::future::join_all(ends).await;
    bail!("every node has ended")
}
