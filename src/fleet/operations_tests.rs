//! Tests of what users may do: the answers of fleet's API, without its bugs.
#![allow(clippy::unwrap_used)]

use super::super::testkit::Store;
use super::*;

const TEXT: &str = "[Service]\nExecStart=/bin/a\n";

fn put(name: &str, text: &str, desired: &str) -> PutUnit {
    PutUnit {
        name: name.into(),
        options: UnitText::parse(text).unwrap().options().to_vec(),
        desired: (!desired.is_empty()).then(|| desired.into()),
    }
}

/// Sends a request as a door would; 201, 204 or the refusal.
fn send(store: &mut Store, request: &PutUnit) -> String {
    match put_unit(&store.cluster(), request) {
        Err(refusal) => format!("{:?} {refusal}", refusal.kind()),
        Ok(operation) => {
            if let Some(transaction) = &operation.transaction {
                assert!(store.txn(transaction));
                assert!(!store.txn(transaction), "a request built on an old state is not carried out");
            }
            let code = if operation.outcome == Outcome::Created { 201 } else { 204 };
            format!("{code}{}", if operation.transaction.is_some() { "" } else { " nothing" })
        }
    }
}

#[test]
fn put_units_name_answers() {
    let mut store = Store::default();
    let other = "[Service]\nExecStart=/bin/b\n";
    let global = "[X-Fleet]\nGlobal=true\nMachineID=x\n";
    let steps = [
        (put("a.service", "", "launched"), "Conflict unit does not exist and options field empty"),
        (put("a.foo", TEXT, "launched"), "Invalid invalid unit type: \"foo\""),
        (
            put("a.service", TEXT, "bogus"),
            "Invalid invalid value \"bogus\" for desiredState: expect inactive, loaded or launched",
        ),
        (put("a.service", global, ""), "Invalid MachineID cannot be used with Global"),
        (put("a@.service", TEXT, "launched"), "Invalid cannot activate template \"a@.service\""),
        (put("a@.service", TEXT, ""), "201"),
        (put("a@.service", "", "loaded"), "Invalid cannot activate template \"a@.service\""),
        (put("a@.service", "", "inactive"), "204 nothing"),
        (put("a.service", TEXT, ""), "201"),
        (put("a.service", "", ""), "Conflict must provide DesiredState to update existing unit"),
        (put("a.service", TEXT, ""), "Conflict must provide DesiredState to update existing unit"),
        (put("a.service", TEXT, "launched"), "204"),
        (put("a.service", TEXT, "launched"), "204 nothing"),
        (
            put("a.service", "", "bogus"),
            "Invalid invalid value \"bogus\" for desiredState: expect inactive, loaded or launched",
        ),
        (put("a.service", other, "launched"), "201"),
        (put("a.service", TEXT, ""), "201"),
    ];
    for (request, expected) in steps {
        assert_eq!(send(&mut store, &request), expected, "{request:?}");
    }
    assert_eq!(store.cluster().units["a.service"].desired, DesiredState::Inactive);
}

#[test]
fn each_start_asked_for_is_a_new_one() {
    let mut store = Store::default();
    let mut launches = Vec::new();
    let mut note = |store: &Store| {
        let cluster = store.cluster();
        let unit = &cluster.units["a.service"];
        launches.push((unit.launch, unit.generation));
    };
    assert_eq!(send(&mut store, &put("a.service", TEXT, "")), "201");
    note(&store);
    send(&mut store, &put("a.service", "", "launched"));
    note(&store);
    send(&mut store, &put("a.service", "", "loaded"));
    note(&store);
    send(&mut store, &put("a.service", "", "launched"));
    note(&store);
    let restart = restart_unit(&store.cluster(), "a.service", None).unwrap();
    assert!(store.txn(&restart.transaction.unwrap()));
    note(&store);
    let destroy = destroy_unit(&store.cluster(), "a.service").unwrap();
    assert!(store.txn(&destroy.transaction.unwrap()));
    send(&mut store, &put("a.service", TEXT, "launched"));
    note(&store);
    assert_eq!(launches[0].0, 0);
    assert_eq!(launches[1].0, launches[2].0);
    assert!(launches.windows(2).all(|pair| pair[0].1 < pair[1].1), "{launches:?}");
    let starts: std::collections::BTreeSet<u64> = launches.iter().map(|l| l.0).collect();
    assert_eq!(starts.len(), 5);
}

#[test]
fn the_hash_is_that_of_the_text_that_is_kept() {
    let mut store = Store::default();
    let request = PutUnit {
        name: "a.service".into(),
        options: vec![UnitOption::new("Service", "ExecStart", "  /bin/a  ")],
        desired: None,
    };
    assert_eq!(send(&mut store, &request), "201");
    assert_eq!(store.cluster().units["a.service"].hash, UnitText::parse(TEXT).unwrap().hash());
    assert_eq!(send(&mut store, &put("a.service", TEXT, "inactive")), "204 nothing");
    let injected = PutUnit { options: vec![UnitOption::new("Service", "ExecStart", "/bin/a\nnope")], ..request };
    assert!(send(&mut store, &injected).starts_with("Invalid option without \"=\": line 3: \"nope\""));
}

#[test]
fn destroy_what_is_there_and_what_cannot_be_read() {
    let mut store = Store::default();
    assert_eq!(destroy_unit(&store.cluster(), "a.service"), Err(Refusal::NoSuchUnit));
    assert_eq!(restart_unit(&store.cluster(), "a.service", None), Err(Refusal::NoSuchUnit));
    // Of a global unit one machine, and only until the whole unit is started again.
    let (m1, m2) = (MachineId("m1".into()), MachineId("m2".into()));
    store.machine("m1", &[]);
    store.launched("g.service", "Global=true");
    store.launched("b.service", "");
    let refused = restart_unit(&store.cluster(), "b.service", Some(&m1));
    assert_eq!(refused, Err(Refusal::NotGlobal("b.service".into())));
    let whole = store.cluster().units["g.service"].launch;
    let restart = restart_unit(&store.cluster(), "g.service", Some(&m1)).unwrap();
    assert!(store.txn(&restart.transaction.unwrap()));
    let unit = store.cluster().units["g.service"].clone();
    assert!(unit.launch == whole && unit.launch_on(&m1) > whole && unit.launch_on(&m2) == whole);
    let restart = restart_unit(&store.cluster(), "g.service", None).unwrap();
    assert!(store.txn(&restart.transaction.unwrap()));
    let unit = store.cluster().units["g.service"].clone();
    assert!(unit.launch > whole && unit.launch_on(&m1) == unit.launch && unit.restarts.is_empty());
    assert_eq!(Refusal::NoSuchUnit.kind(), RefusalKind::Missing);
    store.put(&Key::Unit("a.service".into()), bytes::Bytes::from_static(b"junk"));
    assert_eq!(send(&mut store, &put("a.service", TEXT, "loaded")), "201");
    store.put(&Key::Unit("a.service".into()), bytes::Bytes::from_static(b"junk"));
    let destroy = destroy_unit(&store.cluster(), "a.service").unwrap();
    assert!(store.txn(&destroy.transaction.unwrap()));
    assert_eq!(store.cluster().mod_revision(&Key::Unit("a.service".into())), 0);
}
