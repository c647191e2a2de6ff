//! Exclusive units while machines are cut off, held up, restarted and drained and engines act late: never on two machines.
//! A world of three machines and two engines in simulated time, with the real planner, agent's decisions and transactions.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::super::diff::diff;
use super::super::executor::{ActiveState, Held, StateChange};
use super::super::memory::Memory;
use super::super::plan::plan_at;
use super::super::testkit::{Store, id};
use super::super::transactions::transactions;
use super::super::wanted::wanted;
use super::*;
use crate::base::UnixMillis;

const TICK_MS: u64 = 100;
const TTL_MS: u64 = 3_000;
const UNIT: &str = "a.service";
/// How far from the true length of a second machines' clocks are, in millionths.
const DRIFT: [i64; 3] = [0, 800, -800];

/// What a machine's supervisor has of the unit; it goes on whatever becomes of the node.
#[derive(Clone, Default)]
struct Supervisor {
    hash: Option<String>,
    runs: bool,
    /// Of one that is being stopped: when it is down, by its machine's clock.
    down_at: Option<u64>,
    until: u64,
    unloading: bool,
    /// Starts on their way to it, and when each arrives.
    starts: Vec<u64>,
}

struct Node {
    memory: Memory,
    view: Rc<Cluster>,
    tenure: Option<Tenure>,
    asked: Option<u64>,
    allowances: Allowances,
}

struct Host {
    record: Machine,
    supervisor: Supervisor,
    node: Option<Node>,
    cut_off: bool,
    paused: bool,
    drift: i64,
}

#[derive(Default)]
struct Engine {
    view: Rc<Cluster>,
    absences: Absences,
    behind: bool,
}

struct World {
    now: u64,
    store: Store,
    latest: Rc<Cluster>,
    leases: BTreeMap<LeaseId, (usize, u64)>,
    hosts: Vec<Host>,
    engines: Vec<Engine>,
    /// Changes of machines' records, with their revisions.
    presences: Vec<(i64, Key)>,
    /// How long a stop takes.
    stop_ms: u64,
    /// Supervisors do not mind the time.
    lawless: bool,
    overlaps: u32,
    starts: BTreeSet<usize>,
}

impl World {
    fn new(stop_ms: u64) -> Self {
        let mut store = Store::default();
        store.launched(UNIT, "Exclusive=true");
        let host = |at: usize| {
            let record = Machine { id: id(&format!("m{at}")), owner: format!("o{at}"), ..Machine::default() };
            let supervisor = Supervisor::default();
            Host { record, supervisor, node: None, cut_off: false, paused: false, drift: DRIFT[at] }
        };
        let latest = Rc::new(store.cluster());
        Self {
            now: 1_000,
            hosts: (0..3).map(host).collect(),
            store,
            latest,
            leases: BTreeMap::new(),
            engines: vec![Engine::default(), Engine::default()],
            presences: Vec::new(),
            stop_ms,
            lawless: false,
            overlaps: 0,
            starts: BTreeSet::new(),
        }
    }

    fn changed(&mut self) {
        if self.latest.revision != self.store.revision {
            self.latest = Rc::new(self.store.cluster());
        }
    }

    fn tick(&mut self) {
        self.now += TICK_MS;
        let over: Vec<LeaseId> =
            self.leases.iter().filter(|(_, (_, end))| *end <= self.now).map(|(id, _)| *id).collect();
        for lease in over {
            let (at, _) = self.leases.remove(&lease).unwrap();
            // The record has moved to a newer lease, perhaps.
            if !self.leases.values().any(|(other, _)| *other == at) {
                let key = Key::Machine(self.hosts[at].record.id.clone());
                self.store.lose(&self.hosts[at].record.id.0.clone());
                self.presences.push((self.store.revision, key));
            }
        }
        self.changed();
        for at in 0..self.hosts.len() {
            self.supervise(at);
            if !self.hosts[at].paused {
                self.node(at);
            }
        }
        for at in 0..self.engines.len() {
            self.engine(at);
        }
        if self.hosts.iter().filter(|host| host.supervisor.runs).count() > 1 {
            self.overlaps += 1;
        }
    }

    fn local(&self, at: usize) -> u64 {
        let drift = i64::try_from(self.now).unwrap() * self.hosts[at].drift / 1_000_000;
        self.now.checked_add_signed(drift).unwrap()
    }

    fn supervise(&mut self, at: usize) {
        let (local, stop_ms) = (self.local(at), self.stop_ms);
        let host = &mut self.hosts[at].supervisor;
        if host.starts.iter().any(|arrives| *arrives <= local) {
            host.starts.clear();
            let may = host.hash.is_some() && host.down_at.is_none() && !host.unloading && local < host.until;
            if may && !host.runs {
                host.runs = true;
                self.starts.insert(at);
            }
        }
        if !self.lawless
            && host.runs
            && local >= host.until
            && host.down_at.is_none_or(|down| down > host.until + FENCE_STOP_MS)
        {
            host.down_at = Some(host.until + stop_ms.min(FENCE_STOP_MS));
        }
        if host.down_at.is_some_and(|down| down <= local) {
            host.runs = false;
            host.down_at = None;
        }
        if host.unloading && !host.runs {
            *host = Supervisor::default();
        }
    }

    fn node(&mut self, at: usize) {
        let local = self.local(at);
        let connected = !self.hosts[at].cut_off;
        let latest = self.latest.clone();
        let held = self.hosts[at].supervisor.held();
        let record = self.hosts[at].record.clone();
        let Some(mut node) = self.hosts[at].node.take() else {
            if connected {
                let memory = Memory::adopt(held.into_iter().collect(), &latest, &record.id);
                self.hosts[at].node =
                    Some(Node { memory, view: latest, tenure: None, asked: None, allowances: Allowances::default() });
            }
            return;
        };
        let change = StateChange { name: UNIT.to_owned(), state: held.map(|held| held.state) };
        node.memory.changed(&change);
        if connected {
            node.view = latest;
            if node.asked.is_none_or(|asked| asked + TTL_MS / 3 <= local) {
                self.keep_alive(at, local, &mut node);
            }
        }
        let mut wishes = wanted(&node.view, &record);
        let fence = Fence::of(&node.view, &record, &mut wishes, node.tenure, BootMillis(local));
        if fence.may_run.contains(UNIT) && self.hosts[at].supervisor.hash.is_some() {
            let until = node.tenure.unwrap().until.0;
            node.allowances.tell(&[UNIT.to_owned()], &node.memory, BootMillis(until), BootMillis(local));
            let supervisor = &mut self.hosts[at].supervisor;
            supervisor.until = supervisor.until.max(until);
        }
        node.allowances.settle(&mut node.memory, BootMillis(local));
        for task in diff(&wishes, &node.memory, node.view.head.generation).unwrap_or_default() {
            if fence.spares(&task, &node.view, &node.memory, &node.allowances, BootMillis(local)) {
                continue;
            }
            node.memory.issued(&task);
            let supervisor = &mut self.hosts[at].supervisor;
            match &task {
                Task::Load { units } => {
                    supervisor.hash = Some(units[0].hash.clone());
                    node.memory.loaded(UNIT, &units[0].hash, Ok(()));
                    continue;
                }
                // The order may be late.
                Task::Start { .. } => supervisor.starts.push(local + self.now % 7 * 500),
                Task::Stop { .. } => supervisor.stop(local + self.stop_ms),
                Task::Unload { .. } => {
                    supervisor.stop(local + self.stop_ms);
                    supervisor.unloading = true;
                }
                Task::Adopt { .. } => {}
            }
            node.memory.answered(&task, Ok(()));
        }
        if let Some(tenure) = node.tenure.filter(|_| connected) {
            for txn in claims(&node.view, &record, &node.memory, tenure) {
                self.store.txn(&txn);
            }
        }
        self.changed();
        self.hosts[at].node = Some(node);
    }

    /// As the presence job does it.
    fn keep_alive(&mut self, at: usize, local: u64, node: &mut Node) {
        node.asked = Some(local);
        let end = self.now + TTL_MS;
        let own =
            |leases: &BTreeMap<LeaseId, (usize, u64)>| leases.iter().find(|(_, (of, _))| *of == at).map(|(id, _)| *id);
        let lease = match own(&self.leases) {
            // A node that was started again goes on with the lease of its earlier life.
            Some(lease) => lease,
            None => {
                let lease = LeaseId(self.store.revision + 1);
                let key = Key::Machine(self.hosts[at].record.id.clone());
                self.store.put(&key, encode(&self.hosts[at].record));
                self.presences.push((self.store.revision, key));
                lease
            }
        };
        self.leases.insert(lease, (at, end));
        node.tenure = Some(Tenure { lease, until: BootMillis(local + TTL_MS) });
        self.changed();
    }

    fn engine(&mut self, at: usize) {
        let engine = &mut self.engines[at];
        let mut changed = Vec::new();
        if !engine.behind {
            let since = engine.view.revision;
            changed =
                self.presences.iter().filter(|(revision, _)| *revision > since).map(|(_, key)| key.clone()).collect();
            engine.view = self.latest.clone();
        }
        engine.absences.look(&engine.view, &changed, self.now);
        let plan = plan_at(&engine.view, UnixMillis(0), &engine.absences);
        for txn in transactions(&plan, 128) {
            if !self.store.txn(&txn) {
                break;
            }
        }
        self.changed();
    }

    fn act(&mut self, action: u8, at: usize) {
        let name = self.hosts[at].record.id.0.clone();
        match action {
            0 => self.hosts[at].cut_off = true,
            1 => self.hosts[at].cut_off = false,
            2 => self.hosts[at].paused = true,
            3 => self.hosts[at].paused = false,
            // The node is killed; it comes up again with the next tick in which it is connected.
            4 => self.hosts[at].node = None,
            5 => self.store.cordon(&name, Some(1)),
            6 => self.store.uncordon(&name),
            7 => self.engines[at % 2].behind = true,
            8 => self.engines[at % 2].behind = false,
            // A new leader.
            9 => self.engines[at % 2] = Engine::default(),
            10 => self.store.destroy(UNIT),
            11 => self.store.launched(UNIT, "Exclusive=true"),
            12 => self.store.launched(UNIT, "Exclusive=true\nWeight=2"),
            // Power is lost, and back at once.
            _ => {
                self.hosts[at].supervisor = Supervisor::default();
                self.hosts[at].node = None;
            }
        }
        self.changed();
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.tick();
        }
    }

    fn running(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|at| self.hosts[*at].supervisor.runs).collect()
    }

    /// Everything is well again.
    fn heal(&mut self) {
        for at in 0..self.hosts.len() {
            for action in [1, 3, 6, 8] {
                self.act(action, at);
            }
        }
        if !self.latest.units.contains_key(UNIT) {
            self.act(11, 0);
        }
    }
}

impl Supervisor {
    fn stop(&mut self, down_at: u64) {
        if self.runs {
            self.down_at = Some(self.down_at.map_or(down_at, |known| known.min(down_at)));
        }
        self.starts.clear();
    }

    fn held(&self) -> Option<Held> {
        let active = match (self.runs, self.down_at) {
            (true, None) => "active",
            (true, Some(_)) => "deactivating",
            (false, _) => "inactive",
        };
        let state = ActiveState::of("loaded", active, "");
        Some(Held { name: UNIT.to_owned(), hash: self.hash.clone()?, state })
    }
}

#[test]
fn a_machine_that_is_cut_off_stops_before_another_starts() {
    for stop_ms in [0, 2_000, 60_000] {
        let mut world = World::new(stop_ms);
        world.run(10_000);
        let first = world.running();
        assert_eq!(first.len(), 1);
        world.act(0, first[0]);
        world.run(2_000);
        assert_eq!(world.running(), first, "a short cut costs nothing");
        world.run(TTL_MS + FENCE_STOP_MS);
        assert!(world.running().is_empty(), "{stop_ms}");
        world.run(HOLD_MS);
        let second = world.running();
        assert!(second.len() == 1 && second != first, "{second:?}");
        world.act(1, first[0]);
        world.run(20_000);
        assert_eq!((world.running(), world.overlaps), (second, 0));
    }
}

#[test]
fn the_world_notices_a_supervisor_that_does_not_mind_the_time() {
    let mut world = World::new(0);
    world.lawless = true;
    world.run(10_000);
    let first = world.running();
    world.act(2, first[0]);
    world.run(TTL_MS + HOLD_MS + 5_000);
    assert!(world.overlaps > 0);
}

#[test]
fn a_restart_of_the_node_or_of_the_leader_stops_nothing() {
    let mut world = World::new(0);
    world.run(10_000);
    let first = world.running();
    world.starts.clear();
    for action in [4, 9, 9] {
        world.act(action, first[0]);
        world.act(action, first[0] + 1);
        world.run(20_000);
    }
    assert_eq!(world.running(), first);
    assert!(world.starts.is_empty());
}

#[test]
fn what_was_stopped_by_a_cut_that_was_over_soon_is_started_again() {
    for cut_ms in (2_500..4_500).step_by(100) {
        let mut world = World::new(2_000);
        world.run(10_000);
        let first = world.running();
        world.act(0, first[0]);
        world.run(cut_ms);
        world.act(1, first[0]);
        world.run(30_000);
        assert_eq!((world.running().len(), world.overlaps), (1, 0), "{cut_ms}");
    }
}

#[test]
fn a_drained_machine_gives_it_back_before_it_starts_elsewhere() {
    let mut world = World::new(5_000);
    world.run(10_000);
    let first = world.running();
    world.act(5, first[0]);
    world.run(4_000);
    assert_eq!(world.running(), first);
    world.run(10_000);
    let second = world.running();
    assert!(second.len() == 1 && second != first);
    assert_eq!(world.overlaps, 0);
}

#[test]
fn a_machine_id_used_by_another_host_inherits_no_claim() {
    let mut store = Store::default();
    store.launched(UNIT, "Exclusive=true");
    let put = |store: &mut Store, owner: &str| {
        let record = Machine { id: id("m1"), owner: owner.to_owned(), ..Machine::default() };
        store.put(&Key::Machine(id("m1")), encode(&record));
        record
    };
    let record = put(&mut store, "first");
    store.settle();
    let tenure = Tenure { lease: LeaseId(7), until: BootMillis(9) };
    for claim in claims(&store.cluster(), &record, &Memory::default(), tenure) {
        assert!(store.txn(&claim));
    }
    let twin = put(&mut store, "second");
    assert!(claims(&store.cluster(), &twin, &Memory::default(), tenure).is_empty());
    let mut absences = Absences::default();
    absences.look(&store.cluster(), &[], 0);
    let early = plan_at(&store.cluster(), UnixMillis(0), &absences);
    assert!(early.decisions.is_empty());
    assert_eq!(early.look_again_ms, Some(HOLD_MS));
    assert_eq!(early.waiting.len(), 1);
    absences.look(&store.cluster(), &[], HOLD_MS);
    for txn in transactions(&plan_at(&store.cluster(), UnixMillis(0), &absences), 128) {
        assert!(store.txn(&txn));
    }
    assert_eq!(claims(&store.cluster(), &twin, &Memory::default(), tenure).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn never_on_two_machines_and_on_one_again_when_all_is_well(
        stop_ms in prop_oneof![Just(0), Just(3_000), Just(60_000)],
        steps in prop::collection::vec((0u8..14, 0usize..3, 1u64..80), 5..40),
    ) {
        let mut world = World::new(stop_ms);
        world.run(3_000);
        for (action, at, ticks) in &steps {
            world.act(*action, *at);
            world.run(*ticks * TICK_MS);
            prop_assert_eq!(world.overlaps, 0, "after {:?}", (action, at, ticks));
        }
        world.heal();
        world.run(60_000 + 2 * stop_ms);
        prop_assert_eq!((world.running().len(), world.overlaps), (1, 0));
    }
}
