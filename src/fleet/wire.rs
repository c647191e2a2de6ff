//! fleet's API v1 in JSON: field names and their order, empty fields left out, as the original writes them.
//! Source: schema/v1.json of fleet 1.0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::types::{Machine, PublishedState, Unit, UnitState};
use crate::base::MachineId;
use crate::unit::UnitOption;

/// `Machine`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineJson {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(rename = "primaryIP", skip_serializing_if = "String::is_empty")]
    pub primary_ip: String,
}

/// `UnitOption`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptionJson {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub section: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// `Unit`: what is read; of it `desiredState`, `options` and `name` may be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UnitJson {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub desired_state: String,
    #[serde(rename = "machineID", skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub options: Vec<OptionJson>,
}

/// `UnitState`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitStateJson {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    #[serde(rename = "machineID", skip_serializing_if = "String::is_empty")]
    pub machine_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Not in the original: what the machine could not do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// Not in the original: the problem is only that its start waits for another unit's.
    #[serde(rename = "putOff", skip_serializing_if = "std::ops::Not::not")]
    pub put_off: bool,
    #[serde(rename = "systemdActiveState", skip_serializing_if = "String::is_empty")]
    pub active: String,
    #[serde(rename = "systemdLoadState", skip_serializing_if = "String::is_empty")]
    pub load: String,
    #[serde(rename = "systemdSubState", skip_serializing_if = "String::is_empty")]
    pub sub: String,
}

fn null_as_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

impl From<&Machine> for MachineJson {
    fn from(machine: &Machine) -> Self {
        Self { id: machine.id.0.clone(), metadata: machine.metadata.clone(), primary_ip: machine.primary_ip.clone() }
    }
}

impl From<&UnitOption> for OptionJson {
    fn from(option: &UnitOption) -> Self {
        Self { name: option.name.clone(), section: option.section.clone(), value: option.value.clone() }
    }
}

impl From<&OptionJson> for UnitOption {
    fn from(option: &OptionJson) -> Self {
        UnitOption::new(&option.section, &option.name, &option.value)
    }
}

/// The machines, by id.
pub fn machines(cluster: &Cluster) -> Vec<MachineJson> {
    cluster.machines.values().map(MachineJson::from).collect()
}

/// The units, by name.
pub fn units(cluster: &Cluster) -> Vec<UnitJson> {
    cluster.units.values().map(|u| of_unit(cluster, u)).collect()
}

/// One unit.
pub fn unit(cluster: &Cluster, name: &str) -> Option<UnitJson> {
    cluster.units.get(name).map(|u| of_unit(cluster, u))
}

fn of_unit(cluster: &Cluster, unit: &Unit) -> UnitJson {
    let current = cluster.current_state(&unit.name);
    let scheduled = cluster.schedule.get(&unit.name);
    let target = scheduled.filter(|_| !unit.requirements.global);
    UnitJson {
        current_state: current.map(|s| s.to_string()).unwrap_or_default(),
        desired_state: unit.desired.to_string(),
        machine_id: target.map(|s| s.machine.0.clone()).unwrap_or_default(),
        name: unit.name.clone(),
        options: unit.text.options().iter().map(OptionJson::from).collect(),
    }
}

/// The states that machines publish, by unit and machine; of one unit or machine only, where given.
pub fn states(cluster: &Cluster, unit: Option<&str>, machine: Option<&MachineId>) -> Vec<UnitStateJson> {
    let of_units = cluster.states.iter().filter(|(name, _)| unit.is_none_or(|u| u == *name));
    let all = of_units.flat_map(|(name, by_machine)| by_machine.iter().map(move |(id, state)| (name, id, state)));
    all.filter(|(_, id, _)| machine.is_none_or(|m| m == *id))
        .map(|(name, id, state)| of_state(name, id, state))
        .collect()
}

fn of_state(name: &str, machine: &MachineId, state: &UnitState) -> UnitStateJson {
    let PublishedState { load, active, sub } = state.state.clone();
    UnitStateJson {
        hash: state.hash.clone(),
        machine_id: machine.0.clone(),
        name: name.to_owned(),
        problem: state.problem.clone().unwrap_or_default(),
        put_off: state.put_off,
        active,
        load,
        sub,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testkit::{Store, id};
    use super::super::types::DesiredState;
    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn json_as_fleets_keys_in_order_and_empty_ones_left_out() {
        let mut store = Store::default();
        store.machine("m1", &[("a", "b")]);
        store.machine("m2", &[]);
        store.unit("a.service", "Conflicts=", DesiredState::Loaded);
        store.launched("g.service", "Global=true");
        store.settle();
        let state = UnitState {
            hash: "h".into(),
            state: PublishedState { load: "loaded".into(), active: "inactive".into(), sub: "dead".into() },
            ..UnitState::default()
        };
        store.state("a.service", "m1", &state);
        store.state("a.service", "m2", &state);
        let cluster = store.cluster();
        assert_eq!(json(&machines(&cluster)), r#"[{"id":"m1","metadata":{"a":"b"}},{"id":"m2"}]"#);
        let machine = cluster.schedule["a.service"].machine.clone();
        let current = "loaded";
        assert_eq!(
            json(&unit(&cluster, "a.service").unwrap()),
            format!(
                r#"{{"currentState":"{current}","desiredState":"loaded","machineID":"{machine}","name":"a.service","options":[{{"name":"ExecStart","section":"Service","value":"/bin/sleep 1"}},{{"name":"Conflicts","section":"X-Fleet"}}]}}"#
            )
        );
        let global = unit(&cluster, "g.service").unwrap();
        assert_eq!((global.current_state.as_str(), global.machine_id.as_str()), ("", ""));
        assert_eq!(
            json(&states(&cluster, Some("a.service"), Some(&id("m2")))),
            r#"[{"hash":"h","machineID":"m2","name":"a.service","systemdActiveState":"inactive","systemdLoadState":"loaded","systemdSubState":"dead"}]"#
        );
        assert_eq!(states(&cluster, None, None).len(), 2);
        assert_eq!(states(&cluster, Some("b.service"), None), []);
        let body: UnitJson = serde_json::from_str(r#"{"desiredState":"launched","options":null,"extra":1}"#).unwrap();
        assert_eq!((body.desired_state.as_str(), body.options.len()), ("launched", 0));
    }
}
