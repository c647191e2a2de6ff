//! The next step of a rollout: what has been released is looked at; if all of it is well the next batch follows, if
//! something is not, all goes back. Values in, values out; what it remembers between two looks is only since when
//! units have been as they are, so that a new leader, who has to watch anew, is only more patient.

use std::collections::BTreeMap;

use super::moves::{Move, batch_before, end, fail, go_back, go_on, next_machines};
use super::standing::{Seen, Standing, place, standing};
use super::{Action, Change, Progress, Rollout};
use crate::base::{MachineId, UnixMillis};
use crate::fleet::board::mismatch;
use crate::fleet::cluster::Cluster;
use crate::fleet::plan::explain;
use crate::fleet::types::{Machine, Unit, UnitState};
use crate::fleet::wanted::wanted;
use crate::kv::TxnRequest;

/// How long going back waits for a batch to run again before it goes on: it may never.
const BACK_TIMEOUT_MS: u64 = 60_000;
/// How long a unit may be on no machine before that counts as failed.
const NOWHERE_MS: u64 = 10_000;

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
            let seen = self.seen.entry(key).or_insert(Seen { at_first, says: (String::new(), now) });
            // A text or a start that is another makes the same word news.
            let says = format!("{} {} {}", state.state.active, state.hash, state.launched);
            if seen.says.0 != says {
                seen.says = (says, now);
            }
        }
    }

    /// How all that is under way stands. Going back nothing fails any more: what does not get well is left.
    fn batch(&self, cluster: &Cluster, rollout: &Rollout, changes: &[Change], back: bool, now: u64) -> Batch {
        let limit = if back { rollout.rules.timeout_ms.min(BACK_TIMEOUT_MS) } else { rollout.rules.timeout_ms };
        let deadline = self.since.saturating_add(limit);
        let mut until = deadline;
        let mut waits = None;
        // One that only joins its set is as well as it was.
        for change in changes.iter().filter(|change| change.action() != Action::Adopt) {
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
        let nothing = Seen { at_first: None, says: (String::new(), now) };
        let of = |machine: &MachineId| {
            let seen = self.seen.get(&(unit.name.clone(), machine.clone())).unwrap_or(&nothing);
            let published = states.and_then(|states| states.get(machine));
            standing((unit, machine, hash), published, seen, rollout.rules.settle_ms, now)
        };
        machines.into_iter().map(|machine| (Some(machine.clone()), of(machine))).collect()
    }
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
