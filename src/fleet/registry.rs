//! The cluster as a fleet of old kept it in etcd: the keys below `/_coreos.com/fleet` with its JSON, for scripts that read them. Made of the
//! cluster each time it is asked for; nothing of it is stored.
//!
//! | key | value |
//! | --- | --- |
//! | `machines/ID/object` | what the machine announces |
//! | `machines/ID/metadata/KEY` | metadata changed at run time; empty: taken away |
//! | `unit/SHA1` | the text of each unit, by the hash of it |
//! | `job/NAME/object`, `job/NAME/target-state` | a unit, and what is wanted of it |
//! | `job/NAME/target`, `job/NAME/job-state` | the machine that it is scheduled on, and the one that has started it |
//! | `state/NAME`, `states/NAME/ID` | what systemd says of it, on one machine and on each |
//! | `lease/engine-leader`, `engine/version` | who plans |
//!
//! Source: registry/*.go of fleet 1.0.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cluster::Cluster;
use super::layout::Key;
use super::types::{DesiredState, Machine, Unit, UnitState};
use crate::base::{MachineId, MemberId};

/// Where the keys lie in etcd's v2 API.
pub const PREFIX: &str = "/_coreos.com/fleet";

/// `machine.MachineState`
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MachineObject<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "PublicIP")]
    public_ip: &'a str,
    metadata: Option<&'a BTreeMap<String, String>>,
    capabilities: Option<Capabilities>,
    version: &'a str,
}

/// What a machine's fleetd can do: plan, and speak gRPC to other ones.
#[derive(Serialize)]
struct Capabilities {
    #[serde(rename = "DISABLE_ENGINE")]
    disable_engine: bool,
    #[serde(rename = "GRPC")]
    grpc: bool,
}

/// `jobModel`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Job<'a> {
    name: &'a str,
    unit_hash: Vec<u8>,
}

/// `unitModel`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Text {
    raw: String,
}

/// `unitStateModel`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    load_state: &'a str,
    active_state: &'a str,
    sub_state: &'a str,
    machine_state: MachineObject<'a>,
    unit_hash: &'a str,
}

/// `leaseModel`
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EngineLease<'a> {
    #[serde(rename = "MachineID")]
    machine_id: &'a str,
    version: u32,
}

/// A key's value, and the revision of the system space in which it came to be what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: String,
    pub revision: i64,
}

/// All keys, below [`PREFIX`] and without it, in their order. `leader` is the member that plans.
pub fn registry(cluster: &Cluster, leader: Option<MemberId>) -> BTreeMap<String, Entry> {
    let mut keys = Keys { cluster, found: BTreeMap::new() };
    cluster.machines.values().for_each(|machine| keys.machine(machine));
    for (id, changed) in &cluster.overrides {
        for (name, value) in changed {
            keys.put(
                &format!("machines/{id}/metadata/{name}"),
                value.clone(),
                &Key::Metadata(id.clone(), name.clone()),
            );
        }
    }
    cluster.units.values().for_each(|unit| keys.unit(unit));
    for (name, states) in &cluster.states {
        let target = cluster.schedule.get(name).map(|scheduled| &scheduled.machine);
        for (id, state) in states {
            keys.state(&format!("states/{name}/{id}"), name, id, state);
        }
        let one = target.and_then(|id| states.get_key_value(id)).or_else(|| states.last_key_value());
        if let Some((id, state)) = one {
            keys.state(&format!("state/{name}"), name, id, state);
        }
    }
    let planner = cluster.machines.values().find(|machine| Some(machine.member) == leader && machine.member.0 != 0);
    if let Some(machine) = planner {
        let lease = EngineLease { machine_id: &machine.id.0, version: 1 };
        keys.put("lease/engine-leader", json(&lease), &Key::Machine(machine.id.clone()));
    }
    keys.put("engine/version", "1".to_owned(), &Key::Plan);
    keys.found
}

struct Keys<'a> {
    cluster: &'a Cluster,
    found: BTreeMap<String, Entry>,
}

impl Keys<'_> {
    fn put(&mut self, path: &str, value: String, of: &Key) {
        let revision = self.cluster.mod_revision(of);
        self.found.insert(format!("/{path}"), Entry { value, revision });
    }

    fn machine(&mut self, machine: &Machine) {
        let object = MachineObject {
            id: &machine.id.0,
            public_ip: &machine.primary_ip,
            metadata: Some(&machine.metadata),
            capabilities: Some(Capabilities { disable_engine: false, grpc: false }),
            version: &machine.version,
        };
        self.put(&format!("machines/{}/object", machine.id), json(&object), &Key::Machine(machine.id.clone()));
    }

    fn unit(&mut self, unit: &Unit) {
        let (name, key) = (&unit.name, Key::Unit(unit.name.clone()));
        self.put(&format!("unit/{}", unit.hash), json(&Text { raw: unit.text.to_string() }), &key);
        let job = Job { name, unit_hash: bytes(&unit.hash) };
        self.put(&format!("job/{name}/object"), json(&job), &key);
        self.put(&format!("job/{name}/target-state"), unit.desired.to_string(), &key);
        let Some(scheduled) = self.cluster.schedule.get(name) else { return };
        let machine = scheduled.machine.to_string();
        self.put(&format!("job/{name}/target"), machine.clone(), &Key::Schedule(name.clone()));
        if self.cluster.current_state(name) == Some(DesiredState::Launched) {
            let key = Key::State(name.clone(), scheduled.machine.clone());
            self.put(&format!("job/{name}/job-state"), machine, &key);
        }
    }

    fn state(&mut self, path: &str, unit: &str, machine: &MachineId, state: &UnitState) {
        let model = State {
            load_state: &state.state.load,
            active_state: &state.state.active,
            sub_state: &state.state.sub,
            machine_state: MachineObject { id: &machine.0, ..MachineObject::default() },
            unit_hash: &state.hash,
        };
        self.put(path, json(&model), &Key::State(unit.to_owned(), machine.clone()));
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // Maps with string keys and plain structs: serde_json has no way to fail on them.
    serde_json::to_string(value).unwrap_or_default()
}

/// The bytes that hex digits stand for; a hash of ours has nothing else.
fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::super::layout::encode;
    use super::super::testkit::{Store, id};
    use super::*;

    #[test]
    fn etcd_v2_key_layout() {
        let mut store = Store::default();
        let machine = Machine {
            id: id("m1"),
            primary_ip: "10.0.0.1".into(),
            metadata: [("region".to_owned(), "r1".to_owned())].into(),
            member: MemberId(7),
            version: "1.2.3".into(),
            ..Machine::default()
        };
        store.put(&Key::Machine(id("m1")), encode(&machine));
        store.put(&Key::Metadata(id("m1"), "zone".into()), encode(&"b"));
        // The text whose hash is known from fleet itself.
        let text = "[Service]\nExecStart=/bin/bash -c \"while true; do echo Hello, World!; sleep 1; done\"\n";
        store.text("a.service", text, DesiredState::Launched);
        store.text("idle.service", text, DesiredState::Inactive);
        store.text("g.service", "[X-Fleet]\nGlobal=true\n", DesiredState::Launched);
        store.settle();
        let cluster = store.cluster();
        let (hash, global) = (&cluster.units["a.service"].hash, &cluster.units["g.service"].hash);
        let state = UnitState { hash: hash.clone(), launched: cluster.units["a.service"].launch, ..state() };
        store.state("a.service", "m1", &state);
        store.state("g.service", "m1", &UnitState { hash: global.clone(), ..state });
        let states = |hash: &str| {
            format!(
                r#"{{"loadState":"loaded","activeState":"active","subState":"running","machineState":{{"ID":"m1","PublicIP":"","Metadata":null,"Capabilities":null,"Version":""}},"unitHash":"{hash}"}}"#
            )
        };
        let object = |name: &str, hash: &str| {
            format!(r#"{{"Name":"{name}","UnitHash":{}}}"#, format!("{:?}", bytes(hash)).replace(' ', ""))
        };
        let expected = [
            ("/engine/version", "1".to_owned()),
            ("/job/a.service/job-state", "m1".to_owned()),
            ("/job/a.service/object", object("a.service", hash)),
            ("/job/a.service/target", "m1".to_owned()),
            ("/job/a.service/target-state", "launched".to_owned()),
            ("/job/g.service/object", object("g.service", global)),
            ("/job/g.service/target-state", "launched".to_owned()),
            ("/job/idle.service/object", object("idle.service", hash)),
            ("/job/idle.service/target-state", "inactive".to_owned()),
            ("/lease/engine-leader", r#"{"MachineID":"m1","Version":1}"#.to_owned()),
            ("/machines/m1/metadata/zone", "b".to_owned()),
            (
                "/machines/m1/object",
                r#"{"ID":"m1","PublicIP":"10.0.0.1","Metadata":{"region":"r1","zone":"b"},"Capabilities":{"DISABLE_ENGINE":false,"GRPC":false},"Version":"1.2.3"}"#
                    .to_owned(),
            ),
            ("/state/a.service", states(hash)),
            ("/state/g.service", states(global)),
            ("/states/a.service/m1", states(hash)),
            ("/states/g.service/m1", states(global)),
            (
                "/unit/3750b3e9f3962a56c7582929426e9abb012754cf",
                r#"{"Raw":"[Service]\nExecStart=/bin/bash -c \"while true; do echo Hello, World!; sleep 1; done\"\n"}"#
                    .to_owned(),
            ),
        ];
        let mut found = registry(&store.cluster(), Some(MemberId(7)));
        let text_of_global = found.remove(&format!("/unit/{global}"));
        assert_eq!(text_of_global.map(|entry| entry.value).as_deref(), Some(r#"{"Raw":"[X-Fleet]\nGlobal=true\n"}"#));
        let found: Vec<(&str, &str)> = found.iter().map(|(key, entry)| (key.as_str(), entry.value.as_str())).collect();
        let expected: Vec<(&str, &str)> = expected.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(found, expected);
    }

    fn state() -> UnitState {
        let mut state = UnitState::default();
        (state.state.load, state.state.active, state.state.sub) = ("loaded".into(), "active".into(), "running".into());
        state
    }

    #[test]
    fn what_is_not_there_has_no_keys() {
        let found: Vec<String> = registry(&Cluster::default(), None).into_keys().collect();
        assert_eq!(found, ["/engine/version"]);
    }
}
