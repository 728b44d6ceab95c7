//! Which machine and which instance are meant.

use ferrite_schema::api::{ClusterInstance, ClusterMachine, ClusterUnit, MachineState};

use super::*;

fn machine(name: &str, id: &str) -> ClusterMachine {
    ClusterMachine {
        id: format!("{id}{}", "0".repeat(32 - id.len())),
        name: name.to_owned(),
        addresses: Vec::new(),
        state: MachineState::Alive,
        cordoned: false,
        leader: false,
        eligible: false,
        units: 0,
        level: 1,
        metadata: [].into(),
        overrides: [].into(),
        cpus_milli: 0,
        memory_bytes: 0,
        problem: None,
    }
}

#[test]
fn a_machine_is_meant_by_its_name_or_the_start_of_its_id() {
    let machines =
        [machine("dev-1", "aa1"), machine("dev-2", "aa2"), machine("aa1", "bb"), machine("", "c")];
    for (what, expected) in
        [("dev-2", "dev-2"), ("aa2", "dev-2"), ("aa1", "aa1"), ("b", "aa1"), ("c", "")]
    {
        assert_eq!(chosen(&machines, what).unwrap().name, expected, "{what}");
    }
    for (what, words) in [
        ("aa", "several are like that: dev-1 (aa100000), dev-2 (aa200000)"),
        ("dev-3", "the cluster has none"),
        ("", "the cluster has none"),
    ] {
        let said = chosen(&machines, what).unwrap_err();
        assert!(said.to_string().contains(words), "{what}: {said}");
    }
    let hint = chosen(&machines, "dev-3").unwrap_err().hint().unwrap();
    assert_eq!(hint, "known are: dev-1 (aa100000), dev-2 (aa200000), aa1 (bb000000), ? (c0000000)");
}

fn unit(name: &str, instances: &[&str]) -> ClusterUnit {
    let instance = |name: &&str| ClusterInstance {
        name: (*name).to_owned(),
        machine: None,
        machine_name: None,
        state: "unplaced".to_owned(),
        ready: false,
        addresses: Vec::new(),
        ports: Vec::new(),
        exit: None,
        outdated: false,
        why: "no machine may have it".to_owned(),
    };
    ClusterUnit {
        name: name.to_owned(),
        target: None,
        replicas: None,
        spec: None,
        image_digest: None,
        definition: None,
        revision: 1,
        instances: instances.iter().map(instance).collect(),
        notes: Vec::new(),
        problem: None,
    }
}

#[test]
fn an_instance_is_meant_by_its_name_or_that_of_a_unit_with_one() {
    let units = [
        unit("web", &["web@1", "web@2"]),
        unit("db", &["db"]),
        unit("one", &["one@1"]),
        unit("off", &[]),
    ];
    for (name, expected) in [("web@2", "web@2"), ("db", "db"), ("one", "one@1")] {
        assert_eq!(only_instance(&units, name).unwrap().name, expected);
    }
    assert_eq!(instances(&units, "web").len(), 2);
    for (name, words) in [
        ("web", "name one of web@1, web@2"),
        ("off", "it is not started"),
        ("nobody", "no unit or instance of that name"),
    ] {
        let said = only_instance(&units, name).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
}
