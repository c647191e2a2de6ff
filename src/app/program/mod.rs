//! A node's own program: what it is, and how the node comes to run another one.
//!
//! The file is sent in pieces to a place beside the program, checked, run for its version, and put in the program's place; the former
//! one stays beside it. Then the node ends in order and this process goes on with the new program: same process id, arguments and
//! supervisor. `trial` sees to it that the node comes to serve.

mod calls;
mod files;
mod inherited;
mod trial;

use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, watch};

use super::format;
use super::host::SystemClock;
use super::settings::Settings;
use crate::api::program::Programs;
use crate::base::{BoxFuture, Clock as _, MemberId};
use crate::kv::{Status, Store as _};
use crate::raft::RaftStore;
use crate::wire::program::{NodeFacts, Outcome, Question, Refusal, Reply, Trial, Version};

pub use calls::Calls;
use files::Files;
pub use trial::{TRIAL_ARGUMENT, main as trial_main};

/// Pause before a node that has not caught up looks again.
const AGAIN: Duration = Duration::from_millis(200);

/// The program of this process, and the node that it runs.
pub struct Program {
    file: PathBuf,
    data_dir: PathBuf,
    began_ms: i64,
    node: OnceLock<(Weak<RaftStore>, Option<String>)>,
    /// Of the file that runs, whatever has taken its place since.
    sha256: OnceCell<String>,
    /// Held while the program is replaced.
    busy: tokio::sync::Mutex<()>,
    serves: AtomicBool,
    restart: watch::Sender<bool>,
}

impl Program {
    /// Of this process. To be called in a runtime, before the process has children.
    ///
    /// # Errors
    /// The kernel does not tell which file runs.
    pub fn of_this_process(settings: &Settings) -> std::io::Result<Option<Arc<Self>>> {
        inherited::see_to();
        Ok(Some(Arc::new(Self {
            file: std::env::current_exe()?,
            data_dir: settings.data_dir.clone(),
            began_ms: SystemClock.now().0,
            node: OnceLock::new(),
            sha256: OnceCell::new(),
            busy: tokio::sync::Mutex::default(),
            serves: AtomicBool::new(false),
            restart: watch::Sender::new(false),
        })))
    }

    /// Which node it runs, and which machine that is where it runs units.
    pub fn attach(&self, store: &Arc<RaftStore>, machine: Option<String>) {
        // A node is started once.
        let _ = self.node.set((Arc::downgrade(store), machine));
        // What an upgrade has left that did not come to its end.
        if let Ok(files) = self.files() {
            files.discard();
        }
    }

    /// Completes when the node is to go on with another program.
    pub async fn restart_asked(&self) {
        if self.restart.subscribe().wait_for(|asked| *asked).await.is_err() {
            std::future::pending().await
        }
    }

    /// The node has a leader and is in the list of machines. Once it has caught up too, a trial is over. Never completes.
    pub async fn serves(&self) -> Infallible {
        while let Some(store) = self.store() {
            if store.catch_up().await.is_ok() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.serves.store(true, Ordering::Release);
        let dir = self.data_dir.clone();
        // Should it fail, the former program comes back, and says why.
        let _ = tokio::task::spawn_blocking(move || trial::end(&dir, Outcome::Kept)).await;
        std::future::pending().await
    }

    /// This process goes on as the program that lies in the place of the one that it was started from. Returns only if that cannot be.
    pub fn go_on(&self) -> std::io::Error {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_else(|| self.file.clone().into_os_string());
        Command::new(&self.file).arg0(name).args(arguments).exec()
    }

    fn store(&self) -> Option<Arc<RaftStore>> {
        self.node.get()?.0.upgrade()
    }

    fn running(&self) -> Result<Arc<RaftStore>, Refusal> {
        self.store().ok_or_else(|| Refusal::Unreachable("this node is starting or stopping".to_owned()))
    }

    /// What is asked of this node.
    async fn answer(&self, question: Question, piece: Bytes) -> Result<Reply, Refusal> {
        match question {
            Question::Tell => Ok(Reply::Facts(Box::new(self.facts().await?))),
            Question::Stage { offset, .. } => {
                let (_one, files) = (self.alone()?, self.files()?);
                blocking(move || files.keep(offset, &piece)).await.map(|()| Reply::Staged)
            }
            Question::Check { sha256 } => {
                let _one = self.alone()?;
                self.check(&sha256).await.map(Reply::Checked)
            }
            Question::Install { sha256, by, trial_ms } => {
                self.install(&sha256, &by, trial_ms).await.map(|()| Reply::Restarts)
            }
        }
    }

    fn alone(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        self.busy.try_lock().map_err(|_| Refusal::Refused("another upgrade of this node is under way".to_owned()))
    }

    fn files(&self) -> Result<Files, Refusal> {
        Ok(Files::new(self.file.clone(), &self.running()?.status().member.to_string()))
    }

    async fn sha256(&self) -> Result<String, Refusal> {
        let own =
            || blocking(|| files::sum(Path::new("/proc/self/exe")).map_err(|error| Refusal::Failed(error.to_string())));
        self.sha256.get_or_try_init(own).await.cloned()
    }

    async fn facts(&self) -> Result<NodeFacts, Refusal> {
        let (sha256, store) = (self.sha256().await?, self.running()?);
        let status = store.status();
        let (log_term, log_index) = store.log_end();
        Ok(NodeFacts {
            member: status.member.to_string(),
            name: status.name.clone(),
            leader: status.leader.map(|leader| leader.to_string()),
            machine: self.node.get().and_then(|(_, machine)| machine.clone()),
            program: Version::own(),
            sha256,
            file: self.file.display().to_string(),
            data_format: format::of(&self.data_dir).map_err(|error| Refusal::Failed(error.to_string()))?,
            serves: self.serves.load(Ordering::Acquire),
            began_ms: self.began_ms,
            trial: trial::read(&self.data_dir),
            log_term,
            log_index,
            applied_index: status.raft_applied,
            revision: status.position.revision,
            silent: silent(&status),
        })
    }

    /// Whether what was sent is whole, runs here, and can go on with the data.
    async fn check(&self, sha256: &str) -> Result<Version, Refusal> {
        let (files, expected) = (self.files()?, sha256.to_owned());
        let staged = files.staged().to_owned();
        blocking(move || files.finish(&expected)).await?;
        let found = files::version(&staged).await?;
        let data = format::of(&self.data_dir).map_err(|error| Refusal::Failed(error.to_string()))?;
        if found.format < data {
            return Err(Refusal::Refused(format!(
                "{} reads data up to format {}, those of this node are of format {data}: there is no way back to it but a backup of that \
                 time, by `node ctl snapshot restore`",
                found.told(),
                found.format
            )));
        }
        Ok(found)
    }

    async fn install(&self, sha256: &str, by: &str, trial_ms: u64) -> Result<(), Refusal> {
        let _one = self.alone()?;
        let own = self.sha256().await?;
        let files = self.files()?;
        let version = self.check(sha256).await?;
        let store = self.running()?;
        self.spare(&store).await?;
        tracing::warn!(by, from = Version::own().told(), to = version.told(), sha256, "this node is upgraded");
        let (dir, to) = (self.data_dir.clone(), sha256.to_owned());
        blocking(move || {
            let failed = |error: std::io::Error| Refusal::Failed(error.to_string());
            // Members on one machine may share their program: then the first of them has replaced it.
            match files::sum(&files.program).map_err(failed)? == to {
                true => files.discard(),
                false => files.replace()?,
            }
            let began_ms = SystemClock.now().0;
            let open = Trial { from: own, to, began_ms, within_ms: trial_ms, outcome: Outcome::Open };
            let guarded = trial::write(&dir, &open).and_then(|()| trial::guard(&files.program, &dir));
            guarded.map_err(|error| {
                trial::end(&dir, Outcome::Back("it could not be guarded".to_owned()));
                Refusal::Failed(match files::put_back(&files.program) {
                    Ok(()) => error.to_string(),
                    Err(back) => format!("{error}; putting the former program back: {back}"),
                })
            })
        })
        .await?;
        self.restart.send_replace(true);
        Ok(())
    }

    /// Refuses to go while the others are no quorum without this node. A cluster of one or two has none in any case.
    async fn spare(&self, store: &RaftStore) -> Result<(), Refusal> {
        let members = store.members().await.map_err(|error| Refusal::Failed(error.to_string()))?;
        let status = store.status();
        let voters: Vec<MemberId> = members.iter().filter(|member| !member.learner).map(|member| member.id).collect();
        let silent = |id: &MemberId| status.peers.iter().any(|peer| peer.id == *id && peer.silent.is_some());
        let others = voters.iter().filter(|id| **id != status.member && !silent(id)).count();
        let needed = voters.len() / 2 + 1;
        if voters.len() > 2 && voters.contains(&status.member) && others < needed {
            let silent = self::silent(&status).join(", ");
            return Err(Refusal::Refused(format!(
                "without this node {others} of {} voters answer, and {needed} are needed; no answer from {silent}",
                voters.len()
            )));
        }
        Ok(())
    }

    /// Asks another member.
    async fn forward(&self, member: MemberId, question: Question, piece: Bytes) -> Result<Reply, Refusal> {
        let store = self.running()?;
        if member == store.status().member {
            return self.answer(question, piece).await;
        }
        calls::ask(&store, member, &question, &piece).await
    }
}

impl Programs for Program {
    fn ask(&self, member: Option<MemberId>, question: Question, piece: Bytes) -> BoxFuture<'_, Result<Reply, Refusal>> {
        Box::pin(async move {
            match member {
                None => self.answer(question, piece).await,
                Some(member) => self.forward(member, question, piece).await,
            }
        })
    }
}

/// The members that this one does not hear, with their reasons.
fn silent(status: &Status) -> Vec<String> {
    let silent = status.peers.iter().filter_map(|peer| Some((peer, peer.silent.as_ref()?)));
    silent.map(|(peer, (_, why))| format!("{} ({why})", peer.name)).collect()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Refusal::Failed(error.to_string())))
}
