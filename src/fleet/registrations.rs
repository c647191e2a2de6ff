//! What a machine tells users' programs of its containers: `Register=`'s keys, and where the containers are reached.

use std::collections::BTreeMap;

use super::cluster::Cluster;
use super::types::{Health, Machine, UnitState};
use crate::unit::container::Port;
use crate::unit::register;

/// For each key the address and port of the container that is to be found there: those on `machine` that are active and well.
/// Where two ask for one key, the first by name has it.
pub fn registrations(cluster: &Cluster, machine: &Machine) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, states) in &cluster.states {
        let Some(state) = states.get(&machine.id).filter(|state| is_well(state)) else { continue };
        let (Some(unit), Some(port)) = (cluster.units.get(name), state.ports.first()) else { continue };
        let key = register::key(&unit.text, name, &machine.id.0);
        if let (Some(key), Some(address)) = (key, address(port, machine)) {
            found.entry(key).or_insert(address);
        }
    }
    found
}

fn is_well(state: &UnitState) -> bool {
    let checked = !matches!(state.health, Some(Health::Failing(_)));
    state.state.active == "active" && state.state.sub != "unhealthy" && checked
}

/// `HOST:PORT`: of the address that the port is bound to, where it is one, else of the machine.
fn address(port: &Port, machine: &Machine) -> Option<String> {
    let host = port.one_address().map_or_else(|| machine.primary_ip.clone(), |address| address.to_string());
    let port = port.host?;
    match host.as_str() {
        "" => None,
        host if host.contains(':') => Some(format!("[{host}]:{port}")),
        host => Some(format!("{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testkit::{Store, id};
    use super::super::types::PublishedState;
    use super::*;

    fn port(address: Option<&str>, host: u16) -> Port {
        let address = address.map(|address| address.parse().unwrap());
        Port { address, host: Some(host), container: 80, ..Port::default() }
    }

    fn state(active: &str, sub: &str, ports: Vec<Port>) -> UnitState {
        let state = PublishedState { load: "loaded".into(), active: active.into(), sub: sub.into() };
        UnitState { state, ports, ..UnitState::default() }
    }

    #[test]
    fn what_is_active_and_well_is_found() {
        let machine = Machine { id: id("m1"), primary_ip: "10.0.0.1".into(), ..Machine::default() };
        let six = Machine { primary_ip: "fd00::1".into(), ..machine.clone() };
        let nowhere = Machine { primary_ip: String::new(), ..machine.clone() };
        let failing =
            UnitState { health: Some(Health::Failing("x".into())), ..state("active", "running", vec![port(None, 81)]) };
        let cases = [
            (&machine, state("active", "running", vec![port(None, 81), port(None, 82)]), Some("10.0.0.1:81")),
            (&machine, state("active", "running", vec![port(Some("0.0.0.0"), 81)]), Some("10.0.0.1:81")),
            (&machine, state("active", "running", vec![port(Some("127.0.0.1"), 81)]), Some("127.0.0.1:81")),
            (&six, state("active", "running", vec![port(None, 81)]), Some("[fd00::1]:81")),
            (&nowhere, state("active", "running", vec![port(None, 81)]), None),
            (&machine, state("active", "running", vec![]), None),
            (&machine, state("active", "unhealthy", vec![port(None, 81)]), None),
            (&machine, state("activating", "health-starting", vec![port(None, 81)]), None),
            (&machine, state("deactivating", "stop-sigterm", vec![port(None, 81)]), None),
            (&machine, failing, None),
        ];
        for (machine, state, expected) in cases {
            let mut store = Store::default();
            store.container("web@1.container", &["80"], "Register=/services/web/%i");
            store.container("quiet.container", &["80"], "");
            store.state("web@1.container", "m1", &state);
            store.state("quiet.container", "m1", &state);
            let found = registrations(&store.cluster(), machine);
            let expected: BTreeMap<String, String> =
                expected.map(|at| ("/services/web/1".to_owned(), at.to_owned())).into_iter().collect();
            assert_eq!(found, expected, "{state:?}");
            let elsewhere = Machine { id: id("m2"), ..machine.clone() };
            assert!(registrations(&store.cluster(), &elsewhere).is_empty());
        }
    }

    #[test]
    fn one_key_is_one_containers() {
        let machine = Machine { id: id("m1"), primary_ip: "10.0.0.1".into(), ..Machine::default() };
        let mut store = Store::default();
        for (name, host) in [("b.container", 82), ("a.container", 81)] {
            store.container(name, &["80"], "Register=/services/web");
            store.state(name, "m1", &state("active", "running", vec![port(None, host)]));
        }
        assert_eq!(registrations(&store.cluster(), &machine)["/services/web"], "10.0.0.1:81");
    }
}
