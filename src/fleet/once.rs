//! One-shots run once in the cluster: that one is done is written down, so that no other machine runs it again when its own is lost or
//! drained. A start that is asked for anew runs it anew. One that stays active once it is done (`RemainAfterExit=`) is for its machine, and
//! starts wherever it comes to.

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::layout::{Key, encode};
use super::memory::{Launched, Memory};
use super::types::{DesiredState, Machine, Unit};
use super::wanted::Wanted;
use crate::base::{LeaseId, MachineId};
use crate::kv::TxnRequest;
use crate::unit::value;

/// A one-shot has run to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The [`Unit::launch`] that it answered.
    pub launch: u64,
    pub machine: MachineId,
}

/// Whether a unit does its work once and is down then.
fn is_one_shot(unit: &Unit) -> bool {
    let remains = unit.text.last("Service", "RemainAfterExit");
    unit.text.last("Service", "Type").as_deref() == Some("oneshot")
        && !remains.is_some_and(|remains| value::boolean(&remains) == Ok(true))
}

/// Whether a unit has done what it was last started for, and is not to do it again on this machine.
pub(super) fn is_done(cluster: &Cluster, unit: &Unit, machine: &MachineId) -> bool {
    let Some(done) = cluster.done.get(&unit.name).filter(|done| done.launch == unit.launch && unit.launch > 0) else {
        return false;
    };
    let lost = done.machine != *machine && !cluster.machines.contains_key(&done.machine);
    is_one_shot(unit) && !(unit.requirements.placement.rerun && lost)
}

/// Units on this machine that seem to have done their work, and the start that they did it for: each is to be noted, if the executor has
/// nothing on its way for it.
pub fn finished(cluster: &Cluster, wanted: &[Wanted], memory: &Memory) -> Vec<(String, u64)> {
    let one = |wanted: &Wanted| {
        let name = &wanted.file.name;
        let (unit, local) = (cluster.units.get(name)?, memory.units.get(name)?);
        let held = local.held.as_ref().filter(|held| held.hash == wanted.file.hash)?;
        let launched = local.launched == Launched::At(wanted.launch) && wanted.desired == DesiredState::Launched;
        let rests = local.in_flight.is_none() && held.state.active == "inactive";
        let fresh = cluster.done.get(name).is_none_or(|done| done.launch != wanted.launch);
        let global = unit.requirements.global;
        (launched && rests && fresh && !global && is_one_shot(unit)).then(|| (name.clone(), wanted.launch))
    };
    wanted.iter().filter_map(one).collect()
}

/// The transaction that notes that a unit is done, if the unit is as it was.
pub fn note(cluster: &Cluster, name: &str, launch: u64, machine: &Machine) -> TxnRequest {
    let unit = Key::Unit(name.to_owned());
    let done = Done { launch, machine: machine.id.clone() };
    TxnRequest {
        compare: vec![unit.unchanged(cluster.mod_revision(&unit))],
        success: vec![Key::Done(name.to_owned()).put(encode(&done), LeaseId::NONE)],
        failure: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::diff::{Task, diff};
    use super::super::executor::{ActiveState, Held};
    use super::super::testkit::{Store, id};
    use super::super::wanted::wanted;
    use super::*;

    const ONCE: &str = "[Service]\nType=oneshot\nExecStart=/bin/true\n";

    fn machine(name: &str) -> Machine {
        Machine { id: id(name), ..Machine::default() }
    }

    /// What `machine` does about a unit that it has loaded, or that it ran to its end: tasks of it.
    fn tasks(store: &Store, name: &str, ran: bool) -> Vec<Task> {
        let cluster = store.cluster();
        let wanted = wanted(&cluster, &machine(name));
        let state = ActiveState::of("loaded", "inactive", "dead");
        let held = wanted.iter().map(|unit| Held {
            name: unit.file.name.clone(),
            hash: unit.file.hash.clone(),
            state: state.clone(),
        });
        let mut memory = Memory::adopt(held.collect(), &cluster, &id(name));
        if ran {
            memory.issued(&Task::Adopt { name: "a.service".into(), launch: wanted[0].launch });
        }
        for (unit, launch) in finished(&cluster, &wanted, &memory) {
            assert!(store.clone().txn(&note(&cluster, &unit, launch, &machine(name))));
        }
        diff(&wanted, &memory, u64::MAX).unwrap()
    }

    fn store(fleet: &str) -> Store {
        let mut store = Store::default();
        store.machine("m1", &[]);
        store.machine("m2", &[]);
        store.text("a.service", &format!("{ONCE}[X-Fleet]\n{fleet}\n"), DesiredState::Launched);
        store.settle();
        assert_eq!(store.place("a.service"), "m1");
        store
    }

    fn run_to_its_end(store: &mut Store) {
        let cluster = store.cluster();
        let launch = cluster.units["a.service"].launch;
        assert!(store.txn(&note(&cluster, "a.service", launch, &machine("m1"))));
    }

    #[test]
    fn what_is_done_stays_done_when_its_machine_is_lost_or_drained() {
        for (lines, leaves, runs) in [
            ("", Store::lose as fn(&mut Store, &str), false),
            ("Rerun=no", Store::lose, false),
            ("Rerun=on-loss", Store::lose, true),
            ("Rerun=on-loss", |store, machine| store.cordon(machine, Some(1)), false),
        ] {
            let mut store = store(lines);
            assert!(matches!(tasks(&store, "m1", false).as_slice(), [Task::Start { .. }]));
            run_to_its_end(&mut store);
            leaves(&mut store, "m1");
            store.settle();
            assert_eq!(store.place("a.service"), "m2", "{lines}");
            let tasks = tasks(&store, "m2", false);
            assert_eq!(matches!(tasks.as_slice(), [Task::Start { .. }]), runs, "{lines}: {tasks:?}");
            assert_eq!(matches!(tasks.as_slice(), [Task::Adopt { .. }]), !runs, "{lines}: {tasks:?}");
        }
    }

    #[test]
    fn what_was_not_done_runs_elsewhere_and_a_new_start_runs_anew() {
        let mut store = store("");
        store.lose("m1");
        store.settle();
        assert!(matches!(tasks(&store, "m2", false).as_slice(), [Task::Start { .. }]));
        run_to_its_end(&mut store);
        assert!(matches!(tasks(&store, "m2", false).as_slice(), [Task::Adopt { .. }]));
        store.text("a.service", ONCE, DesiredState::Launched);
        assert!(matches!(tasks(&store, "m2", false).as_slice(), [Task::Start { .. }]));
    }

    #[test]
    fn only_one_shots_that_rest_after_their_start_are_finished() {
        let finished = |text: &str, active: &str, launched: bool| {
            let mut store = Store::default();
            store.machine("m1", &[]);
            store.text("a.service", text, DesiredState::Launched);
            store.settle();
            let cluster = store.cluster();
            let wanted = wanted(&cluster, &machine("m1"));
            let state = ActiveState::of("loaded", active, "");
            let held = Held { name: "a.service".into(), hash: wanted[0].file.hash.clone(), state };
            let mut memory = Memory::adopt(vec![held], &cluster, &id("m1"));
            if launched {
                memory.issued(&Task::Adopt { name: "a.service".into(), launch: wanted[0].launch });
            }
            !super::finished(&cluster, &wanted, &memory).is_empty()
        };
        assert!(finished(ONCE, "inactive", true));
        assert!(!finished(ONCE, "inactive", false));
        assert!(!finished(ONCE, "activating", true));
        assert!(!finished(ONCE, "failed", true));
        assert!(!finished(&format!("{ONCE}RemainAfterExit=yes\n"), "inactive", true));
        assert!(!finished("[Service]\nExecStart=/bin/true\n", "inactive", true));
    }
}
