//! This node as a machine: its executor, and the jobs and doors that make units run on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
#[cfg(feature = "api")]
use tokio_util::sync::CancellationToken;

use super::answer::Answering;
#[cfg(feature = "api")]
use super::inspect::Inspection;
use super::sessions::Sessions;
use super::settings::{ExecutorChoice, Settings};
use super::{StartError, host, identity};
use crate::base::{LeaseId, MachineId};
#[cfg(feature = "docker")]
use crate::docker::{DockerExecutor, DockerOptions};
use crate::fleet::Counts;
use crate::fleet::executor::Executor;
use crate::fleet::types::Machine as Record;
use crate::jobs::Jobs;
use crate::jobs::agent::Agent;
use crate::jobs::engine::Engine;
use crate::jobs::executors::Executors;
use crate::jobs::presence::Presence;
#[cfg(feature = "docker")]
use crate::jobs::register::{Kept, Register};
use crate::jobs::rollout::Rollouts;
#[cfg(feature = "docker")]
use crate::jobs::secrets::StoredSecrets;
use crate::kv::Store;
use crate::process::{Host, ProcessExecutor, ProcessOptions};
use crate::raft::PeerHandler;
#[cfg(feature = "api")]
use crate::raft::RaftStore;

/// An executor that is ready, before the store is there to tell it what to run.
pub struct Ready {
    id: MachineId,
    owner: String,
    executor: Arc<dyn Executor>,
    sessions: Arc<Sessions>,
    /// The same, where it is ours to empty.
    process: Option<Arc<ProcessExecutor>>,
    #[cfg(feature = "docker")]
    docker: Option<Arc<DockerExecutor>>,
}

/// A machine that takes part in the cluster.
pub struct Machine {
    id: MachineId,
    #[cfg(any(feature = "api", feature = "template"))]
    executor: Arc<dyn Executor>,
    #[cfg(feature = "api")]
    sessions: Arc<Sessions>,
    process: Option<Arc<ProcessExecutor>>,
    #[cfg(feature = "docker")]
    docker: Option<Arc<DockerExecutor>>,
    lease: watch::Receiver<Option<LeaseId>>,
    #[cfg(feature = "api")]
    counts: Arc<Counts>,
}

/// Makes the executor that the settings choose.
pub async fn executor(settings: &Settings) -> Result<Ready, StartError> {
    let id = match &settings.fleet.machine_id {
        Some(id) => id.clone(),
        None => identity::machine_id().map_err(StartError::Host)?,
    };
    let owner = identity::owner(&settings.data_dir)?;
    let systemd = match settings.fleet.executor {
        ExecutorChoice::Systemd => true,
        ExecutorChoice::Process => false,
        ExecutorChoice::Auto => identity::systemd_is_pid_1(),
    };
    let (units, process) = if systemd {
        (systemd_executor(settings).await?, None)
    } else {
        let process = process_executor(settings, &id)?;
        (process.clone() as Arc<dyn Executor>, Some(process))
    };
    #[cfg(feature = "docker")]
    let docker = docker_executor(settings, &id)?;
    #[cfg(feature = "docker")]
    let containers = docker.clone().map(|docker| docker as Arc<dyn Executor>);
    #[cfg(not(feature = "docker"))]
    let containers = None;
    let executor = Arc::new(Executors { units, containers });
    Ok(Ready {
        sessions: Sessions::new(id.clone(), executor.clone()),
        id,
        owner,
        executor,
        process,
        #[cfg(feature = "docker")]
        docker,
    })
}

fn process_executor(settings: &Settings, id: &MachineId) -> Result<Arc<ProcessExecutor>, StartError> {
    let host = Host { machine_id: id.0.clone(), hostname: host::hostname(), boot_id: identity::boot_id() };
    let dir = settings.data_dir.join("units");
    let failed = |error: std::io::Error| StartError::Executor(format!("{}: {error}", dir.display()));
    let options = ProcessOptions::new(dir.clone(), host).map_err(failed)?;
    Ok(Arc::new(ProcessExecutor::new(options).map_err(failed)?))
}

#[cfg(feature = "docker")]
fn docker_executor(settings: &Settings, id: &MachineId) -> Result<Option<Arc<DockerExecutor>>, StartError> {
    let Some(socket) = &settings.fleet.docker_socket else { return Ok(None) };
    let dir = settings.data_dir.join("containers");
    let options = DockerOptions {
        socket: socket.clone(),
        dir: dir.clone(),
        machine_id: id.0.clone(),
        hostname: host::hostname(),
        boot_id: identity::boot_id(),
        systemd: identity::systemd_is_pid_1(),
        holds: crate::process::holds,
    };
    let failed = |error: std::io::Error| StartError::Executor(format!("{}: {error}", dir.display()));
    Ok(Some(Arc::new(DockerExecutor::new(options).map_err(failed)?)))
}

#[cfg(feature = "systemd")]
async fn systemd_executor(settings: &Settings) -> Result<Arc<dyn Executor>, StartError> {
    use crate::systemd::{SystemdExecutor, SystemdOptions};
    let options = SystemdOptions { units_dir: settings.fleet.units_dir.clone() };
    let executor = SystemdExecutor::connect(options).await.map_err(|error| StartError::Executor(error.to_string()))?;
    Ok(Arc::new(executor))
}

#[cfg(not(feature = "systemd"))]
async fn systemd_executor(_settings: &Settings) -> Result<Arc<dyn Executor>, StartError> {
    Err(StartError::NotCompiledIn { setting: "fleet.executor = systemd", feature: "systemd" })
}

impl Ready {
    #[cfg(feature = "api")]
    pub fn id(&self) -> &MachineId {
        &self.id
    }

    #[cfg(feature = "api")]
    pub fn executor(&self) -> Arc<dyn Executor> {
        self.executor.clone()
    }

    /// The commands that people run here.
    #[cfg(feature = "api")]
    pub fn sessions(&self) -> Arc<Sessions> {
        self.sessions.clone()
    }

    /// Answers other nodes' questions about the units here.
    pub fn answering(&self) -> Arc<dyn PeerHandler> {
        Arc::new(Answering { executor: self.executor.clone(), sessions: self.sessions.clone() })
    }

    /// Starts presence, agent, registrations, engine and rollouts.
    pub fn start_jobs(
        self,
        settings: &Settings,
        store: &Arc<dyn Store>,
        jobs: &mut Jobs,
        fatal: watch::Sender<Option<String>>,
    ) -> Machine {
        let (lease_tx, lease) = watch::channel(None);
        let (tenure_tx, tenure) = watch::channel(None);
        let record = self.record(settings);
        let clock = Arc::new(host::SystemClock);
        jobs.start(Presence {
            store: store.clone(),
            random: Arc::new(host::SystemRandom),
            machine: record.clone(),
            ttl_ms: settings.fleet.presence_ms,
            lease: lease_tx,
            tenure: tenure_tx,
            fatal,
        });
        #[cfg(feature = "docker")]
        if let Some(docker) = &self.docker {
            docker.take_secrets_from(Arc::new(StoredSecrets(store.clone())));
            jobs.start(Register {
                store: store.clone(),
                random: Arc::new(host::SystemRandom),
                machine: record.clone(),
                ttl_ms: settings.fleet.presence_ms,
                kept: Kept::default(),
            });
        }
        jobs.start(Agent {
            store: store.clone(),
            executor: self.executor.clone(),
            clock: clock.clone(),
            machine: record,
            lease: lease.clone(),
            tenure,
        });
        let counts = Arc::new(Counts::default());
        let engine =
            Engine { store: store.clone(), member: settings.member, clock: clock.clone(), counts: counts.clone() };
        jobs.start(engine);
        jobs.start(Rollouts { store: store.clone(), member: settings.member, clock });
        Machine {
            id: self.id,
            #[cfg(any(feature = "api", feature = "template"))]
            executor: self.executor,
            #[cfg(feature = "api")]
            sessions: self.sessions,
            process: self.process,
            #[cfg(feature = "docker")]
            docker: self.docker,
            lease,
            #[cfg(feature = "api")]
            counts,
        }
    }

    /// What runs here. Containers only where the engine is there by now: units that are containers come to no other machine.
    fn executors(&self, settings: &Settings) -> String {
        let all = self.executor.name();
        let engine = settings.fleet.docker_socket.as_ref().is_some_and(|socket| socket.exists());
        if engine { all.to_owned() } else { all.split('+').next().unwrap_or(all).to_owned() }
    }

    fn record(&self, settings: &Settings) -> Record {
        let ip = match settings.fleet.public_ip.as_str() {
            "" => host::default_route_ip(),
            ip => ip.to_owned(),
        };
        Record {
            id: self.id.clone(),
            primary_ip: ip,
            metadata: settings.fleet.metadata.iter().cloned().collect::<BTreeMap<_, _>>(),
            member: settings.member,
            owner: self.owner.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            executor: self.executors(settings),
            memory_bytes: host::memory_bytes(),
            cores: host::cores(),
            cordon: None,
        }
    }
}

impl Machine {
    /// Its id.
    pub fn id(&self) -> String {
        self.id.0.clone()
    }

    /// Completes once this machine is in the list of machines.
    pub async fn announced(&self) {
        // An error means that the job is gone, and with it the node.
        let _ = self.lease.clone().wait_for(Option::is_some).await;
    }

    /// What the template job needs of this machine.
    #[cfg(feature = "template")]
    pub fn home(&self, store: &Arc<RaftStore>) -> crate::jobs::templates::Home {
        crate::jobs::templates::Home {
            store: store.clone(),
            machine: self.id.clone(),
            lease: Some(self.lease.clone()),
            executor: Some(self.executor.clone()),
            meter: crate::jobs::templates::Meter::default(),
        }
    }

    /// What its engine has done.
    #[cfg(feature = "api")]
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// fleet's doors.
    #[cfg(feature = "api")]
    pub fn routes(&self, store: &Arc<RaftStore>, closing: &CancellationToken) -> crate::api::Routes {
        let inspection = Inspection {
            store: store.clone(),
            machine: self.id.clone(),
            executor: self.executor.clone(),
            sessions: self.sessions.clone(),
        };
        crate::api::fleet::router(store.clone(), Arc::new(inspection), Arc::new(host::SystemClock), closing.clone())
    }

    /// Stops and forgets every unit of the executors that are ours to empty.
    pub async fn remove_units(&self) {
        if let Some(process) = &self.process
            && let Err(error) = process.remove_all().await
        {
            tracing::warn!("removing this machine's units: {error}");
        }
        #[cfg(feature = "docker")]
        if let Some(docker) = &self.docker
            && let Err(error) = docker.remove_all().await
        {
            tracing::warn!("removing this machine's containers: {error}");
        }
    }
}
