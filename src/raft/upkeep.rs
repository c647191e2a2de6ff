//! What nobody has to see to by hand: history that is let go by age and size, and a disk that fills up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::node::Node;
use super::types::EncodedOp;
use crate::base::limits::{
    DISK_ALARM_SILENT_MS, DISK_LOOK_MS, HISTORY_LOOK_MS, HISTORY_PAUSE_MS_MAX, HISTORY_PAUSE_MS_MIN,
    QUORUM_WAIT_MS_MAX, SYSTEM_HISTORY_BYTES_MAX, SYSTEM_HISTORY_KEEP_MS,
};
use crate::disk::{Level, Room, RoomProbe, RoomRules};
use crate::kv::{self, Alarm, AlarmChange, AlarmKind, HistoryRule, KvError, Op, Space};

const SYSTEM_RULE: HistoryRule =
    HistoryRule { keep_ms: Some(SYSTEM_HISTORY_KEEP_MS), bytes_max: Some(SYSTEM_HISTORY_BYTES_MAX), revisions: None };

/// Pause between compactions to a number of revisions.
const COUNT_PAUSE: Duration = Duration::from_secs(10);

/// Proposes compactions while this member leads, until told to stop.
pub async fn keep_history(node: Arc<Node>, user_rule: HistoryRule) {
    let keeping = async {
        let mut spaces = [Keeping::new(Space::User, user_rule), Keeping::new(Space::System, SYSTEM_RULE)];
        let look = spaces.iter().map(Keeping::pause).min().unwrap_or_default();
        let look = look.min(Duration::from_millis(HISTORY_LOOK_MS));
        let mut leads = node.lead.subscribe();
        // The sender is the node's: it is not gone before this is.
        while leads.wait_for(|lead| lead.here).await.is_ok() {
            for space in &mut spaces {
                space.look(&node).await;
            }
            tokio::time::sleep(look).await;
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = keeping => {}
    }
}

/// The history of one space.
struct Keeping {
    space: Space,
    rule: HistoryRule,
    /// When age and number are looked at next.
    next: Instant,
}

impl Keeping {
    fn new(space: Space, rule: HistoryRule) -> Self {
        Self { space, rule, next: Instant::now() }
    }

    /// A share of what is kept, so that the log is not full of compactions.
    fn pause(&self) -> Duration {
        let by_age = self.rule.keep_ms.map(|keep_ms| {
            let share = u64::try_from(keep_ms).unwrap_or(0) / 24;
            Duration::from_millis(share.clamp(HISTORY_PAUSE_MS_MIN, HISTORY_PAUSE_MS_MAX))
        });
        let by_count = self.rule.revisions.map(|_| COUNT_PAUSE);
        [by_age, by_count].into_iter().flatten().min().unwrap_or(Duration::from_millis(HISTORY_PAUSE_MS_MAX))
    }

    async fn look(&mut self, node: &Node) {
        let due = Instant::now() >= self.next;
        let rule =
            if due { self.rule } else { HistoryRule { bytes_max: self.rule.bytes_max, ..HistoryRule::default() } };
        if due {
            self.next = Instant::now() + self.pause();
        }
        let now = node.clock.now();
        let Some(revision) = node.core.with_state(|state| state.history_cut(self.space, &rule, now)) else { return };
        match propose(node, &Op::Compact { space: self.space, revision }).await {
            Ok(()) => tracing::debug!(space = ?self.space, revision, "history before this revision goes"),
            // It is looked at again.
            Err(error) => tracing::warn!(space = ?self.space, revision, "history could not be let go: {error}"),
        }
    }
}

/// Has an operation of the cluster's own carried out.
async fn propose(node: &Node, op: &Op) -> Result<(), String> {
    let encoded = EncodedOp::new(op).map_err(|error| error.to_string())?;
    let fate = node.proposer.submit(encoded).map_err(|error| error.to_string())?;
    match tokio::time::timeout(Duration::from_millis(QUORUM_WAIT_MS_MAX), fate).await {
        Ok(Ok(Ok(applied))) => applied.result.map(drop).map_err(|error| error.to_string()),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_)) => Err("the node is stopping".to_owned()),
        Err(_) => Err(node.unavailable("writing").to_string()),
    }
}

/// What a node knows of its disk.
#[derive(Default)]
pub struct DiskView(Mutex<(Level, String)>);

impl DiskView {
    fn get(&self) -> (Level, String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn level(&self) -> Level {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// What is to be said of it, if anything.
    pub fn warning(&self) -> Option<String> {
        let (level, text) = self.get();
        (level != Level::Roomy).then_some(text)
    }
}

/// Looks at the disk until told to stop, says what is found, and raises and withdraws this member's alarm.
pub async fn watch_disk(node: Arc<Node>, probe: Arc<dyn RoomProbe>, rules: RoomRules) {
    let watching = async {
        let mut failing = false;
        loop {
            let looked = {
                let probe = probe.clone();
                tokio::task::spawn_blocking(move || probe.look()).await
            };
            match looked {
                Ok(Ok(room)) => {
                    failing = false;
                    judge(&node, room, &rules);
                }
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::warn!("how full the disk is cannot be seen: {error}");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tell(&node).await;
            tokio::time::sleep(Duration::from_millis(DISK_LOOK_MS)).await;
        }
    };
    tokio::select! {
        () = node.stop.cancelled() => {}
        () = watching => {}
    }
}

/// Takes note of the room, and says once what has changed.
fn judge(node: &Node, room: Room, rules: &RoomRules) {
    let usage = node.core.database().ok().and_then(|database| database.usage().ok()).unwrap_or_default();
    let before = node.disk.level();
    let level = rules.judge(room, usage, before);
    let dir = node.core.database().map(|database| database.path().display().to_string()).unwrap_or_default();
    let text = match level {
        Level::Roomy => String::new(),
        Level::Filling => {
            format!("the disk of {} ({dir}) is {room}; writes are refused at {} %", node.name, rules.full_percent)
        }
        Level::Full => format!(
            "the disk of {} ({dir}) is {room}: writes that grow are refused until there is room again; delete keys or files, or enlarge it",
            node.name
        ),
    };
    match (before, level) {
        (before, level) if before == level => {}
        (_, Level::Full) => tracing::error!("{text}"),
        (Level::Roomy, _) => tracing::warn!("{text}"),
        (Level::Full, _) => tracing::warn!("the disk is {room}: writes are taken again"),
        (_, _) => tracing::info!("the disk has room again: it is {room}"),
    }
    *node.disk.0.lock().unwrap_or_else(PoisonError::into_inner) = (level, text);
}

/// Brings the alarms in line with what is known. What fails is tried again with the next look.
async fn tell(node: &Node) {
    let (me, kind) = (node.me.member, AlarmKind::NoSpace);
    let alarms = node.core.alarms();
    let own = alarms.iter().find(|alarm| alarm.member == me && alarm.kind == kind);
    let (level, text) = node.disk.get();
    let mut changes = Vec::new();
    match own {
        None if level == Level::Full => {
            changes.push(AlarmChange::Raise(Alarm { member: me, kind, finding: Some(text) }));
        }
        Some(alarm) if level != Level::Full && alarm.finding.is_some() => {
            changes.push(AlarmChange::Withdraw { member: me, kind });
        }
        _ => {}
    }
    if node.lead.borrow().here {
        let findings = alarms.iter().filter(|alarm| alarm.member != me && alarm.finding.is_some());
        let gone = findings.filter(|alarm| is_gone(node, alarm));
        changes.extend(gone.map(|alarm| AlarmChange::Withdraw { member: alarm.member, kind: alarm.kind }));
    }
    for change in changes {
        if let Err(error) = propose(node, &Op::Alarm(change)).await {
            tracing::warn!("an alarm could not be changed: {error}");
        }
    }
}

/// Whether the member that found something is no longer there to find that it is over.
fn is_gone(node: &Node, alarm: &Alarm) -> bool {
    let limit = Duration::from_millis(DISK_ALARM_SILENT_MS);
    let peers = node.peers.health.peers();
    match peers.iter().find(|peer| peer.id == alarm.member) {
        Some(peer) => peer.silent.as_ref().is_some_and(|(silent, _)| *silent >= limit),
        None => true,
    }
}

/// Whether an operation may go into the log, as far as this member knows.
pub fn admit(node: &Node, op: &Op) -> Result<(), KvError> {
    if node.core.is_alarmed() {
        kv::allowed(&node.core.alarms(), op)?;
    }
    match node.disk.level() {
        Level::Full if kv::grows(op) => Err(KvError::NoSpace),
        _ => Ok(()),
    }
}
