//! The next step of a rollout: what has been released is looked at; if all of it is well the next batch follows, if
//! something is not, all goes back. Values in, values out; what it remembers between two looks is only since when
//! units have been as they are, so that a new leader, who has to watch anew, is only more patient.

use std::collections::BTreeMap;

use super::standing::{Seen, Standing, place, standing};
use super::{Action, Applied, Change, Next, Progress, Rollout, Version};
use crate::base::limits::{ROLLOUT_BYTES_MAX, TXN_OPS_MAX};
use crate::base::{LeaseId, MachineId, UnixMillis};
use crate::fleet::board::mismatch;
use crate::fleet::cluster::Cluster;
use crate::fleet::layout::{Key, UnitRecord, encode};
use crate::fleet::operations::next_generation;
use crate::fleet::plan::explain;
use crate::fleet::types::{DesiredState, Machine, Unit, UnitState};
use crate::fleet::wanted::wanted;
use crate::kv::TxnRequest;

/// How long going back waits for a batch to run again before it goes on: it may never.
const BACK_TIMEOUT_MS: u64 = 60_000;
/// How long a unit may be on no machine before that counts as failed.
const NOWHERE_MS: u64 = 10_000;

/// Changes that fit one transaction beside its conditions.
const BATCH_UNITS_MAX: usize = TXN_OPS_MAX / 2;

/// What is to be done about the rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment, unless the cluster changes. The unit that is waited for and why are for people.
    Wait { until: u64, why: String },
    /// To be written; where it does not succeed, the cluster has changed.
    Write(TxnRequest),
}

/// Whoever leads looks through it.
#[derive(Debug, Default)]
pub struct Watchman {
    /// The revision, how far it is, and how many machines have the text of a global unit.
    watched: Option<(u64, Progress, usize)>,
    /// When the batch began.
    since: u64,
    seen: BTreeMap<(String, MachineId), Seen>,
    /// What was said before the batch; `None`: nobody watched then.
    before: Option<BTreeMap<(String, MachineId), UnitState>>,
}

/// One change in the direction in which it is made now.
struct Move<'a> {
    unit: &'a str,
    from: Option<&'a Version>,
    to: Option<&'a Version>,
    global: bool,
}

/// How a batch stands.
enum Batch {
    Well,
    Waits {
        until: u64,
        why: String,
    },
    Failed(String),
    /// A global unit: the next machines, or all of them.
    Goes(TxnRequest),
}

impl Watchman {
    /// The next step; `None`: there is no rollout. `now` counts milliseconds from any beginning, `at` is the wall clock.
    pub fn step(&mut self, cluster: &Cluster, now: u64, at: UnixMillis) -> Option<Step> {
        let rollout = cluster.rollout.as_deref()?;
        let progress = &cluster.progress;
        self.look(cluster, rollout, progress, now);
        let back = progress.failure.is_some();
        let under_way = progress.passed..progress.released;
        let changes = rollout.changes.get(under_way).unwrap_or_default();
        let step = match self.batch(cluster, rollout, changes, back, now) {
            Batch::Waits { until, why } => Step::Wait { until, why },
            Batch::Goes(request) => Step::Write(request),
            Batch::Failed(reason) => Step::Write(fail(cluster, rollout, &reason)),
            Batch::Well if back && progress.passed == 0 => Step::Write(end(cluster, rollout, at)),
            Batch::Well if back => Step::Write(go_back(cluster, rollout, batch_before(rollout, progress.passed))),
            Batch::Well if progress.released >= rollout.changes.len() => Step::Write(end(cluster, rollout, at)),
            Batch::Well => Step::Write(go_on(cluster, rollout)),
        };
        if matches!(step, Step::Write(_)) {
            self.before = Some(said(cluster, &rollout.changes).collect());
        }
        Some(step)
    }

    /// Notes what is seen for the first time.
    fn look(&mut self, cluster: &Cluster, rollout: &Rollout, progress: &Progress, now: u64) {
        let changes = rollout.changes.get(progress.passed..progress.released).unwrap_or_default();
        let next = |change: &Change| cluster.units.get(&change.unit)?.next.as_ref().map(|next| next.machines.len());
        let watched = (rollout.revision, progress.clone(), changes.iter().filter_map(next).sum());
        if self.watched.as_ref() != Some(&watched) {
            *self = Self { watched: Some(watched), since: now, seen: BTreeMap::new(), before: self.before.take() };
        }
        for (key, state) in said(cluster, changes) {
            let at_first = match &self.before {
                Some(before) => before.get(&key).cloned(),
                None => Some(state.clone()),
            };
            let seen = self.seen.entry(key).or_insert(Seen { at_first, active: (String::new(), now) });
            if seen.active.0 != state.state.active {
                seen.active = (state.state.active, now);
            }
        }
    }

    /// How all that is under way stands. Going back nothing fails any more: what does not get well is left.
    fn batch(&self, cluster: &Cluster, rollout: &Rollout, changes: &[Change], back: bool, now: u64) -> Batch {
        let limit = if back { rollout.rules.timeout_ms.min(BACK_TIMEOUT_MS) } else { rollout.rules.timeout_ms };
        let deadline = self.since.saturating_add(limit);
        let mut until = deadline;
        let mut waits = None;
        for change in changes {
            let to = Move::of(change, back);
            let Some(target) = to.to else { continue };
            let unit = match (cluster.units.get(&change.unit), back) {
                (Some(unit), _) => unit.as_ref(),
                (None, true) => continue,
                (None, false) => return Batch::Failed(format!("{} was destroyed by somebody else", change.unit)),
            };
            let rolls = unit.next.as_ref().is_some_and(|next| next.hash == target.hash);
            if unit.hash != target.hash && !rolls {
                if back {
                    continue;
                }
                return Batch::Failed(format!("{} was changed by somebody else", change.unit));
            }
            let standings = self.standings(cluster, rollout, unit, &target.hash, now);
            for (machine, standing) in standings {
                let place = machine.map(|machine| legend(cluster, &machine)).unwrap_or_default();
                match standing {
                    Standing::Well => {}
                    Standing::Bad(why) if !back => return Batch::Failed(format!("{}{place}: {why}", unit.name)),
                    Standing::Bad(_) => {}
                    Standing::OnItsWay { why, .. } if now >= deadline => {
                        if !back {
                            let seconds = limit.div_ceil(1_000);
                            return Batch::Failed(format!("{}{place}: not well within {seconds} s: {why}", unit.name));
                        }
                    }
                    Standing::OnItsWay { why, look_at } => {
                        until = look_at.map_or(until, |at| until.min(at));
                        waits.get_or_insert_with(|| format!("{}{place}: {why}", unit.name));
                    }
                }
            }
            if waits.is_none() && rolls {
                return Batch::Goes(next_machines(cluster, rollout, unit, target));
            }
        }
        waits.map_or(Batch::Well, |why| Batch::Waits { until, why })
    }

    /// How a unit stands wherever it is to run the new text by now.
    fn standings(
        &self,
        cluster: &Cluster,
        rollout: &Rollout,
        unit: &Unit,
        hash: &str,
        now: u64,
    ) -> Vec<(Option<MachineId>, Standing)> {
        if !unit.is_active() {
            return Vec::new();
        }
        let states = cluster.states.get(&unit.name);
        let machines: Vec<&MachineId> = match &unit.next {
            _ if !unit.requirements.global => match place(cluster, unit) {
                Some(machine) => vec![machine],
                None => return vec![(None, nowhere(cluster, &unit.name, now - self.since))],
            },
            Some(next) => next.machines.iter().filter(|machine| cluster.machines.contains_key(*machine)).collect(),
            None => holders(cluster, unit),
        };
        let nothing = Seen { at_first: None, active: (String::new(), now) };
        let of = |machine: &MachineId| {
            let seen = self.seen.get(&(unit.name.clone(), machine.clone())).unwrap_or(&nothing);
            let published = states.and_then(|states| states.get(machine));
            standing((unit, machine, hash), published, seen, rollout.rules.settle_ms, now)
        };
        machines.into_iter().map(|machine| (Some(machine.clone()), of(machine))).collect()
    }
}

impl<'a> Move<'a> {
    fn of(change: &'a Change, back: bool) -> Self {
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
fn next_machines(cluster: &Cluster, rollout: &Rollout, unit: &Unit, to: &Version) -> TxnRequest {
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
fn batch_before(rollout: &Rollout, end: usize) -> usize {
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
fn go_on(cluster: &Cluster, rollout: &Rollout) -> TxnRequest {
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
fn fail(cluster: &Cluster, rollout: &Rollout, reason: &str) -> TxnRequest {
    let Progress { passed, released, .. } = cluster.progress;
    back_to(cluster, rollout, Progress { passed, released, failure: Some(reason.to_owned()) })
}

/// Takes back the next batch.
fn go_back(cluster: &Cluster, rollout: &Rollout, batch: usize) -> TxnRequest {
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
fn end(cluster: &Cluster, rollout: &Rollout, at: UnixMillis) -> TxnRequest {
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

/// The machines that hold a global unit, and those that are to.
fn holders<'a>(cluster: &'a Cluster, unit: &Unit) -> Vec<&'a MachineId> {
    let states = cluster.states.get(&unit.name);
    let told = |machine: &Machine| states.is_some_and(|states| states.contains_key(&machine.id));
    let is_to = |machine: &Machine| {
        mismatch(unit, machine).is_none() && wanted(cluster, machine).iter().any(|wanted| wanted.file.name == unit.name)
    };
    let machines = cluster.machines.values().filter(|machine| told(machine) || is_to(machine));
    machines.map(|machine| &machine.id).collect()
}

/// What all machines say of the units of these changes.
fn said(cluster: &Cluster, changes: &[Change]) -> impl Iterator<Item = ((String, MachineId), UnitState)> {
    changes.iter().flat_map(|change| {
        let states = cluster.states.get(&change.unit).into_iter().flatten();
        states.map(|(machine, state)| ((change.unit.clone(), machine.clone()), state.clone()))
    })
}

fn nowhere(cluster: &Cluster, unit: &str, for_ms: u64) -> Standing {
    if for_ms < NOWHERE_MS {
        return Standing::OnItsWay { why: "it is on no machine yet".into(), look_at: None };
    }
    let verdicts = explain(cluster, unit).unwrap_or_default();
    let refusals: Option<Vec<String>> = verdicts
        .iter()
        .map(|verdict| verdict.outcome.as_ref().err().map(|why| format!("{}: {why}", verdict.machine.short())))
        .collect();
    match refusals {
        None => Standing::OnItsWay { why: "it is on no machine yet".into(), look_at: None },
        Some(none) if none.is_empty() => Standing::Bad("it fits on no machine: there is none".into()),
        Some(reasons) => Standing::Bad(format!("it fits on no machine ({})", reasons.join("; "))),
    }
}

fn legend(cluster: &Cluster, id: &MachineId) -> String {
    match cluster.machines.get(id).filter(|machine| !machine.primary_ip.is_empty()) {
        Some(machine) => format!(" on {}/{}", id.short(), machine.primary_ip),
        None => format!(" on {}", id.short()),
    }
}
