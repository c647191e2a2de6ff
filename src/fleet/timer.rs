//! Timers run what they are for once in the cluster, wherever they are: when a timer with `Persistent=` has last elapsed is written down, so
//! that the machine it comes to goes on from there. What was due while no machine had it is run at once, and once; what another
//! machine has run already is not run again. Timers without it skip what they missed, as under systemd alone.

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::diff::Task;
use super::layout::{Key, encode};
use super::memory::{Launched, Memory};
use super::types::Unit;
use super::wanted::Wanted;
use crate::base::{LeaseId, UnixMillis};
use crate::kv::TxnRequest;
use crate::unit::value;

/// When a timer has last elapsed in the cluster; of one that has not yet, since when it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elapsed {
    pub at: UnixMillis,
}

/// Whether the cluster keeps in mind when a unit has last elapsed. A global timer has a life of its own on each machine, where systemd
/// sees to it.
fn is_kept(unit: &Unit) -> bool {
    let persistent = unit.text.last("Timer", "Persistent");
    unit.name.ends_with(".timer")
        && !unit.requirements.global
        && persistent.is_some_and(|persistent| value::boolean(&persistent) == Ok(true))
}

/// Of a task that starts a timer: when that counts as having last elapsed. One that is new to the cluster begins now, whatever its machine
/// remembers of an earlier one of its name.
pub fn resumes(cluster: &Cluster, task: &Task, now: UnixMillis) -> Option<UnixMillis> {
    let Task::Start { name, .. } = task else { return None };
    let unit = cluster.units.get(name).filter(|unit| is_kept(unit))?;
    Some(cluster.elapsed.get(&unit.name).map_or(now, |elapsed| elapsed.at))
}

/// Timers on this machine that have elapsed since that was last written down, and when. One that was started counts as having elapsed when
/// it was told to [resume](super::executor::Executor::resume) from.
pub fn elapsed(cluster: &Cluster, wanted: &[Wanted], memory: &Memory) -> Vec<(String, UnixMillis)> {
    let one = |wanted: &Wanted| {
        let name = &wanted.file.name;
        let (unit, local) = (cluster.units.get(name)?, memory.units.get(name)?);
        let held = local.held.as_ref().filter(|held| held.hash == wanted.file.hash)?;
        let started = local.launched == Launched::At(wanted.launch) && local.in_flight.is_none();
        let known = cluster.elapsed.get(name).map(|elapsed| elapsed.at);
        let news = held.state.elapsed.filter(|at| Some(*at) > known);
        news.filter(|_| started && is_kept(unit)).map(|at| (name.clone(), at))
    };
    wanted.iter().filter_map(one).collect()
}

/// The transaction that writes down when a timer has elapsed, if the unit is as it was.
pub fn note(cluster: &Cluster, name: &str, at: UnixMillis) -> TxnRequest {
    let unit = Key::Unit(name.to_owned());
    TxnRequest {
        compare: vec![unit.unchanged(cluster.mod_revision(&unit))],
        success: vec![Key::Elapsed(name.to_owned()).put(encode(&Elapsed { at }), LeaseId::NONE)],
        failure: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::executor::{ActiveState, Held};
    use super::super::operations::destroy_unit;
    use super::super::testkit::{Store, id};
    use super::super::types::{DesiredState, Machine};
    use super::super::wanted::wanted;
    use super::*;

    const DAILY: &str = "[Timer]\nOnCalendar=daily\nPersistent=yes\n";
    const NAME: &str = "a.timer";

    fn at(ms: i64) -> UnixMillis {
        UnixMillis(ms)
    }

    fn store(text: &str) -> Store {
        let mut store = Store::default();
        store.machine("m1", &[]);
        store.machine("m2", &[]);
        store.text(NAME, text, DesiredState::Launched);
        store.settle();
        store
    }

    /// A round of the agent on a machine where the timer was started and has last elapsed then; what it writes down.
    fn runs(store: &mut Store, machine: &str, elapsed_at: i64) -> Vec<(String, UnixMillis)> {
        let cluster = store.cluster();
        let wanted = wanted(&cluster, &Machine { id: id(machine), ..Machine::default() });
        let state = ActiveState { elapsed: Some(at(elapsed_at)), ..ActiveState::of("loaded", "active", "waiting") };
        let held = wanted.iter().map(|unit| Held {
            name: unit.file.name.clone(),
            hash: unit.file.hash.clone(),
            state: state.clone(),
        });
        let mut memory = Memory::adopt(held.collect(), &cluster, &id(machine));
        assert_eq!(elapsed(&cluster, &wanted, &memory), [], "it was not started yet");
        for unit in &wanted {
            memory.issued(&Task::Adopt { name: unit.file.name.clone(), launch: unit.launch });
        }
        let found = elapsed(&cluster, &wanted, &memory);
        for (name, at) in &found {
            assert!(store.txn(&note(&cluster, name, *at)));
        }
        found
    }

    fn start(store: &Store, now: i64) -> Option<UnixMillis> {
        let reason = super::super::diff::TaskReason::DesiredLaunched;
        resumes(&store.cluster(), &Task::Start { name: NAME.into(), launch: 1, reason }, at(now))
    }

    #[test]
    fn the_machine_that_a_timer_comes_to_goes_on_from_its_last_run() {
        let mut store = store(DAILY);
        assert_eq!(start(&store, 5), Some(at(5)), "new to the cluster");
        assert_eq!(runs(&mut store, "m1", 5), [(NAME.to_owned(), at(5))]);
        assert_eq!(runs(&mut store, "m1", 5), [], "said once");
        assert_eq!(start(&store, 9), Some(at(5)), "it has not elapsed yet, and is due since then");
        assert_eq!(runs(&mut store, "m1", 1_000), [(NAME.to_owned(), at(1_000))]);
        store.lose("m1");
        store.settle();
        assert_eq!(store.place(NAME), "m2");
        assert_eq!(start(&store, 2_000), Some(at(1_000)));
        assert_eq!(runs(&mut store, "m2", 1_000), []);
        assert_eq!(runs(&mut store, "m2", 2_002), [(NAME.to_owned(), at(2_002))]);
        // A machine whose clock is behind takes nothing back.
        assert_eq!(runs(&mut store, "m2", 2_000), []);
    }

    #[test]
    fn nothing_is_kept_of_timers_that_skip_what_they_missed_and_of_those_that_run_everywhere() {
        for text in [
            "[Timer]\nOnCalendar=daily\n",
            "[Timer]\nOnCalendar=daily\nPersistent=no\n",
            "[Timer]\nOnCalendar=daily\nPersistent=yes\n[X-Fleet]\nGlobal=true\n",
        ] {
            let mut store = store(text);
            assert_eq!(start(&store, 5), None, "{text}");
            assert_eq!(runs(&mut store, "m1", 7), [], "{text}");
        }
    }

    #[test]
    fn a_destroyed_timer_is_forgotten_and_a_changed_one_is_not() {
        let mut store = store(DAILY);
        runs(&mut store, "m1", 1_000);
        store.text(NAME, &format!("{DAILY}AccuracySec=1s\n"), DesiredState::Launched);
        assert_eq!(start(&store, 2_000), Some(at(1_000)));
        let destroy = destroy_unit(&store.cluster(), NAME).unwrap();
        assert!(store.txn(&destroy.transaction.unwrap()));
        store.text(NAME, DAILY, DesiredState::Launched);
        assert_eq!(start(&store, 3_000), Some(at(3_000)));
    }

    #[test]
    fn what_was_seen_of_an_older_unit_is_not_written_down() {
        let mut store = store(DAILY);
        let older = store.cluster();
        store.text(NAME, DAILY, DesiredState::Loaded);
        assert!(!store.txn(&note(&older, NAME, at(1))));
    }
}
