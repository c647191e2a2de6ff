//! The steps as transactions: which changes go together, what each writes, and how far the rollout is then. Each is carried out
//! only over the progress and the units that it was made for.

use std::collections::BTreeMap;

use super::{Action, Applied, Change, Next, Progress, Rollout, Version};
use crate::base::limits::{ROLLOUT_BYTES_MAX, TXN_OPS_MAX};
use crate::base::{LeaseId, MachineId, UnixMillis};
use crate::fleet::cluster::Cluster;
use crate::fleet::layout::{Key, UnitRecord, encode};
use crate::fleet::operations::next_generation;
use crate::fleet::types::{DesiredState, Unit};
use crate::kv::TxnRequest;

/// Changes that fit one transaction beside its conditions.
const BATCH_UNITS_MAX: usize = TXN_OPS_MAX / 2;

/// One change in the direction in which it is made now.
pub(super) struct Move<'a> {
    unit: &'a str,
    from: Option<&'a Version>,
    /// `None`: the unit is removed.
    pub to: Option<&'a Version>,
    global: bool,
}

impl<'a> Move<'a> {
    pub fn of(change: &'a Change, back: bool) -> Self {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        let (from, to) = if back { (after, before) } else { (before, after) };
        Self { unit: &change.unit, from, to, global: change.is_global() }
    }

    /// Whether the unit is as the rollout left it.
    fn is_as_expected(&self, cluster: &Cluster) -> bool {
        cluster.units.get(self.unit).map(|unit| unit.hash.as_str()) == self.from.map(|from| from.hash.as_str())
    }

    /// The operation that makes the change, and the condition that nobody else changed the unit meanwhile.
    fn write(&self, cluster: &Cluster, rollout: &Rollout, request: &mut TxnRequest) {
        let key = Key::Unit(self.unit.to_owned());
        request.compare.push(key.unchanged(cluster.mod_revision(&key)));
        let unit = cluster.units.get(self.unit).map(AsRef::as_ref);
        let Some(to) = self.to else {
            request.success.push(key.delete());
            return;
        };
        let mut record = record(cluster, unit, rollout.text(to), to);
        if let (true, Some(unit)) = (self.global, unit) {
            let next = Next { text: std::mem::take(&mut record.text), hash: to.hash.clone(), machines: Vec::new() };
            record.text = unit.text.to_string();
            record.next = Some(next);
        }
        request.success.push(key.put(encode(&record), LeaseId::NONE));
    }
}

/// A unit's record with another text. One that is launched already is not asked to start again: it is replaced.
fn record(cluster: &Cluster, unit: Option<&Unit>, text: &str, version: &Version) -> UnitRecord {
    let generation = next_generation(cluster, unit);
    let desired = unit.map_or(version.desired, |unit| unit.desired);
    let new = if desired == DesiredState::Launched { generation } else { 0 };
    UnitRecord {
        text: text.to_owned(),
        desired_state: desired,
        generation,
        launch: unit.map_or(new, |unit| unit.launch),
        set: version.set.clone(),
        next: None,
        restarts: unit.map(|unit| unit.restarts.clone()).unwrap_or_default(),
    }
}

/// Gives the text of a global unit to its next machines, or, once all that hold it have it, to the unit itself.
pub(super) fn next_machines(cluster: &Cluster, rollout: &Rollout, unit: &Unit, to: &Version) -> TxnRequest {
    let mut request = step_over(cluster, &cluster.progress);
    let key = Key::Unit(unit.name.clone());
    request.compare.push(key.unchanged(cluster.mod_revision(&key)));
    let done = unit.next.as_ref().map(|next| next.machines.as_slice()).unwrap_or_default();
    let holders = cluster.states.get(&unit.name).into_iter().flat_map(BTreeMap::keys);
    let left: Vec<MachineId> = holders.filter(|machine| !done.contains(machine)).cloned().collect();
    let mut new = record(cluster, Some(unit), rollout.text(to), to);
    if !left.is_empty() {
        let machines = done.iter().cloned().chain(left.into_iter().take(rollout.rules.max_parallel)).collect();
        new.next = Some(Next { text: std::mem::take(&mut new.text), hash: to.hash.clone(), machines });
        new.text = unit.text.to_string();
    }
    request.success.push(key.put(encode(&new), LeaseId::NONE));
    request
}

/// A transaction that goes on from the progress that was seen to this one.
fn step_over(cluster: &Cluster, to: &Progress) -> TxnRequest {
    let seen = Key::Progress.unchanged(cluster.mod_revision(&Key::Progress));
    let success = vec![Key::Progress.put(encode(to), LeaseId::NONE)];
    TxnRequest { compare: vec![seen], success, failure: Vec::new() }
}

/// How many changes the next batch has, counted from `first`.
fn batch_from(rollout: &Rollout, first: usize) -> usize {
    let rest = rollout.changes.get(first..).unwrap_or_default();
    fitting(rollout, rest.iter(), |change| match change.action() {
        Action::Remove => (2, false),
        _ => (u8::from(change.interrupts()), change.is_global()),
    })
}

/// The same backwards: the batch that ends before `end`. Whatever it is made of, it interrupts what runs by now.
pub(super) fn batch_before(rollout: &Rollout, end: usize) -> usize {
    let made = rollout.changes.get(..end).unwrap_or_default();
    fitting(rollout, made.iter().rev(), |change| (1, change.is_global()))
}

/// How many of the changes go together: those alike, a global one alone, of those that interrupt (kind 1) as many as may
/// be down at a time, and of all no more than one transaction holds.
fn fitting<'a>(
    rollout: &Rollout,
    changes: impl Iterator<Item = &'a Change>,
    kind: impl Fn(&Change) -> (u8, bool),
) -> usize {
    let (mut first, mut count, mut bytes) = (None, 0, 0);
    for change in changes {
        let of = kind(change);
        let first = *first.get_or_insert(of);
        let most = match first {
            (_, true) => 1,
            (1, false) => rollout.rules.max_parallel.min(BATCH_UNITS_MAX),
            _ => BATCH_UNITS_MAX,
        };
        bytes += change.before.iter().chain(&change.after).map(|version| rollout.text(version).len()).sum::<usize>();
        if count == most || of != first || (count > 0 && bytes > ROLLOUT_BYTES_MAX) {
            break;
        }
        count += 1;
    }
    count
}

/// Releases the next batch, or begins to go back where a unit of it is not as it was.
pub(super) fn go_on(cluster: &Cluster, rollout: &Rollout) -> TxnRequest {
    let progress = &cluster.progress;
    let first = progress.released;
    let batch = batch_from(rollout, first);
    let changes = &rollout.changes[first..first + batch];
    let strange = changes.iter().find(|change| !Move::of(change, false).is_as_expected(cluster));
    if let Some(change) = strange {
        let failure = Some(format!("{} was changed by somebody else meanwhile", change.unit));
        return step_over(cluster, &Progress { passed: first, released: first, failure });
    }
    let mut request = step_over(cluster, &Progress { passed: first, released: first + batch, failure: None });
    for change in changes {
        Move::of(change, false).write(cluster, rollout, &mut request);
    }
    request
}

/// Turns round: the batch that failed goes back at once.
pub(super) fn fail(cluster: &Cluster, rollout: &Rollout, reason: &str) -> TxnRequest {
    let Progress { passed, released, .. } = cluster.progress;
    back_to(cluster, rollout, Progress { passed, released, failure: Some(reason.to_owned()) })
}

/// Takes back the next batch.
pub(super) fn go_back(cluster: &Cluster, rollout: &Rollout, batch: usize) -> TxnRequest {
    let Progress { passed, failure, .. } = cluster.progress.clone();
    back_to(cluster, rollout, Progress { passed: passed - batch, released: passed, failure })
}

fn back_to(cluster: &Cluster, rollout: &Rollout, to: Progress) -> TxnRequest {
    let mut request = step_over(cluster, &to);
    for change in rollout.changes.get(to.passed..to.released).unwrap_or_default() {
        let mut change = Move::of(change, true);
        let unit = cluster.units.get(change.unit);
        let half_way = unit.is_some_and(|unit| unit.next.is_some() && Some(&unit.hash) == change.to.map(|to| &to.hash));
        if half_way {
            // The unit's own text is the former one still: it is enough to forget the other.
            change.global = false;
        } else if !change.is_as_expected(cluster) {
            // Somebody else wants it otherwise by now.
            continue;
        }
        change.write(cluster, rollout, &mut request);
    }
    request
}

/// Writes down what it came to.
pub(super) fn end(cluster: &Cluster, rollout: &Rollout, at: UnixMillis) -> TxnRequest {
    let applied = Applied { rollout: rollout.clone(), ended: at, failure: cluster.progress.failure.clone() };
    let seen = Key::Progress.unchanged(cluster.mod_revision(&Key::Progress));
    let success = vec![
        Key::Applied(rollout.revision).put(encode(&applied), LeaseId::NONE),
        Key::Rollout.delete(),
        Key::Progress.delete(),
    ];
    TxnRequest { compare: vec![seen], success, failure: Vec::new() }
}

/// Takes a rollout that is under way back, for the reason that is given.
pub fn abort(cluster: &Cluster, reason: &str) -> Option<TxnRequest> {
    let progress = &cluster.progress;
    cluster.rollout.as_ref().filter(|_| progress.failure.is_none())?;
    let released = progress.released;
    let to = Progress { passed: released, released, failure: Some(reason.to_owned()) };
    Some(step_over(cluster, &to))
}
