//! The agent: one machine's loop. Woken by the cluster, the executor or its own tasks, it works out what the machine has to
//! do, hands it to the executor, and publishes what has become of it.
//!
//! Every task runs by itself, so that a unit that fails or hangs delays no other. Without a quorum nothing is taken away:
//! the machine goes on with what it knows.

mod fence;
mod once;
mod timer;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::follow::Follower;
use super::{Job, JobError, Stop, accepted, health};
use crate::base::limits::{AGENT_RETRY_MS, FLEET_TXN_OPS_MAX, HEALTH_PAUSE_MS};
use crate::base::{BoxFuture, Clock, LeaseId, UnixMillis};
use crate::fleet::company::Company;
use crate::fleet::executor::{Executor, ExecutorError, UnitFile};
use crate::fleet::fence::Allowances;
use crate::fleet::timer::resumes;
use crate::fleet::types::{Health, Machine};
use crate::fleet::{Cluster, Fence, Key, Local, Memory, Task, Tenure, Wanted, awaited, diff, wanted};
use crate::kv::{Op, Reply, Store, TxnOp, TxnRequest};
use crate::process::boot_now;
use crate::unit::UnitText;
use crate::unit::health::checks;

/// Makes this machine do what the cluster wants of it.
pub struct Agent {
    pub store: Arc<dyn Store>,
    pub executor: Arc<dyn Executor>,
    pub clock: Arc<dyn Clock>,
    /// As this machine announces itself.
    pub machine: Machine,
    /// The lease that this machine's keys hang on.
    pub lease: watch::Receiver<Option<LeaseId>>,
    /// Until when that lease lasts at least.
    pub tenure: watch::Receiver<Option<Tenure>>,
}

/// What a task of the agent's came to.
enum Done {
    Loaded(Vec<(UnitFile, Result<(), ExecutorError>)>),
    Answered(Task, Result<(), ExecutorError>),
    /// A unit's own checks, of the text with this hash.
    Checked {
        unit: String,
        hash: String,
        health: Health,
    },
    /// The revision of the system space that holds what was published.
    Published(Result<i64, JobError>),
    /// The same of claims.
    Claimed(Result<i64, JobError>),
    /// What a unit has done was noted; `false`: it has not come so far, or the unit is another by now.
    Noted(Result<bool, JobError>),
}

/// What the loop works with between two waits.
struct Desk<'a> {
    agent: &'a Agent,
    memory: Memory,
    company: Company,
    tasks: JoinSet<Done>,
    /// Set after a failure: what failed is tried again then.
    retry_at: Option<Instant>,
    /// Units whose health an apply waits for, and when each is checked next; `None`: a check is under way.
    checked: BTreeMap<String, Option<Instant>>,
    publishing: bool,
    /// Own writes up to here are not in the followed cluster yet; until they are, nothing is compared with it.
    published_at: i64,
    /// There is a new lease, and all states must be attached to it.
    publish_all: bool,
    /// Exclusive units, as judged last.
    fence: Fence,
    allowances: Allowances,
    claiming: bool,
    claimed_at: i64,
    /// What of one-shots and timers was noted, or is about to be: the start that is done, or when it has elapsed.
    noted: BTreeMap<Key, u64>,
}

impl Job for Agent {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn run(&mut self, mut stop: Stop) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            tokio::select! {
                () = stop.wait() => Ok(()),
                ended = self.work() => match ended {
                    Ok(never) => match never {},
                    Err(error) => Err(error),
                }
            }
        })
    }
}

impl Agent {
    async fn work(&self) -> Result<Infallible, JobError> {
        let held = self.executor.adopt().await.map_err(|error| JobError::new("adopting units", error))?;
        let mut lease = self.lease.clone();
        // Another node may have this machine's id, and what is wanted of it is wanted there.
        if lease.wait_for(Option::is_some).await.is_err() {
            return Err(JobError::new("waiting for this machine to be announced", "nobody announces it any more"));
        }
        let mut follower = Follower::open(&self.store).await?;
        let mut memory = Memory::adopt(held, &follower.cluster, &self.machine.id);
        fence::forget_starts(&mut memory, &follower.cluster);
        let mut desk = Desk {
            agent: self,
            memory,
            company: Company::default(),
            tasks: JoinSet::new(),
            retry_at: None,
            checked: BTreeMap::new(),
            publishing: false,
            published_at: 0,
            publish_all: true,
            fence: Fence::default(),
            allowances: Allowances::default(),
            claiming: false,
            claimed_at: 0,
            noted: BTreeMap::new(),
        };
        let mut tenure = self.tenure.clone();
        loop {
            let held = *tenure.borrow_and_update();
            desk.hand_out(&follower.cluster, held).await;
            desk.claim(&follower.cluster, held);
            desk.publish(&follower.cluster, *lease.borrow_and_update());
            tokio::select! {
                followed = follower.next() => { followed?; }
                changes = self.executor.changes() => {
                    for change in &changes {
                        desk.memory.changed(change);
                    }
                }
                Some(done) = desk.tasks.join_next() => desk.take_in(done),
                Ok(()) = lease.changed() => desk.publish_all = true,
                // Of no concern where nothing exclusive is wanted.
                Ok(()) = tenure.changed(), if desk.fence != Fence::default() => {}
                () = fence::tenure_ends(held), if !desk.fence.may_run.is_empty() => {}
                () = pause(desk.retry_at) => {
                    desk.retry_at = None;
                    desk.memory.retry();
                }
                // What is due is checked on the next way round.
                () = pause(desk.checked.values().flatten().min().copied()) => {}
            }
        }
    }
}

/// Waits until `at`; for ever without it.
async fn pause(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Desk<'_> {
    /// Works out what is to be done now and hands it to the executor, each task by itself.
    async fn hand_out(&mut self, cluster: &Cluster, tenure: Option<Tenure>) {
        let mut wanted = wanted(cluster, &self.agent.machine);
        self.company.meet(&wanted, &self.memory, cluster);
        self.company.pull_in(&mut wanted);
        self.fence = Fence::of(cluster, &self.agent.machine, &mut wanted, tenure, boot_now());
        self.allow(&mut wanted, tenure).await;
        let generation = cluster.head.generation;
        let tasks = match diff(&wanted, &self.memory, generation) {
            Ok(tasks) => self.without_awaited(tasks, cluster),
            Err(older) => {
                tracing::warn!("{older}; it is left alone");
                self.checked.clear();
                return;
            }
        };
        let ordered = self.company.order(tasks, &wanted, &self.memory);
        self.memory.put_off(&ordered.waiting);
        let tasks = ordered.tasks;
        let loading: BTreeSet<String> = tasks
            .iter()
            .filter_map(|task| if let Task::Load { units } = task { Some(units) } else { None })
            .flatten()
            .map(|unit| unit.name.clone())
            .collect();
        for task in tasks {
            // Asked for again once the load has come to an end.
            if matches!(&task, Task::Start { name, .. } if loading.contains(name)) {
                continue;
            }
            if self.fence.spares(&task, cluster, &self.memory, &self.allowances, boot_now()) {
                continue;
            }
            self.memory.issued(&task);
            let since = resumes(cluster, &task, self.agent.clock.now());
            self.start(task, since);
        }
        self.memory.acted_on(generation);
        self.note_finished(cluster, &wanted);
        self.note_elapsed(cluster, &wanted);
        self.check(cluster, &wanted);
        let names: BTreeSet<&str> = wanted.iter().map(|unit| unit.file.name.as_str()).collect();
        self.memory.retain_wanted(|name| names.contains(name));
    }

    /// Leaves out what would stop units that are about to have their places here again.
    fn without_awaited(&self, mut tasks: Vec<Task>, cluster: &Cluster) -> Vec<Task> {
        let leaving = |task: &Task| matches!(task, Task::Unload { .. });
        let names = tasks.iter().filter(|task| leaving(task)).filter_map(Task::name);
        let awaited = awaited(cluster, &self.agent.machine.id, names);
        tasks.retain(|task| !leaving(task) || task.name().is_none_or(|name| !awaited.contains(name)));
        tasks
    }

    /// Checks the health of units that an apply is about, as long as it is under way.
    fn check(&mut self, cluster: &Cluster, wanted: &[Wanted]) {
        let Some(rollout) = &cluster.rollout else {
            for (unit, _) in std::mem::take(&mut self.checked) {
                self.memory.unchecked(&unit);
            }
            return;
        };
        let concerned: BTreeSet<&str> = rollout.changes.iter().map(|change| change.unit.as_str()).collect();
        let memory = &self.memory;
        // What does not run is checked once it does.
        let runs =
            |name: &String| wanted.iter().any(|unit| unit.file.name == *name && memory.runs(name, &unit.file.hash));
        self.checked.retain(|name, at| at.is_none() || runs(name));
        for unit in wanted.iter().filter(|unit| concerned.contains(unit.file.name.as_str())) {
            let (name, hash) = (&unit.file.name, &unit.file.hash);
            let due = self.checked.get(name).is_none_or(|at| at.is_some_and(|at| at <= Instant::now()));
            if !due || !self.memory.runs(name, hash) {
                continue;
            }
            let checks = UnitText::parse(&unit.file.text).ok().and_then(|text| checks(&text, name).ok());
            let Some(checks) = checks.filter(|checks| !checks.is_empty()) else { continue };
            self.checked.insert(name.clone(), None);
            let (unit, hash) = (name.clone(), hash.clone());
            self.tasks.spawn(async move {
                let health = health::check(&checks).await.map_or_else(Health::Failing, |()| Health::Well);
                Done::Checked { unit, hash, health }
            });
        }
    }

    /// Hands a task to the executor. A timer that goes on from an earlier run is told `since` when.
    fn start(&mut self, task: Task, since: Option<UnixMillis>) {
        let executor = self.agent.executor.clone();
        match task {
            Task::Adopt { name, .. } => {
                tracing::info!(unit = name, "runs already, or has done its work, and is adopted")
            }
            Task::Load { units } => {
                let exclusive = |unit: &UnitFile| self.fence.concerns(&unit.name) && !executor.fences();
                let (refused, units): (Vec<_>, Vec<_>) = units.into_iter().partition(exclusive);
                self.tasks.spawn(async move {
                    let results = executor.load(units.clone()).await;
                    let refused = refused.into_iter().map(|unit| {
                        let reason = format!("Exclusive=true is more than the executor `{}` can hold", executor.name());
                        let refusal = ExecutorError::Unsupported { unit: unit.name.clone(), reason };
                        (unit, Err(refusal))
                    });
                    Done::Loaded(units.into_iter().zip(results).chain(refused.collect::<Vec<_>>()).collect())
                });
            }
            task => {
                self.tasks.spawn(async move {
                    let result = match &task {
                        Task::Unload { name, .. } => executor.unload(name).await,
                        Task::Stop { name, .. } => executor.stop(name).await,
                        Task::Start { name, .. } => match timer::resume(&executor, name, since).await {
                            Ok(()) => executor.start(name).await,
                            Err(error) => Err(error),
                        },
                        Task::Adopt { .. } | Task::Load { .. } => Ok(()),
                    };
                    Done::Answered(task, result)
                });
            }
        }
    }

    fn take_in(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Loaded(results)) => {
                for (unit, result) in results {
                    self.report(&unit.name, &result);
                    if result.is_err() {
                        self.try_later();
                    }
                    self.memory.loaded(&unit.name, &unit.hash, result.as_ref().copied());
                }
            }
            Ok(Done::Answered(task, result)) => {
                self.report(task.name().unwrap_or_default(), &result);
                if result.is_err() {
                    self.try_later();
                }
                self.memory.answered(&task, result.as_ref().copied());
            }
            Ok(Done::Checked { unit, hash, health }) => {
                self.memory.checked(&unit, &hash, health);
                self.checked.insert(unit, Some(Instant::now() + Duration::from_millis(HEALTH_PAUSE_MS)));
            }
            Ok(Done::Published(Ok(revision))) => {
                self.publishing = false;
                self.published_at = revision;
            }
            Ok(Done::Noted(Ok(true))) => {}
            Ok(Done::Noted(not_yet)) => {
                if let Err(error) = not_yet {
                    tracing::warn!("{error}");
                }
                self.noted.clear();
                self.try_later();
            }
            Ok(Done::Claimed(claimed)) => {
                self.claiming = false;
                match claimed {
                    Ok(revision) => self.claimed_at = revision,
                    Err(error) => {
                        tracing::warn!("{error}");
                        self.try_later();
                    }
                }
            }
            Ok(Done::Published(Err(error))) => {
                self.publishing = false;
                self.publish_all = true;
                tracing::warn!("{error}");
                self.try_later();
            }
            Err(error) => {
                tracing::error!("a task of the agent's ended by itself: {error}");
                self.try_later();
            }
        }
    }

    fn report(&self, unit: &str, result: &Result<(), ExecutorError>) {
        if let Err(error) = result {
            tracing::warn!(unit, "{error}");
        }
    }

    fn try_later(&mut self) {
        self.retry_at = Some(Instant::now() + Duration::from_millis(AGENT_RETRY_MS));
    }

    /// Writes the states that the cluster does not have yet. One write at a time: they must not overtake each other.
    fn publish(&mut self, cluster: &Cluster, lease: Option<LeaseId>) {
        let Some(lease) = lease else { return };
        if self.publishing || cluster.revision < self.published_at || (self.publish_all && self.retry_at.is_some()) {
            return;
        }
        let operations = self.memory.publish(cluster, &self.agent.machine.id, lease, self.publish_all);
        self.publish_all = false;
        if operations.is_empty() {
            return;
        }
        self.publishing = true;
        let store = self.agent.store.clone();
        self.tasks.spawn(async move { Done::Published(write(&store, operations).await) });
    }
}

async fn write(store: &Arc<dyn Store>, operations: Vec<TxnOp>) -> Result<i64, JobError> {
    let doing = "publishing the states of this machine's units";
    let mut revision = 0;
    for chunk in operations.chunks(FLEET_TXN_OPS_MAX) {
        let txn = TxnRequest { success: chunk.to_vec(), ..TxnRequest::default() };
        let written = store.write(Op::Txn(txn)).await;
        revision = written.as_ref().map_or(revision, |applied| applied.position.system_revision);
        let Reply::Txn(_) = accepted(written, doing)? else {
            return Err(JobError::new(doing, "the answer is another request's"));
        };
    }
    Ok(revision)
}
